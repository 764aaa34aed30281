"""How many bytes the registry holds, looked up every ten minutes for the day's row."""

from django.db.models import Sum

from counts.models import Day
from counts.recording import record_stored_bytes
from layers.models import Blob
from work.loop import duty


def would(day: Day) -> str:
    return f"{day}: write down how many bytes are stored"


@duty(Day, would)
def measure(day: Day) -> None:
    record_stored_bytes(day, Blob.objects.aggregate(stored=Sum("size"))["stored"] or 0)
