"""Finds rows that are due and does their duty, once a second, in the background process."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import Error as DatabaseError
from django.db import connection
from django.utils.timezone import now

from work.models import Due, Pulse

log = logging.getLogger(__name__)

BATCH = 100
BEAT = 10.0  # seconds between two signs of life
SILENCE = timedelta(seconds=30)  # after which the background process counts as gone


@dataclass(frozen=True)
class Duty:
    """What is done with rows of `model` that are due. `would` says in one sentence, for a row, what that is and why;
    it writes nothing. A slow one takes long, and may not hold every thread."""

    model: type[Due]
    do: Callable[[Any], None]
    would: Callable[[Any], str] | None
    slow: bool


_duties: dict[type[Due], Duty] = {}


def duty(
    model: type[Due], would: Callable[[Any], str] | None = None, slow: bool = False
) -> Callable[[Callable[[Any], None]], Callable[[Any], None]]:
    """Registers what is done with a row of `model` that is due. It may run twice, and be killed anywhere; when it
    returns, the row is gone or due at another time."""

    def register(do: Callable[[Any], None]) -> Callable[[Any], None]:
        _duties[model] = Duty(model, do, would, slow)
        return do

    return register


def run_forever(stop: threading.Event) -> None:
    """Look for work until told to stop. A database that is away is waited for."""
    next_beat = 0.0
    while not stop.is_set():
        try:
            if time.monotonic() >= next_beat:
                Pulse.objects.update_or_create(pk=1, defaults={"beat_at": now()})
                next_beat = time.monotonic() + BEAT
            busy = run_due() == BATCH
        except DatabaseError:
            log.exception("no look for work was possible")
            connection.close()
            busy = False
        stop.wait(0 if busy else 1)


def run_due() -> int:
    """Do what is due now; the number of rows in the fullest batch."""
    return max((run(duty.model, duty.do) for duty in _duties.values()), default=0)


def run(model: type[Due], do: Callable[[Any], None]) -> int:
    rows = list(model._default_manager.filter(model.waiting()).order_by("due_at")[:BATCH])
    for row in rows:
        if row.claim():
            attempt(row, do)
    return len(rows)


def attempt(row: Due, do: Callable[[Any], None]) -> None:
    try:
        do(row)
    except Exception as problem:
        log.warning("%s %s failed and will be tried again", type(row).__name__, row.pk, exc_info=problem)
        row.put_off(problem)


def beats() -> bool:
    """Whether a background process has looked for work lately."""
    return Pulse.objects.filter(beat_at__gt=now() - SILENCE).exists()
