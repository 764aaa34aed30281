"""Failed logins of the last minute, counted in this process per client address and user name, and per address."""

import ipaddress
import threading
import time
from collections import OrderedDict, deque

from django.conf import settings

from oci.errors import TooManyRequests

WINDOW = 60.0  # seconds
KEYS = 10_000  # remembered at most; the longest quiet are forgotten first
NAMES_OF_AN_ADDRESS = 5  # an address (often a whole office) may fail this many times as often as one name from there

Key = tuple[str, ...]

_lock = threading.Lock()
_failures: OrderedDict[Key, deque[float]] = OrderedDict()


def refuse_if_too_many(address: str, username: str) -> None:
    """Raises TooManyRequests, with the seconds until the oldest failure that counts is a minute old."""
    now = time.monotonic()
    with _lock:
        waits = [_wait(key, often, now) for key, often in _limits(address, username)]
    if (wait := max(waits)) > 0:
        raise TooManyRequests(message="too many failed logins: wait a minute", retry_after=int(wait) + 1)


def count(address: str, username: str) -> None:
    with _lock:
        for key, often in _limits(address, username):
            moments = _failures.get(key)
            if moments is None or moments.maxlen != often:
                moments = _failures[key] = deque(moments or (), maxlen=often)
            moments.append(time.monotonic())
            _failures.move_to_end(key)
        while len(_failures) > KEYS:
            _failures.popitem(last=False)


def forget() -> None:
    """Nobody has failed yet."""
    with _lock:
        _failures.clear()


def _limits(address: str, username: str) -> list[tuple[Key, int]]:
    limit = max(1, settings.REGISTRY_LOGIN_FAILURES_PER_MINUTE)
    network = _network(address)
    return [((network, username), limit), ((network,), limit * NAMES_OF_AN_ADDRESS)]


def _wait(key: Key, often: int, now: float) -> float:
    moments = _failures.get(key, ())
    return moments[-often] + WINDOW - now if len(moments) >= often else 0.0


def _network(address: str) -> str:
    """One IPv6 customer has a whole /64 to guess from."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:  # a Unix socket has no address
        return address
    return str(ipaddress.ip_network((parsed, 64), strict=False)) if parsed.version == 6 else address
