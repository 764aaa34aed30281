"""Duties: what is done with rows that are due, one row after the other, by whoever claims it first."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import Error as DatabaseError
from django.db import close_old_connections, connection
from django.db.models import Q, QuerySet
from django.utils.timezone import now

from work.models import CLAIM, Due

log = logging.getLogger(__name__)

RENEWAL = timedelta(seconds=10)  # after which the claim of a duty that takes so long is renewed, again and again

stopping = threading.Event()  # this process was asked to end: a duty that takes long breaks off


class BrokenOff(Exception):
    """Raised by a duty that sees `stopping`: it did not fail, and is begun anew, at once, by somebody else."""


@dataclass(frozen=True)
class Duty:
    """What is done with rows of `model` that are due. `would` says in one sentence, for a row, what that is and why;
    it writes nothing. A slow one takes long, and may not hold every thread. `only` are the rows it is for, where a
    model has several duties."""

    model: type[Due]
    do: Callable[[Any], None]
    would: Callable[[Any], str]
    slow: bool
    only: Q

    @property
    def name(self) -> str:
        label = self.model._meta.label
        return f"{label}.{self.do.__name__}" if self.only else label

    def waiting(self) -> QuerySet[Any]:
        """The rows that are due and in nobody's hands, the oldest first."""
        return self.model._base_manager.filter(self.model.waiting(), self.only).order_by("due_at")

    def failed(self) -> QuerySet[Any]:
        """The rows of which the last attempt failed, and that wait for the next one."""
        waiting = self.model._base_manager.filter(self.only, due_at__gt=now(), attempts__gt=0)
        return waiting.exclude(last_error="").order_by("due_at")


_duties: dict[str, Duty] = {}


def duty(
    model: type[Due], would: Callable[[Any], str], slow: bool = False, only: Q | None = None
) -> Callable[[Callable[[Any], None]], Callable[[Any], None]]:
    """Registers what is done with a row of `model` that is due. It may run twice, and be killed anywhere; when it
    returns, the row is gone or due at another time."""

    def register(do: Callable[[Any], None]) -> Callable[[Any], None]:
        registered = Duty(model, do, would, slow, only or Q())
        _duties[registered.name] = registered
        return do

    return register


def duties() -> list[Duty]:
    return list(_duties.values())


def named(name: str) -> Duty | None:
    return _duties.get(name)


# --- Doing ------------------------------------------------------------------------------------------------------------


def run_due() -> int:
    """Do what is due now, in this thread; the number of rows."""
    return sum(run(duty) for duty in duties())


def run(duty: Duty, seconds: float | None = None, stop: threading.Event | None = None) -> int:
    """Do what is due of one duty, the oldest first, until nothing is left, the time is over, or a stop was asked for;
    the number of rows. A row that was begun is ended."""
    rows, end = 0, time.monotonic() + (float("inf") if seconds is None else seconds)
    with _at_work():
        while not (stop and stop.is_set()) and (row := claimed(duty.waiting())):
            attempt(row, duty.do)
            rows += 1
            if time.monotonic() >= end:
                break
    return rows


_runs: set[int] = set()  # threads


@contextmanager
def _at_work() -> Iterator[None]:
    _runs.add(threading.get_ident())
    try:
        yield
    finally:
        _runs.discard(threading.get_ident())


def busy() -> bool:
    """Whether a thread of this process is at work; after a stop was asked for, none begins."""
    return bool(_runs)


def claimed(waiting: QuerySet[Any]) -> Due | None:
    """The first of rows that are waiting, now ours; None: there is none left."""
    while row := waiting.first():
        if row.claim():
            return row
    return None


def attempt(row: Due, do: Callable[[Any], None]) -> Exception | None:
    """Do the duty of a claimed row; what it failed of is on the row, and returned, as is BrokenOff."""
    was_due_at = row.due_at
    failure: Exception | None = None
    rest_connection()  # a duty may take long before it asks something
    with _in_hand(row):
        try:
            do(row)
        except BrokenOff as problem:
            failure = problem
        except Exception as problem:
            log.warning("%s %s failed and will be tried again", type(row).__name__, row.pk, exc_info=problem)
            failure = problem
    if failure is None:
        row.settle(was_due_at)
    elif isinstance(failure, BrokenOff):
        row.let_go()
    else:
        row.put_off(failure)
    return failure


def rest_connection() -> None:
    """This thread asks nothing for a while: where there is a pool, others may have its connection. One that broke is
    closed anywhere."""
    if not connection.in_atomic_block:  # as tests are
        close_old_connections()


# --- Claims that outlast CLAIM ----------------------------------------------------------------------------------------

_rows: dict[int, Due] = {}  # of each thread, the row it is at
_lock = threading.Lock()  # while it is held, no claim is renewed and no row changes hands


@contextmanager
def _in_hand(row: Due) -> Iterator[None]:
    with _lock:
        _rows[threading.get_ident()] = row
    try:
        yield
    finally:
        with _lock:
            del _rows[threading.get_ident()]


def renew_claims() -> None:
    """Keep the rows that this process is at from everybody else. To be called more often than CLAIM."""
    with _lock:
        for row in _rows.values():
            if row.claimed_until and row.claimed_until < now() + CLAIM - RENEWAL:
                row.renew()


def let_go() -> None:
    """This process ends, whatever it is at."""
    with _lock:
        for row in _rows.values():
            row.let_go()


@contextmanager
def renewing() -> Iterator[None]:
    """A thread renews the claims of this process meanwhile."""
    done = threading.Event()

    def renew() -> None:
        while not done.wait(RENEWAL.total_seconds() / 2):
            try:
                renew_claims()
            except DatabaseError as problem:
                log.warning("no claim could be renewed: %s", problem)
            rest_connection()

    thread = threading.Thread(target=renew, name="claims", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
