"""The number of a request: in logs, in its answer's `X-Request-Id`, and in messages about faults of ours."""

import logging
import os
from contextvars import ContextVar

_number: ContextVar[str] = ContextVar("request number", default="")


def begin() -> str:
    """A new number, for what this thread does from now on."""
    number = os.urandom(8).hex()
    _number.set(number)
    return number


def number() -> str:
    return _number.get()


class Numbered(logging.Filter):
    """Gives log records the number of the request they belong to, as ` [number]`, or nothing."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_number = f" [{number()}]" if number() else ""
        return True
