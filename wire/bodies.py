"""Request bodies as streams: the only place that knows how they arrive.

Django reads nothing of a chunked body and takes a cut one for complete, so bodies are read below it, and counted here:
from the socket where our own worker serves, and else from `wsgi.input`, which the server ends where the body ends.
"""

import socket
from collections.abc import Generator, Iterator
from contextlib import closing, suppress

from django.conf import settings
from gunicorn.http.errors import ParseException
from rest_framework.request import Request

from oci.errors import RequestInvalid, SizeInvalid
from serving.bodies import SocketBody

BLOCK = 256 * 1024  # bytes read from `wsgi.input` at a time


class Body:
    """The bytes a client sends, once, in blocks. `broken` says why they ended too early; empty: they did not.
    Raises RequestInvalid for a body that is coded in other ways than in chunks.

    `length`: bytes announced by `Content-Length`, or None for a chunked body.
    `expected`: bytes that have to come, where the client said so; set it before reading to refuse a longer body.
    """

    def __init__(self, request: Request):
        environ = request.META
        coding = environ.get("HTTP_TRANSFER_ENCODING", "").strip().lower()
        if coding not in ("", "chunked"):
            raise RequestInvalid(coding[:100], "the only transfer coding that the registry takes is chunked")
        self.length = None if coding else int(environ.get("CONTENT_LENGTH") or 0)
        self.expected = self.length
        self.received = 0
        self.broken = ""
        self._direct: SocketBody | None = environ.get("layerstore.body")
        self._input = environ["wsgi.input"]
        self._socket: socket.socket | None = environ.get("gunicorn.socket")

    def __iter__(self) -> Iterator[bytes | memoryview]:
        """A block is valid until three more have come.

        Raises SizeInvalid as soon as a chunked body grows beyond what its Content-Range announced.
        """
        with closing(self._blocks()) as blocks:
            while block := self._next(blocks):
                self.received += len(block)
                if self.expected is not None and self.received > self.expected:
                    raise SizeInvalid(f"the body is longer than the announced {self.expected} bytes")
                yield block
        if not self.broken and self.expected is not None and self.received < self.expected:
            self.broken = f"the body ended after {self.received} of {self.expected} bytes"

    def _blocks(self) -> Generator[bytes | memoryview, None, None]:
        if self._direct:
            yield from self._direct.blocks(settings.REGISTRY_BODY_TIMEOUT, settings.REGISTRY_BODY_MIN_RATE)
            return
        if self._socket:
            self._socket.settimeout(settings.REGISTRY_BODY_TIMEOUT)
        while left := BLOCK if self.length is None else min(BLOCK, self.length - self.received):
            block = self._input.read(left)
            if not block:
                return
            yield block

    def _next(self, blocks: Iterator[bytes | memoryview]) -> bytes | memoryview:
        try:
            return next(blocks, b"")
        except TimeoutError:
            self.broken = f"nothing came for {settings.REGISTRY_BODY_TIMEOUT} seconds"
        except (OSError, ParseException) as problem:  # the connection broke, or what came was not a chunked body
            self.broken = str(problem) or type(problem).__name__
        return b""

    def interrupt(self) -> None:
        """Called from another thread: whoever waits for more bytes sees the body end now, and can still answer."""
        if self._direct:
            self._direct.interrupt()
        elif self._socket:
            with suppress(OSError):  # the client was faster
                # Not SSLSocket.shutdown, which would send the answer unencrypted.
                socket.socket.shutdown(self._socket, socket.SHUT_RD)

    def read(self, limit: int) -> bytes | None:
        """The whole body, or None if it is longer than `limit` bytes. Raises SizeInvalid if it was cut."""
        if self.length is not None and self.length > limit:
            return None
        content = bytearray()
        for block in self:
            content += block
            if len(content) > limit:
                return None
        if self.broken:
            raise SizeInvalid(self.broken)
        return bytes(content)
