import os
import signal
import sys
import threading
import time
from typing import Any

from django.core.management.base import BaseCommand
from django.db import DatabaseError

from registry_site.celery import worker
from registry_site.supervisor import end_with_parent
from work import loop
from work.background import poll
from work.loop import stopping
from work.messages import Broker

PATIENCE = 25.0  # seconds what was begun has to end once a stop was asked for: less than the parent waits


class Command(BaseCommand):
    help = (
        "Does what is due when no request is running: deletes the bytes of cancelled uploads, ends abandoned ones, "
        "looks into new layers, collects what nothing names any more. `manage.py serve` starts one; on further "
        "machines it may run alone. Any number may run at once, with REGISTRY_BROKER_URL or without: what they share "
        "is the database and the storage."
    )

    def handle(self, *_args: Any, **_options: Any) -> None:
        os.umask(0o077)  # as `serve` does
        end_with_parent()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _stop)
        celery = threading.Thread(target=_consume, name="celery", daemon=True)
        celery.start()
        with loop.renewing():
            poll(Broker())
            failed = not celery.is_alive()
            ended = _within_patience()
        if failed:
            self.stderr.write("The Celery worker ended by itself.")
        if failed or not ended:
            _break_off(failed)


def _stop(*_: Any) -> None:
    """Once: end warm. Again: end."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    stopping.set()


def _consume() -> None:
    try:
        worker().start()
    finally:
        stopping.set()


def _within_patience() -> bool:
    """Whether what was begun has ended. Nothing new is: every thread sees that a stop was asked for."""
    deadline = time.monotonic() + PATIENCE
    while loop.busy() and time.monotonic() < deadline:
        time.sleep(0.05)
    return not loop.busy()


def _break_off(failed: bool) -> None:
    """End without waiting for the threads that are at a duty still: somebody else begins it anew."""
    try:
        loop.let_go()
    except DatabaseError as problem:
        sys.stderr.write(f"Some claims stay until they end: {problem}\n")
    sys.stderr.flush()
    os._exit(failed)
