"""Request bodies from `wsgi.input`: with TLS, and under other workers than ours. No slower client is put up with here
than on a plain socket."""

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from socket import SHUT_RD, socket
from typing import Any

from serving.bodies import BodyBroken, Pace
from serving.gunicorn_inside import ParseException, receiving

BLOCK = 64 * 1024  # bytes


class InputBody:
    """Like a SocketBody: `blocks` and `interrupt`. `length`: bytes, or None for a chunked body."""

    def __init__(self, environ: dict[str, Any], length: int | None) -> None:
        self._input, self._left = environ["wsgi.input"], length
        self._socket: socket | None = environ.get("gunicorn.socket")

    def blocks(self, stall: float, rate: int = 0, within: float | None = None) -> Generator[bytes, None, None]:
        """As SocketBody.blocks says; but where the peer ends early, the blocks just end."""
        try:
            with self._keeping(Pace(stall, rate, within)):
                while size := BLOCK if self._left is None else min(BLOCK, self._left):
                    if not (block := self._input.read(size)):
                        return
                    if self._left is not None:
                        self._left -= len(block)
                    yield block
        except (OSError, ParseException) as problem:  # the connection broke, or what came was not a chunked body
            raise BodyBroken(str(problem) or type(problem).__name__) from problem

    def interrupt(self) -> None:
        """Called from another thread: whoever waits for more bytes sees the body end now, and can still answer."""
        if self._socket:
            with suppress(OSError):  # the client was faster
                socket.shutdown(self._socket, SHUT_RD)  # SSLSocket's own would send the answer unencrypted

    @contextmanager
    def _keeping(self, pace: Pace) -> Iterator[None]:
        """Where gunicorn receives for us, each of its receptions is timed."""
        if (sock := self._socket) is None:
            yield
            return
        timeout = sock.gettimeout()
        sock.settimeout(pace.tick)
        try:
            with receiving(self._input, partial(timed, pace)):
                yield
        finally:
            with suppress(OSError):  # closed meanwhile: there is nothing to put back
                sock.settimeout(timeout)


def timed(pace: Pace, receive: Callable[..., bytes]) -> Callable[..., bytes]:
    """A reception that goes on for as long as the sender keeps up, tick by tick. Then it raises BodyBroken."""

    def receive_in_time(size: int | None = None) -> bytes:
        while not pace.problem:
            began = time.monotonic()
            try:
                received = receive(size)
            except TimeoutError:
                pace.count(0, time.monotonic() - began)
            else:
                pace.count(len(received), time.monotonic() - began)
                return received
        raise BodyBroken(pace.problem)

    return receive_in_time
