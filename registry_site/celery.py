"""The Celery application. Its settings are in settings.py, under "Background work"."""

from celery import Celery
from celery.worker import WorkController, state

app = Celery("layerstore")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.set_default()  # for every thread


def worker() -> WorkController:
    """A worker to be started in a thread of this process. Signals, logs and the clock stay ours, and workers do not
    talk to each other: all they have in common is in the database."""
    return app.WorkController(without_gossip=True, without_mingle=True, without_heartbeat=True)


def end_worker() -> None:
    """Have the worker of this process end warm: it takes nothing new, and its `start` returns when its threads have."""
    setattr(state, "should_stop", 0)  # noqa: B010 - its stubs know only None
