"""This process's copy of the revocations, read again when it is older than a second."""

import threading
import time
from dataclasses import dataclass, field

from django.db import DatabaseError
from django.db.models.functions import Now

from access.models import Revocation
from oci.errors import Unavailable

FRESH = 1.0  # seconds
PATIENCE = 2.0  # seconds a request waits for another one that is reading


@dataclass(frozen=True, slots=True)
class Revoked:
    """When (seconds since 1970, database clock) the tokens of a subject or for a repository became void."""

    subjects: dict[str, float] = field(default_factory=dict)
    repositories: dict[str, float] = field(default_factory=dict)


_reading = threading.Lock()
_known = Revoked()
_read_at = float("-inf")
_failed_at = float("-inf")


def current() -> Revoked:
    """What is revoked. Raises Unavailable where the database cannot say: nobody is let in on old news."""
    if time.monotonic() - _read_at < FRESH:
        return _known
    asked = time.monotonic()
    if not _reading.acquire(timeout=PATIENCE):
        raise Unavailable(message="the database does not answer")
    try:
        if _failed_at >= asked:  # meanwhile another request got no answer: waiting as long again would tell no more
            raise Unavailable(message="the database does not answer")
        if time.monotonic() - _read_at >= FRESH:
            _read()
        return _known
    finally:
        _reading.release()


def _read() -> None:
    global _known, _read_at, _failed_at
    began = time.monotonic()
    try:
        needed = Revocation.objects.filter(expires_at__gt=Now())
        rows = list(needed.values_list("subject", "repository", "revoked_at"))
    except DatabaseError as problem:
        _failed_at = time.monotonic()
        raise Unavailable(message="the database does not answer") from problem
    _known = Revoked(
        {subject: at.timestamp() for subject, _, at in rows if subject},
        {repository: at.timestamp() for _, repository, at in rows if repository},
    )
    _read_at = began


def are_fresh() -> bool:
    """Whether `current` has its answer already, and nobody has to wait for the database."""
    return time.monotonic() - _read_at < FRESH


def forget() -> None:
    """Read again at the next request: this process has just revoked something."""
    global _read_at
    _read_at = float("-inf")
