"""Counts pulls and pushes in the memory of this process: on the path of a request nothing is written.

A thread, which starts with the first count, writes them to the database every ten seconds, and when the process ends.
A process that is killed loses what it has counted since.
"""

import atexit
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import closing

from django.db import connection

from counts.models import Pulled
from counts.recording import SECONDS_OF_A_DAY, Count, record

log = logging.getLogger(__name__)

PAUSE = 10.0  # seconds between two writes
BATCH = 500  # rows in one transaction, so that it is short
ROWS = 50_000  # that are kept while the database is away; pulls of others count for their day only
PATIENCE = 20.0  # seconds the end of the process waits for the last write

_Key = tuple[type[Pulled] | None, int, float]  # what was pulled (None: a push), which row, and the day since 1970, UTC

_counted: dict[_Key, tuple[int, float]] = {}  # how often, and when last, in seconds since 1970
_lock = threading.Lock()
_thread: threading.Thread | None = None
_ending = threading.Event()


def pulled(model: type[Pulled], pk: int) -> None:
    """One pull of this row. Takes a microsecond and raises nothing."""
    _count(model, pk)


def pushed() -> None:
    """One push. Takes a microsecond and raises nothing."""
    _count(None, 0)


def _count(model: type[Pulled] | None, pk: int) -> None:
    at = time.time()
    key = (model, pk, at // SECONDS_OF_A_DAY)
    with _lock:
        _add(key, 1, at)
    if _thread is None:
        start()


def _add(key: _Key, times: int, at: float) -> None:
    if key not in _counted and len(_counted) >= ROWS:
        key = (key[0], 0, key[2])
    before, last = _counted.get(key, (0, 0.0))
    _counted[key] = (before + times, max(last, at))


def start() -> None:
    """Start the thread, unless it runs."""
    global _thread
    with _lock:
        if _thread is None:
            _thread = threading.Thread(target=run, name="counts", daemon=True)
            _thread.start()
            atexit.register(end)


def run() -> None:
    ended = False
    while not ended:
        ended = _ending.wait(PAUSE)
        try:
            with closing(connection):  # it would be idle for most of the time
                flush()
        except Exception:
            log.exception("what was counted could not be written down, and is kept for later")


def end() -> None:
    """Have the thread write what is left. It does so itself: its connection waits for locks, which that of a web
    process's main thread never does."""
    _ending.set()
    if _thread is not None:
        _thread.join(PATIENCE)


def flush() -> None:
    """Write down what was counted. Where that fails the rest is kept, and DatabaseError raised."""
    global _counted
    with _lock:
        taken, _counted = _counted, {}
    try:
        for model, counts in parts(taken):
            record(model, counts)
            for count in counts:
                del taken[model, count.pk, count.day]
    finally:
        with _lock:
            for key, (times, at) in taken.items():
                _add(key, times, at)


def parts(taken: dict[_Key, tuple[int, float]]) -> Iterator[tuple[type[Pulled] | None, list[Count]]]:
    """At most BATCH counts of one model in each, and in the order of their ids, in which everybody locks."""
    for model in {model for model, _, _ in taken}:
        counts = sorted(Count(pk, day, *count) for (of, pk, day), count in taken.items() if of is model)
        for first in range(0, len(counts), BATCH):
            yield model, counts[first : first + BATCH]


def forget() -> None:
    """Drop what was counted and not written."""
    with _lock:
        _counted.clear()
