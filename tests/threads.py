"""Requests that run at the same time, and pauses that make them meet where a test wants them to."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection

PATIENCE = 30.0  # seconds after which a test has failed


class Request(threading.Thread):
    """Something done in a thread and on a database connection of its own."""

    def __init__(self, do: Callable[..., Any], *arguments: Any):
        super().__init__(daemon=True)
        self.do, self.arguments = do, arguments
        self.result: Any = None
        self.start()

    def run(self) -> None:
        try:
            self.result = self.do(*self.arguments)
        except Exception as problem:  # noqa: BLE001 - the test looks at it
            self.result = problem
        finally:
            connection.close()

    def answer(self) -> Any:
        """What it returned, or the exception that it raised."""
        self.join(PATIENCE)
        assert not self.is_alive(), "it does not end"
        return self.result

    def ends_within(self, seconds: float) -> bool:
        self.join(seconds)
        return not self.is_alive()


class Pause:
    """The first call of `owner.name` stops, before it or after it, until `go`; later calls do not."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, after: bool = False):
        self.real = getattr(owner, name)
        self.after = after
        self.first = threading.Lock()
        self.reached, self.released = threading.Event(), threading.Event()
        monkeypatch.setattr(owner, name, self.wrapped())

    def wrapped(self) -> Callable[..., Any]:
        def paused(*arguments: Any, **named: Any) -> Any:
            stops = self.first.acquire(blocking=False)
            if stops and not self.after:
                self.stop()
            result = self.real(*arguments, **named)
            if stops and self.after:
                self.stop()
            return result

        return paused

    def stop(self) -> None:
        self.reached.set()
        assert self.released.wait(PATIENCE), "nobody said go"

    def wait(self) -> None:
        assert self.reached.wait(PATIENCE), "it did not come to the pause"

    def go(self) -> None:
        self.released.set()


def meeting(pause: Pause, first: Callable[[], Any], second: Callable[[], Any]) -> tuple[Any, Any]:
    """The answers of both: `second` starts while `first` is in its pause, and has had time to run into it."""
    one = Request(first)
    pause.wait()
    other = Request(second)
    other.ends_within(0.1)
    pause.go()
    return one.answer(), other.answer()


def at_once(*requests: Callable[[], Any]) -> list[Any]:
    """The answers of requests that start together."""
    together = threading.Barrier(len(requests))

    def started(do: Callable[[], Any]) -> Any:
        together.wait(PATIENCE)
        return do()

    return [request.answer() for request in [Request(started, do) for do in requests]]
