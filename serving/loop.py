"""The connections that wait: for a request, for the rest of its head, or for a client that reads slowly.

They cost a descriptor and no thread. Each has a deadline. When there are too many, who has been idle for longest goes.
"""

import os
import select
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from serving.connections import Connection, TlsConnection
from serving.gunicorn_inside import close

ASLEEP = 1.0  # seconds without a byte
READ, WRITE = select.EPOLLIN | select.EPOLLRDHUP, select.EPOLLOUT


@dataclass(frozen=True)
class Limits:
    """How patient the worker is. Seconds, except where said."""

    head: float = 10  # from the first byte of a request to the last of its head
    small_body: float = 30  # the same, for a body that is collected with its head
    stall: float = 30  # that a client which is being served neither sends nor takes a byte
    queue: float = 30  # that a request waits for a thread
    linger: float = 2  # that a client which was turned away has for reading why
    per_address: int = 0  # connections of one address; 0: no bound


class Loop:
    """`arrived` gets every connection whose request is there, still waiting; `writable` every one whose client takes
    more of an answer, which waits no longer. Both are called by `turn`, and may not block. `busy` is the complete
    answer to those for whom there is no room."""

    def __init__(
        self, cfg: Any, log: Any, listeners: list[Any], signals: int, limits: Limits, busy: bytes,
        arrived: Callable[[Connection], None], writable: Callable[[Connection], None],
    ):  # fmt: skip
        self._cfg, self._log, self._limits, self._busy = cfg, log, limits, busy
        self._arrived, self._writable = arrived, writable
        self._listeners = {listener.fileno(): listener for listener in listeners}
        self._signals = signals
        self._accepting = False
        self._open: set[Connection] = set()
        self._waiting: dict[int, Connection] = {}  # by descriptor; the others are in threads, or wait for one
        self._epoll = select.epoll()
        self._epoll.register(signals, select.EPOLLIN)

    def turn(self, seconds: float, stopping: bool) -> None:
        """Wait for what happens, at most so many seconds, and deal with it."""
        room = len(self._open) < self._cfg.worker_connections or bool(self.asleep(ASLEEP))
        self._accept_more(room and not stopping)
        for descriptor, _ in self._epoll.poll(seconds, 64):
            if (connection := self._waiting.get(descriptor)) is not None:
                self._happened(connection)
            elif descriptor in self._listeners:
                self._accept(self._listeners[descriptor])
            elif descriptor == self._signals:
                os.read(descriptor, 4096)

    def wait(self, connection: Connection, events: int, seconds: float) -> None:
        """Give the connection to the loop. From any thread: epoll and dictionaries may be used so, nobody is woken."""
        connection.since = time.monotonic()
        connection.deadline = connection.since + seconds
        self._epoll.register(connection.fd, events)
        self._waiting[connection.fd] = connection  # last: from here on the loop may end it

    def stop_waiting(self, connection: Connection) -> None:
        """Take it from the loop; only in its thread."""
        del self._waiting[connection.fd]
        self._epoll.unregister(connection.fd)

    def end_the_late(self, now: float) -> None:
        for connection in [waiting for waiting in list(self._waiting.values()) if waiting.deadline < now]:
            if connection.sending and connection.takes_bytes():
                connection.deadline = now + self._limits.stall
            else:
                self.drop(connection)

    def all_ended(self) -> bool:
        """When stopping. Whoever has been idle for a while goes; the others may have sent a request already."""
        for connection in self.asleep(self._limits.linger):
            self.drop(connection)
        return not self._open

    def asleep(self, seconds: float) -> list[Connection]:
        """Who has been idle for so long. Anybody else may have sent a request that we have not seen yet."""
        since = time.monotonic() - seconds
        return [waiting for waiting in list(self._waiting.values()) if waiting.idle and waiting.since < since]

    # --- Their beginning ----------------------------------------------------------------------------------------------

    def _accept_more(self, more: bool) -> None:
        if more == self._accepting:
            return
        self._accepting = more
        for descriptor, listener in self._listeners.items():
            listener.setblocking(False)
            if more:
                self._epoll.register(descriptor, select.EPOLLIN | select.EPOLLEXCLUSIVE)
            else:
                self._epoll.unregister(descriptor)

    def _accept(self, listener: Any) -> None:
        if len(self._open) >= self._cfg.worker_connections and not self._made_room():
            return
        try:
            sock, peer = listener.accept()
        except (BlockingIOError, ConnectionError):  # another worker was faster, or the client gave up
            return
        except OSError as problem:  # no descriptors or no memory: there may be some when others have ended
            self._log.error("No connection can be accepted: %s", problem)
            self._made_room()
            time.sleep(0.05)
            return
        self._welcome(sock, peer, listener.getsockname())

    def _welcome(self, sock: socket.socket, peer: Any, server: Any) -> None:
        kind = TlsConnection if self._cfg.is_ssl else Connection
        try:
            connection = kind(self._cfg, sock, peer, server, self._limits.stall)
        except OSError:  # the client has gone: with TLS it is seen here
            close(sock)
            return
        self._open.add(connection)
        if self._limits.per_address and self._of_address(peer) > self._limits.per_address:
            self.turn_away(connection)
        else:
            self.wait(connection, READ, self._limits.head)

    def _of_address(self, peer: Any) -> int:
        return sum(other.peer[0] == peer[0] for other in list(self._open)) if isinstance(peer, tuple) else 0

    def _made_room(self) -> bool:
        """Not being answered at all would be worse for the others."""
        asleep = self.asleep(ASLEEP)
        if asleep:
            self.drop(min(asleep, key=lambda connection: connection.since))
        return bool(asleep)

    # --- What happens to them -----------------------------------------------------------------------------------------

    def _happened(self, connection: Connection) -> None:
        if connection.sending:
            self.stop_waiting(connection)
            self._writable(connection)
            return
        received = connection.receive_now()
        if received is None or (received and connection.turned_away):
            return
        if received:
            self._received(connection, received)
        elif connection.collects_body:  # it was cut: that is for the application to answer
            self._arrived(connection)
        else:
            self.drop(connection)

    def _received(self, connection: Connection, received: bytes) -> None:
        if not connection.head:
            connection.deadline = time.monotonic() + self._limits.head
        collects_body = connection.collects_body
        connection.head += received
        if connection.ready():
            self._arrived(connection)
        elif connection.collects_body > collects_body:  # it has just begun to
            connection.deadline = time.monotonic() + self._limits.small_body

    # --- Their end ----------------------------------------------------------------------------------------------------

    def drop(self, connection: Connection) -> None:
        """The loop ends a connection that waits."""
        self.stop_waiting(connection)
        self._close(connection)

    def turn_away(self, connection: Connection) -> None:
        """There is no room: say so, but not in the middle of an answer."""
        if connection.sending is None:
            with suppress(OSError):
                connection.send_last(self._busy)
        self.end(connection)

    def end(self, connection: Connection) -> None:
        """There will be no more answers. The client has a moment to read the last one, which would be lost if we closed
        while it still sends. From any thread."""
        if connection.sending is None:
            connection.next_request()
            connection.turned_away = True
            with suppress(OSError):
                connection.end_of_answers()
                self.wait(connection, READ, self._limits.linger)
                return
        self._close(connection)

    def _close(self, connection: Connection) -> None:
        self._open.discard(connection)
        if (sending := connection.sending) is not None:
            connection.sending = None
            sending.end(False)
        close(connection.sock)
