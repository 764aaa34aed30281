"""What Celery runs."""

from celery import shared_task

from work import background
from work.messages import LOOK


@shared_task(name=LOOK, ignore_result=True)
def look(name: str) -> None:
    """Look for rows of the named duty. All else is in the rows."""
    background.look(name)
