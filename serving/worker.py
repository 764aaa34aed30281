"""A gunicorn worker in which no client can stop another.

One loop holds all connections that wait: for the rest of a head, for the next request, for a slow reader. A thread is
taken only when a whole head is there, and the thread itself gives the connection back. What the application declares
short is answered in the loop. At most half of the threads receive bodies.
"""

import os
import select
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from queue import SimpleQueue
from typing import Any, ClassVar, cast

from serving import gunicorn_inside, heads
from serving.answers import Answering
from serving.bodies import BodyBroken, SocketBody
from serving.connections import HEAD_LIMIT, Connection, TlsConnection
from serving.files import Sending

ASLEEP = 1.0  # seconds without a byte
LEFT_OVER, LEFT_WITHIN = 64 * 1024, 5.0  # bytes and seconds: what is read of a body that nobody wanted
LEFT_MOMENT = 0.05  # seconds, where gunicorn reads it: it waits as long again for each of 1024 bytes
READ, WRITE = select.EPOLLIN | select.EPOLLRDHUP, select.EPOLLOUT


class After(Enum):
    """What becomes of a connection that a thread has dealt with."""

    KEEP = auto()
    CLOSE = auto()
    HANDED_OVER = auto()  # the loop has it already


@dataclass(frozen=True)
class Limits:
    """How patient the worker is. Seconds, except where said."""

    head: float = 10  # from the first byte of a request to the last of its head
    small_body: float = 30  # the same, for a body that is collected with its head
    stall: float = 30  # that a client which is being served neither sends nor takes a byte
    queue: float = 30  # that a request waits for a thread
    linger: float = 2  # that a client which was turned away has for reading why
    per_address: int = 0  # connections of one address; 0: no bound


