"""The threads that answer requests. Half of them receive bodies and half do everything else, so that clients which send
slowly never stop those which only read."""

import threading
import time
from collections.abc import Callable
from queue import SimpleQueue

from serving.connections import Connection


class Threads:
    """`serve` deals with one connection and raises nothing. `patience`: seconds a connection waits for a thread."""

    def __init__(self, count: int, patience: float, serve: Callable[[Connection], None]):
        self._patience, self._serve = patience, serve
        self._queued: set[Connection] = set()  # whoever removes one from here has it
        self._bodies: SimpleQueue[Connection] = SimpleQueue()
        self._others: SimpleQueue[Connection] = SimpleQueue()
        for number in range(max(2, count)):
            queue = self._bodies if number % 2 else self._others
            threading.Thread(target=self._work, args=(queue,), name=f"request-{number}", daemon=True).start()

    def put(self, connection: Connection) -> None:
        connection.deadline = time.monotonic() + self._patience
        self._queued.add(connection)
        receives = connection.streams_body and connection.sending is None
        (self._bodies if receives else self._others).put(connection)

    def given_up(self, now: float) -> list[Connection]:
        """Those that have waited too long; they are the caller's now."""
        return [late for late in list(self._queued) if late.deadline < now and self._taken(late)]

    def _taken(self, connection: Connection) -> bool:
        try:
            self._queued.remove(connection)
        except KeyError:
            return False
        return True

    def _work(self, queue: "SimpleQueue[Connection]") -> None:
        while True:
            connection = queue.get()
            if self._taken(connection):
                self._serve(connection)
