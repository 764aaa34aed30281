"""A gunicorn worker in which no client can stop another.

One loop holds all connections that wait (`loop.py`). A thread is taken only when a whole head is there, and the thread
itself gives the connection back. What the application declares short is answered in the loop.
"""

import os
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from enum import Enum, auto
from typing import Any, ClassVar, cast

from serving import gunicorn_inside, heads
from serving.answers import Answering
from serving.bodies import BodyBroken, SocketBody
from serving.connections import HEAD_LIMIT, Connection
from serving.files import Sending
from serving.loop import READ, WRITE, Limits, Loop
from serving.threads import Threads

LEFT_OVER, LEFT_WITHIN = 64 * 1024, 5.0  # bytes and seconds: what is read of a body that nobody wanted
LEFT_MOMENT = 0.05  # seconds, where gunicorn reads it: it waits as long again for each of 1024 bytes


class After(Enum):
    """What becomes of a connection that a thread has dealt with."""

    KEEP = auto()
    CLOSE = auto()
    HANDED_OVER = auto()  # the loop has it already


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
        super().init_process()

    def run(self) -> None:
        self.loop = Loop(
            self.cfg, self.log, self.sockets, self.PIPE[0], self.limits, self.busy, self.arrived, self.to_thread
        )
        self.threads = Threads(self.cfg.threads, self.limits.queue, self.serve)
        self.turn_until(lambda: not self.alive)
        deadline = time.monotonic() + self.cfg.graceful_timeout
        self.turn_until(lambda: self.loop.all_ended() or time.monotonic() > deadline)

    def turn_until(self, done: Callable[[], bool]) -> None:
        tick = 0.0
        while not done():
            self.loop.turn(1.0 if self.alive else 0.1, stopping=not self.alive)
            if (now := time.monotonic()) >= tick:
                tick = now + 1
                self.notify()
                self.loop.end_the_late(now)
                for connection in self.threads.given_up(now):
                    self.loop.turn_away(connection)
                if self.ppid != os.getppid():  # gunicorn's master was killed: end what is open, and go
                    self.alive = False

    # --- In the loop --------------------------------------------------------------------------------------------------

    def arrived(self, connection: Connection) -> None:
        if not self.answered_here(connection):
            self.loop.stop_waiting(connection)
            self.to_thread(connection)

    def to_thread(self, connection: Connection) -> None:
        """Not before the client has read enough of earlier answers: a small one is written without waiting."""
        if connection.sending or connection.takes_more():
            self.threads.put(connection)
        else:
            connection.parser.unreader.unread(connection.head)
            connection.sending = Sending(connection.sock, b"", keep=True, end=lambda whole: None)
            self.loop.wait(connection, WRITE, self.limits.stall)

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
            self.loop.drop(connection)
            return
        if sent < len(answer):
            self.loop.stop_waiting(connection)
            connection.sending = Sending(connection.sock, answer[sent:], keep=keep, end=lambda whole: None)
            self.loop.wait(connection, WRITE, self.limits.stall)
        elif keep:
            connection.since = time.monotonic()
            connection.deadline = connection.since + self.cfg.keepalive
        else:
            self.loop.drop(connection)

    def count_request(self) -> None:
        self.nr += 1
        if self.nr >= self.max_requests:
            self.alive = False  # gunicorn starts another worker

    # --- In a thread --------------------------------------------------------------------------------------------------

    def serve(self, connection: Connection) -> None:
        """Deal with what the connection asks, then give it back or end it."""
        try:
            connection.for_thread()
            after = self.send_on(connection) if connection.sending else self.answer(connection)
            if after is After.KEEP:  # also when stopping: the client was promised that it goes on
                self.give_back(connection)
            elif after is After.CLOSE:
                self.loop.end(connection)
        except Exception:
            self.log.exception("A connection is lost")
            self.loop.end(connection)

    def give_back(self, connection: Connection) -> None:
        """To the loop, or where the client has pipelined its next request, to the next thread."""
        connection.next_request(connection.parser.unreader.take_buffered() + connection.left_over())
        if connection.ready():
            self.to_thread(connection)
        else:
            self.loop.wait(connection, READ, self.limits.head if connection.head else self.cfg.keepalive)

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
            return After.CLOSE  # ending the connection ends the sending
        if not whole:
            connection.takes_bytes()  # from here on it has to
            self.loop.wait(connection, WRITE, self.limits.stall)
            return After.HANDED_OVER
        connection.sending = None
        sending.end(True)
        return After.KEEP if sending.keep else After.CLOSE


class OfferedBody(SocketBody):
    """What the parser has read of it stays there until somebody asks here: forms are read from `wsgi.input`."""

    def __init__(self, sock: Any, unreader: Any, length: int | None):
        super().__init__(sock, b"", length, give_back=unreader.unread)
        self._unreader = unreader

    def blocks(self, stall: float, rate: int = 0, within: float | None = None) -> Generator[memoryview, None, None]:
        self.started = True  # whether or not the generator is ever asked: what was early is no longer with the parser
        self.early += self._unreader.take_buffered()
        return super().blocks(stall, rate, within)


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
