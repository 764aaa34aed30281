"""Logins by name and password. A password hash costs about a second of CPU, by design, so: a success is remembered for
a minute, identical credentials that arrive together are hashed once, this process hashes one at a time, and only some
of its threads may wait for that: the others go on with all that needs no hash.
"""

import threading
import time
from collections import OrderedDict
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout

from django.conf import settings
from django.contrib.auth import authenticate
from django.utils.crypto import salted_hmac
from django.views.decorators.debug import sensitive_variables

from access import failures
from access.models import User
from oci.errors import Unauthorized, Unavailable

REMEMBERED_FOR = 60.0  # seconds
REMEMBERED = 10_000  # successes at most
PATIENCE = 30.0  # seconds a login waits for the hashes of others
REFUSED = "wrong user name or password"
BUSY = "too many logins at once: try again"

_lock = threading.Lock()
_hashing = threading.Lock()
_places = threading.BoundedSemaphore(max(1, settings.REGISTRY_THREADS // 4))  # of who hashes and who waits
_successes: OrderedDict[str, tuple[str, float]] = OrderedDict()  # proof -> the hash it matched, until when
_waiting: dict[str, Future[None]] = {}  # proof -> how the check ends


@sensitive_variables()
def log_in(username: str, password: str, address: str) -> User:
    """The active user of this name and password, read from the database after the password was known to be right.

    Unknown names, wrong passwords and disabled users cost the same time. Raises Unauthorized, TooManyRequests (only
    failures count; `address` is the client's), and Unavailable at once when too many logins wait for their turn.
    """
    if "\0" in username:  # no name has one, and PostgreSQL would refuse the question
        raise Unauthorized(message=REFUSED)
    proof = salted_hmac("access.login", f"{len(username)}:{username}{password}", algorithm="sha256").hexdigest()
    user = _remembered(username, proof)
    if user is None:
        failures.refuse_if_too_many(address, username)
        if not _places.acquire(blocking=False):
            raise Unavailable(message=BUSY)
        try:
            _check_once(username, password, address, proof)
        finally:
            _places.release()
        user = _remembered(username, proof)
    if user is None:  # changed or disabled since
        raise Unauthorized(message=REFUSED)
    return user


def _remembered(username: str, proof: str) -> User | None:
    """The user, if the hash that this proof matched a moment ago is still theirs: a changed one voids it at once."""
    with _lock:
        encoded, until = _successes.get(proof, ("", 0.0))
    if until <= time.monotonic():
        return None
    return User.objects.filter(username=username, password=encoded, is_active=True).first()


@sensitive_variables()
def _check_once(username: str, password: str, address: str, proof: str) -> None:
    """Check, or wait for whoever is checking the same credentials, and end as they end."""
    with _lock:
        waiting = _waiting.get(proof)
        first = waiting is None
        if waiting is None:
            waiting = _waiting[proof] = Future()
    if first:
        try:
            waiting.set_result(_check(username, password, address, proof))
        except BaseException as problem:  # noqa: BLE001 - raised again below, here and where others wait
            waiting.set_exception(problem)
        finally:
            with _lock:
                del _waiting[proof]
    try:
        waiting.result(PATIENCE)
    except FutureTimeout as problem:
        raise Unavailable(message=BUSY) from problem


@sensitive_variables()
def _check(username: str, password: str, address: str, proof: str) -> None:
    if not _hashing.acquire(timeout=PATIENCE):
        raise Unavailable(message=BUSY)
    try:
        failures.refuse_if_too_many(address, username)  # others may have failed while this one waited
        user = authenticate(username=username, password=password)
    finally:
        _hashing.release()
    if user is None:
        failures.count(address, username)
        raise Unauthorized(message=REFUSED)
    with _lock:
        _successes[proof] = (user.password, time.monotonic() + REMEMBERED_FOR)
        while len(_successes) > REMEMBERED:
            _successes.popitem(last=False)


def forget() -> None:
    """Every login is checked again."""
    with _lock:
        _successes.clear()