class LoopWorker(gunicorn_inside.Worker):
    """Configured by class attributes, which a gunicorn configuration file sets.

    `short`: whether a plain request may be answered in the loop. Cheap to ask, and true only where the application
    cannot block; an answer of 500 or more is thrown away, and a thread tries again. `busy`: the complete answer to
    those for whom there is no room. `access_log`: whether each request is logged.
    """

    limits: ClassVar[Limits] = Limits()
    short: ClassVar[Callable[[dict[str, Any]], bool] | None] = None
    busy: ClassVar[bytes] = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    access_log: ClassVar[bool] = False

    alive: bool

    def init_process(self) -> None:
        gunicorn_inside.check()
        self.cfg: Any = gunicorn_inside.Frozen(self.cfg)
        self.open: set[Connection] = set()
        self.waiting: dict[int, Connection] = {}  # in the loop, by descriptor
        self.queued: set[Connection] = set()  # for a thread; whoever removes one from here has it
        self.epoll = select.epoll()
        self.bodies: SimpleQueue[Connection] = SimpleQueue()
        self.others: SimpleQueue[Connection] = SimpleQueue()
        self.listeners = {listener.fileno(): listener for listener in self.sockets}
        self.accepting = False
        super().init_process()

    # --- The loop -----------------------------------------------------------------------------------------------------

    def run(self) -> None:
        for number in range(max(2, self.cfg.threads)):
            queue = self.bodies if number % 2 else self.others
            threading.Thread(target=self.work, args=(queue,), name=f"request-{number}", daemon=True).start()
        self.epoll.register(self.PIPE[0], select.EPOLLIN)  # a signal writes there
        self.turn_until(lambda: not self.alive)
        self.accept_more(False)
        deadline = time.monotonic() + self.cfg.graceful_timeout
        self.turn_until(lambda: self.all_ended() or time.monotonic() > deadline)

    def turn_until(self, done: Callable[[], bool]) -> None:
        tick = 0.0
        while not done():
            if self.alive:
                self.accept_where_there_is_room()
            for descriptor, _ in self.epoll.poll(1.0 if self.alive else 0.1, 64):
                self.happened(descriptor)
            if (now := time.monotonic()) >= tick:
                tick = now + 1
                self.notify()
                self.close_the_late(now)
                if self.ppid != os.getppid():  # gunicorn's master was killed: end what is open, and go
                    self.alive = False

    def happened(self, descriptor: int) -> None:
        if (connection := self.waiting.get(descriptor)) is not None:
            if connection.sending:
                self.stop_waiting(connection)
                self.queue(connection, self.others)
            else:
                self.readable(connection)
        elif descriptor in self.listeners:
            self.accept(descriptor)
        elif descriptor == self.PIPE[0]:
            os.read(descriptor, 4096)

    def accept_more(self, more: bool) -> None:
        if more == self.accepting:
            return
        self.accepting = more
        for descriptor, listener in self.listeners.items():
            listener.setblocking(False)
            if more:
                self.epoll.register(descriptor, select.EPOLLIN | select.EPOLLEXCLUSIVE)
            else:
                self.epoll.unregister(descriptor)

    def accept(self, descriptor: int) -> None:
        if len(self.open) >= self.cfg.worker_connections and not self.made_room():
            return
        listener = self.listeners[descriptor]
        kind = TlsConnection if self.cfg.is_ssl else Connection
        try:
            sock, peer = listener.accept()
        except (BlockingIOError, ConnectionError):  # another worker was faster, or the client gave up
            return
        except OSError as problem:  # no descriptors or no memory: there may be some when others have ended
            self.log.error("No connection can be accepted: %s", problem)
            self.made_room()
            time.sleep(0.05)
            return
        try:
            connection = kind(self.cfg, sock, peer, listener.getsockname(), self.limits.stall)
        except OSError:  # the client has gone: with TLS it is seen here
            gunicorn_inside.close(sock)
            return
        self.open.add(connection)
        if self.limits.per_address and self.of_address(peer) > self.limits.per_address:
            self.turn_away(connection)
        else:
            self.wait(connection, READ, self.limits.head)

    def of_address(self, peer: Any) -> int:
        return sum(other.peer[0] == peer[0] for other in list(self.open)) if isinstance(peer, tuple) else 0

    def accept_where_there_is_room(self) -> None:
        self.accept_more(len(self.open) < self.cfg.worker_connections or bool(self.asleep(ASLEEP)))

    def asleep(self, seconds: float) -> list[Connection]:
        """Who has been idle for so long. Anybody else may have sent a request that we have not seen yet."""
        since = time.monotonic() - seconds
        return [waiting for waiting in list(self.waiting.values()) if waiting.idle and waiting.since < since]

    def made_room(self) -> bool:
        """At the limit whoever has been idle for longest goes: not being answered would be worse for the others."""
        asleep = self.asleep(ASLEEP)
        if asleep:
            self.drop(min(asleep, key=lambda connection: connection.since))
        return bool(asleep)

    def all_ended(self) -> bool:
        """When stopping. Whoever has been idle for a while goes; the others may have sent a request already."""
        for connection in self.asleep(self.limits.linger):
            self.drop(connection)
        return not self.open

    def close_the_late(self, now: float) -> None:
        for connection in [waiting for waiting in list(self.waiting.values()) if waiting.deadline < now]:
            if connection.sending and connection.takes_bytes():
                connection.deadline = now + self.limits.stall
            else:
                self.drop(connection)
        for connection in [queued for queued in list(self.queued) if queued.deadline < now]:
            if self.taken_from_queue(connection):
                self.turn_away(connection)

    # --- Connections that wait ----------------------------------------------------------------------------------------

    def wait(self, connection: Connection, events: int, seconds: float) -> None:
        """Give the connection to the loop. From any thread: epoll and dictionaries may be used so, nobody is woken."""
        connection.since = time.monotonic()
        connection.deadline = connection.since + seconds
        self.epoll.register(connection.fd, events)
        self.waiting[connection.fd] = connection  # last: from here on the loop may end it

    def stop_waiting(self, connection: Connection) -> None:
        del self.waiting[connection.fd]
        self.epoll.unregister(connection.fd)

    def queue(self, connection: Connection, queue: "SimpleQueue[Connection]") -> None:
        connection.deadline = time.monotonic() + self.limits.queue
        self.queued.add(connection)
        queue.put(connection)

    def taken_from_queue(self, connection: Connection) -> bool:
        try:
            self.queued.remove(connection)
        except KeyError:
            return False
        return True

    def drop(self, connection: Connection) -> None:
        """The loop ends a connection that waits."""
        self.stop_waiting(connection)
        self.forget(connection)
        gunicorn_inside.close(connection.sock)

    def forget(self, connection: Connection) -> None:
        self.open.discard(connection)
        if (sending := connection.sending) is not None:
            connection.sending = None
            sending.end(False)

    def turn_away(self, connection: Connection) -> None:
        """There is no room: say so, and give the client a moment to read it."""
        if connection.sending is not None:  # in the middle of an answer there is nothing to say
            self.forget(connection)
            gunicorn_inside.close(connection.sock)
            return
        with suppress(OSError):
            connection.send_last(self.busy)
        self.end(connection)

    def readable(self, connection: Connection) -> None:
        received = connection.receive_now()
        if received is None or (received and connection.turned_away):
            return
        if not received and connection.collects_body:  # it was cut: that is for the application to answer
            self.stop_waiting(connection)
            self.to_thread(connection)
            return
        if not received:
            self.drop(connection)
            return
        if not connection.head:
            connection.deadline = time.monotonic() + self.limits.head
        collects_body = connection.collects_body
        connection.head += received
        if not connection.ready():
            if connection.collects_body > collects_body:  # it has just begun to
                connection.deadline = time.monotonic() + self.limits.small_body
        elif not self.answered_here(connection):
            self.stop_waiting(connection)
            self.to_thread(connection)

    def to_thread(self, connection: Connection) -> None:
        """Not before the client has read enough of earlier answers: a small one is written without waiting."""
        if connection.takes_more():
            self.queue(connection, self.bodies if connection.streams_body else self.others)
        else:
            connection.parser.unreader.unread(connection.head)
            connection.sending = Sending(connection.sock, b"", keep=True, end=lambda whole: None)
            self.wait(connection, WRITE, self.limits.stall)

    def answered_here(self, connection: Connection) -> bool:
        """Whether the request was short, and has its answer. The connection goes on waiting, for its next."""
        if type(self).short is None or connection.encrypted or not self.alive:
            return False
        environ = heads.environ_of(connection.head, connection.peer, connection.server)
        if environ is None or not type(self).short(environ):  # type: ignore[misc]
            return False
        keep = heads.keeps_alive(environ)
        answer = heads.answer(self.wsgi, environ, keep, self.access_log)
        if answer is None:
            return False
        self.count_request()
        connection.next_request()
        self.send_here(connection, answer, keep)
        return True

    def send_here(self, connection: Connection, answer: bytes, keep: bool) -> None:
        try:
            sent = connection.send_now(answer)
        except OSError:
            self.drop(connection)
            return
        if sent < len(answer):
            self.stop_waiting(connection)
            connection.sending = Sending(connection.sock, answer[sent:], keep=keep, end=lambda whole: None)
            self.wait(connection, WRITE, self.limits.stall)
        elif keep:
            connection.since = time.monotonic()
            connection.deadline = connection.since + self.cfg.keepalive
        else:
            self.drop(connection)

    def count_request(self) -> None:
        self.nr += 1
        if self.nr >= self.max_requests:
            self.alive = False  # gunicorn starts another worker

    # --- Threads ------------------------------------------------------------------------------------------------------

    def work(self, queue: "SimpleQueue[Connection]") -> None:
        while True:
            connection = queue.get()
            if not self.taken_from_queue(connection):
                continue
            try:
                self.serve(connection)
            except Exception:
                self.log.exception("A connection is lost")
                self.end(connection)

    def serve(self, connection: Connection) -> None:
        """Deal with what the connection asks, then give it back or end it."""
        connection.for_thread()
        after = self.send_on(connection) if connection.sending else self.answer(connection)
        if after is After.KEEP:  # also when stopping: the client was promised that it goes on
            connection.next_request(connection.parser.unreader.take_buffered() + connection.left_over())  # pipelined
            if connection.ready():
                self.to_thread(connection)
            else:
                self.wait(connection, READ, self.limits.head if connection.head else self.cfg.keepalive)
        elif after is not After.HANDED_OVER:
            self.end(connection)

    def end(self, connection: Connection) -> None:
        """There will be no more answers. The client has a moment to read the last one, which would be lost if we closed
        while it still sends."""
        if connection.sending is None:
            connection.next_request()
            connection.turned_away = True
            with suppress(OSError):
                connection.end_of_answers()
                self.wait(connection, READ, self.limits.linger)
                return
        self.forget(connection)
        gunicorn_inside.close(connection.sock)

    def answer(self, connection: Connection) -> After:
        connection.parser.unreader.unread(connection.head if connection.needed else connection.head[:HEAD_LIMIT])
        if not connection.needed:  # no thread waits for the end of a head: this one is refused
            gunicorn_inside.read_no_more(connection.parser)
        request = None
        try:
            request = next(connection.parser)
            return self.respond(connection, request)
        except StopIteration:
            return After.CLOSE
        except gunicorn_inside.NoMoreData:
            if not connection.needed:
                too_long = gunicorn_inside.LimitRequestHeaders("the head is too long")
                self.handle_error(request, connection.sock, connection.peer, too_long)
            return After.CLOSE
        except OSError as problem:
            self.log.debug("A connection broke: %s", problem)
            return After.CLOSE
        except Exception as problem:  # noqa: BLE001 - gunicorn knows what each means, and logs what is a fault of ours
            self.handle_error(request, connection.sock, connection.peer, problem)
            return After.CLOSE

    def respond(self, connection: Connection, request: Any) -> After:
        response, environ = gunicorn_inside.create(
            request, connection.sock, connection.peer, connection.server, self.cfg
        )
        environ["wsgi.multithread"] = True
        self.count_request()
        body = self.offer_body(connection, request, environ)
        answering = Answering(response, environ, self.access_log)
        try:
            rest = answering.begin(self.wsgi, lambda: not self.alive)
            keep = not response.should_close() and read_to_its_end(connection, body)
        except BaseException as problem:
            answering.end(False)
            if response.headers_sent and not isinstance(problem, OSError):
                self.log.exception("An answer broke off")  # another would be taken for a part of it
                return After.CLOSE
            raise
        if rest is None:
            answering.end(True)
            return After.KEEP if keep else After.CLOSE
        connection.sending = answering.sending(connection.sock, rest, keep)
        return self.send_on(connection)

    def offer_body(self, connection: Connection, request: Any, environ: dict[str, Any]) -> SocketBody | None:
        """Let the application read the body from the socket itself. With TLS it reads `wsgi.input`, like everywhere."""
        length = gunicorn_inside.body_length(request)
        if length == 0 or connection.encrypted:
            return None
        body = environ["layerstore.body"] = OfferedBody(connection.sock, connection.parser.unreader, length)
        return body

    def send_on(self, connection: Connection) -> After:
        sending = cast(Sending, connection.sending)
        try:
            whole = sending.go_on()
        except OSError as problem:
            self.log.debug("An answer broke off: %s", problem)
            return After.CLOSE  # `forget` ends the sending
        if not whole:
            connection.takes_bytes()  # from here on it has to
            self.wait(connection, WRITE, self.limits.stall)
            return After.HANDED_OVER
        connection.sending = None
        sending.end(True)
        return After.KEEP if sending.keep else After.CLOSE


