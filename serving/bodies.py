"""Request bodies straight from the socket: the kernel fills a few buffers, which are used again and again.

All waiting is done by the kernel (`SO_RCVTIMEO`). A timeout of Python's would make the socket non-blocking inside: a
`poll` for every `recv`, and no MSG_WAITALL, by which a whole block comes in one call.
"""

import mmap
import socket
import struct
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from math import inf

from serving.chunks import Chunks

BLOCK = 1024 * 1024  # bytes
BUFFERS = 4
SMALL = 64 * 1024  # bytes; few chunked bodies are longer, and only those need large buffers
TIMEVAL = struct.Struct("@ll")  # seconds and microseconds
TICK = 1.0  # seconds of waiting after which we look at the clock, and hand on what came


class BodyBroken(OSError):
    """The body stopped before its end; the argument says why."""


class SocketBody:
    """The body of one request, on a plain socket that nobody else reads from meanwhile.

    `early`: what came along with the head, perhaps with some of the next request. `length`: bytes, or None for a
    chunked body. `give_back` is called once, as soon as all of the body is here, with what belongs to the next request
    (often b"", never more than `early` and a block).

    `started`: somebody has asked for it. `finished`: all of it came. `broken`: why no more will come.
    """

    def __init__(
        self, sock: socket.socket, early: bytes, length: int | None, *, give_back: Callable[[bytes], object]
    ) -> None:
        self.finished = False
        self.broken = ""
        self.started = False
        self.early = early
        self._socket, self._give_back = sock, give_back
        self._left = length or 0  # bytes, where there is a length
        self._chunks = Chunks() if length is None else None
        self._buffers: list[mmap.mmap | bytearray] = [bytearray()] * BUFFERS  # made when their turn comes
        self._yielded = 0  # blocks

    @property
    def failed(self) -> bool:
        """Whether it is unknown where the next request starts."""
        return bool(self.broken)

    def blocks(self, stall: float, rate: int = 0, within: float | None = None) -> Generator[memoryview, None, None]:
        """The payload, in blocks of BLOCK bytes or less. **A block is valid until three more have been yielded.**

        Raises BodyBroken, after all the payload that came: when the peer is gone, when the chunks are malformed, when
        nothing comes for `stall` seconds, less than `rate` bytes per second over as long, or not all of it in `within`
        seconds. Time in which the sender waits for us does not count. May be called again, to go on where an earlier
        iteration was left.
        """
        self.started = True
        pace = Pace(stall, rate, within)
        fill = self._fill if self._chunks is None else partial(self._fill_from_chunks, self._chunks)
        with waiting_at_most(self._socket, pace.tick):
            while not self.finished:
                buffer = memoryview(self._buffer())
                if size := fill(buffer, pace):
                    self._yielded += 1
                    yield buffer[:size]
                if self.broken:
                    raise BodyBroken(self.broken)

    def interrupt(self) -> None:
        """Called from another thread: the body is broken now, for whoever waits for it. An answer can still be sent."""
        self._break("interrupted")
        with suppress(OSError):  # the peer was faster
            self._socket.shutdown(socket.SHUT_RD)

    def _buffer(self) -> mmap.mmap | bytearray:
        """The one for the next block."""
        turn = self._yielded % BUFFERS
        size = (BLOCK if self._yielded else SMALL) if self._chunks else min(BLOCK, self._left)
        if len(self._buffers[turn]) < size:
            # A map takes memory only as far as it is filled, and none once it is gone: malloc would keep it, for each
            # thread that has ever received a body.
            self._buffers[turn] = mmap.mmap(-1, size) if size > SMALL else bytearray(size)
        return self._buffers[turn]

    def _fill(self, buffer: memoryview, pace: "Pace") -> int:
        """Receive until the buffer or a tick is over; returns how many bytes of payload came."""
        end, until = 0, pace.waited + pace.tick
        while self._left and end < len(buffer) and pace.waited < until and not self.broken:
            got = self._receive(buffer[end : end + self._left], pace, socket.MSG_WAITALL)
            end, self._left = end + got, self._left - got
        if not self._left:
            self._finish()
        return end

    def _fill_from_chunks(self, chunks: Chunks, buffer: memoryview, pace: "Pace") -> int:
        """The same for a chunked body."""
        payload, end, until = 0, 0, pace.waited + pace.tick
        while not chunks.ended and end < len(buffer) and pace.waited < until and not self.broken:
            end += self._receive(buffer[end:], pace)
            payload, end = chunks.close_up(buffer, payload, end)
            if chunks.malformed:
                self._break(chunks.malformed)
        self.early = bytes(buffer[payload:end]) + self.early
        if chunks.ended:
            self._finish()
        return payload

    def _receive(self, room: memoryview, pace: "Pace", flags: int = 0) -> int:
        """Wait for bytes, a tick at most; returns how many came. What came early comes first."""
        if self.early:
            size = min(len(self.early), len(room))
            room[:size], self.early = self.early[:size], self.early[size:]
            return size
        if pace.problem:
            self._break(pace.problem)
            return 0
        began, size = time.monotonic(), 0
        try:
            size = self._socket.recv_into(room, 0, flags)
            if not size:
                self._break("the connection was closed")
        except BlockingIOError:
            """The tick is over."""
        except OSError as problem:
            self._break(str(problem))
        pace.count(size, time.monotonic() - began)
        return size

    def _break(self, reason: str) -> None:
        self.broken = self.broken or reason  # never taken back: another thread may have been first

    def _finish(self) -> None:
        self.finished, rest, self.early = True, self.early, b""
        self._give_back(rest)


class Pace:
    """Whether a sender keeps up. Only the time we spend waiting for it counts."""

    def __init__(self, stall: float, rate: int, within: float | None = None) -> None:
        self._within = inf if within is None else within
        self.tick = min(TICK, stall / 4, self._within / 4)  # seconds
        self.waited = 0.0  # seconds, in all
        self.problem = ""
        self._stall, self._rate = stall, rate
        self._silent = 0.0  # seconds
        self._window, self._came = 0.0, 0  # seconds of the present window, and bytes that came in it

    def count(self, size: int, seconds: float) -> None:
        """So many bytes took so long. May be late by a tick: the kernel does not say when in a wait the bytes came."""
        self.waited += seconds
        self._silent = 0.0 if size else self._silent + seconds
        self._window, self._came = self._window + seconds, self._came + size
        if self.waited >= self._within:
            self.problem = f"the body took longer than {self._within:g} seconds"
        elif self._silent >= self._stall:
            self.problem = f"nothing came for {self._stall:g} seconds"
        elif size and self._window >= self._stall:
            if self._came < self._rate * self._window:
                self.problem = f"less than {self._rate} bytes per second came"
            self._window, self._came = 0.0, 0


@contextmanager
def waiting_at_most(sock: socket.socket, seconds: float) -> Iterator[None]:
    """A `recv` returns after so long: with what came until then, or with BlockingIOError."""
    timeout, in_kernel = sock.gettimeout(), sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, TIMEVAL.size)
    sock.settimeout(None)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, TIMEVAL.pack(int(seconds), int(seconds % 1 * 1e6)))
    try:
        yield
    finally:
        with suppress(OSError):  # closed meanwhile: there is nothing to put back
            sock.settimeout(timeout)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, in_kernel)
