"""The background process: once a second, every duty that has rows waiting is handed to a thread.

It goes by way of the broker, to whichever process takes the message first. Where no broker answers, or rows wait all
the same, a thread of this process looks without having been told.
"""

import logging
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from functools import cache

from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection
from django.utils.timezone import now

from work import loop
from work.loop import Duty, stopping
from work.messages import Broker
from work.models import Pulse

log = logging.getLogger(__name__)

INTERVAL = 1.0  # seconds between two looks
LOOK = 1.0  # seconds after which a look takes no further row, so that other duties have their turn
LATE = timedelta(seconds=10)  # what has waited so long is not left to messages alone
BEAT = 10.0  # seconds between two signs of life
SILENCE = timedelta(seconds=30)  # after which the background process counts as gone


def beats() -> bool:
    """Whether a background process has looked for work lately."""
    return Pulse.objects.filter(beat_at__gt=now() - SILENCE).exists()


def poll(broker: Broker) -> None:
    """Look for work until told to stop. A database that is away is waited for."""
    next_beat = 0.0
    while not stopping.is_set():
        try:
            if time.monotonic() >= next_beat:
                Pulse.objects.update_or_create(pk=1, defaults={"beat_at": now()})
                next_beat = time.monotonic() + BEAT
            hand_out(broker)
            loop.rest_connection()
        except DatabaseError as problem:
            log.warning("no look for work was possible: %s", problem)
            connection.close()
        stopping.wait(INTERVAL)


def hand_out(broker: Broker) -> None:
    for duty in loop.duties():
        since = waiting_since(duty)
        if since and (not broker.send(duty.name) or since < now() - LATE):
            look_directly(duty.name)


def waiting_since(duty: Duty):
    """When the oldest row that nobody is at fell due; None: there is none."""
    return duty.waiting().values_list("due_at", flat=True).first()


# --- In a thread ------------------------------------------------------------------------------------------------------


def look(name: str) -> None:
    """Do what is due of a duty, for a moment. Slow duties leave half of the threads to the others."""
    duty = loop.named(name)
    if duty is None:
        log.warning("there is no duty %.100r here", name)
        return
    if duty.slow and not _places().acquire(blocking=False):
        return
    try:
        loop.run(duty, LOOK, stopping)
    finally:
        if duty.slow:
            _places().release()
        loop.rest_connection()


def look_directly(name: str) -> None:
    """Look in a thread of our own, one at a time for each duty."""
    if name not in _looks or _looks[name].done():
        _looks[name] = _threads().submit(_look_and_say, name)


def _look_and_say(name: str) -> None:
    try:
        look(name)
    except DatabaseError as problem:
        log.warning("a look for %s broke off: %s", name, problem)
        connection.close()


_looks: dict[str, Future[None]] = {}


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(settings.REGISTRY_BACKGROUND_THREADS, "look")


@cache
def _places() -> threading.BoundedSemaphore:
    """Of the threads, how many slow duties may have at once."""
    return threading.BoundedSemaphore(max(1, settings.REGISTRY_BACKGROUND_THREADS // 2))
