"""Ends the writers whose uploads a newer request has taken.

The fence keeps two writers from mixing; it does not make the older let go. One that waits for a client which will
never send again would hold the fence for as long as its connection lives, so a thread looks once a second which of
this process's writers are out of date, and ends the body each of them is waiting for.
"""

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.db import connection

from uploads.models import State, Upload

log = logging.getLogger(__name__)

PAUSE = 1.0  # seconds between two looks

_writers: dict[uuid.UUID, tuple[uuid.UUID, Callable[[], None]]] = {}  # generation: (upload, how to end its body)
_watching = False
_lock = threading.Lock()


@contextmanager
def ended_when_superseded(upload: Upload, interrupt: Callable[[], None]) -> Iterator[None]:
    """While the block runs, `interrupt` is called once if another request takes the upload, or it is cancelled."""
    global _watching
    with _lock:
        _writers[upload.generation] = (upload.pk, interrupt)
        if not _watching:
            _watching = True
            threading.Thread(target=watch, name="superseded-writers", daemon=True).start()
    try:
        yield
    finally:
        with _lock:
            _writers.pop(upload.generation, None)


def watch() -> None:
    """Runs as long as there are writers. A request that is over within a second costs it nothing but a wake-up."""
    global _watching
    while True:
        time.sleep(PAUSE)
        with _lock:
            if not _writers:
                _watching = False
                break
            writers = dict(_writers)
        try:
            look(writers)
        except Exception:  # it must not end: as long as there are writers nobody starts another
            log.exception("a look for superseded writers failed")
            connection.close()
    connection.close()


def look(writers: dict[uuid.UUID, tuple[uuid.UUID, Callable[[], None]]]) -> None:
    uploads = [upload for upload, _ in writers.values()]
    current = set(Upload.objects.filter(pk__in=uploads, state=State.OPEN).values_list("generation", flat=True))
    if connection.vendor == "postgresql":
        connection.close()
    for generation in writers.keys() - current:
        with _lock:  # a writer that has just ended must not have its connection's next request cut off
            if generation in _writers:
                _writers.pop(generation)[1]()  # fails where the client has hung up just now
