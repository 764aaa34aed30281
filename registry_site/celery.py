"""The Celery application. Its settings are in settings.py, under "Background work"."""

from celery import Celery
from celery.worker import WorkController

app = Celery("layerstore")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.set_default()  # for every thread


def worker() -> WorkController:
    """A worker to be started in a thread of this process. Signals and logs stay ours, and workers do not talk to each
    other: all they have in common is in the database. It need not be stopped: there is nothing in it to be lost."""
    return app.WorkController(without_gossip=True, without_mingle=True, without_heartbeat=True)