class OfferedBody(SocketBody):
    """What the parser has read of it stays there until somebody asks here: forms are read from `wsgi.input`."""

    def __init__(self, sock: Any, unreader: Any, length: int | None):
        super().__init__(sock, b"", length, give_back=unreader.unread)
        self._unreader = unreader

    def blocks(self, stall: float, rate: int = 0) -> Iterator[memoryview]:
        self.started = True  # whether or not the generator is ever asked: what was early is no longer with the parser
        self.early += self._unreader.take_buffered()
        return super().blocks(stall, rate)


def read_to_its_end(connection: Connection, body: SocketBody | None) -> bool:
    """Whether the next request begins where this one's body ends. What the application left of it is thrown away, up to
    64 KiB in 5 s, or what is there already; for more than that no connection is worth it."""
    if body is None or not body.started:
        return gunicorn_inside.leave_body(connection.parser, time.monotonic() + LEFT_MOMENT)
    left, deadline = LEFT_OVER, time.monotonic() + LEFT_WITHIN
    with suppress(BodyBroken):
        for block in body.blocks(LEFT_WITHIN) if not (body.finished or body.failed) else ():
            left -= len(block)
            if left < 0 or time.monotonic() > deadline:
                return False
    if body.finished:
        gunicorn_inside.forget_body(connection.parser)
    return body.finished
