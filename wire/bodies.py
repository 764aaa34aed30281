"""Request bodies as streams: the only place that knows how they arrive.

Django reads nothing of a chunked body and takes a cut one for complete, so bodies are read below it, and counted here:
from the socket where our own worker serves, and else from `wsgi.input`, which the server ends where the body ends.
"""

from collections.abc import Iterator
from contextlib import closing

from django.conf import settings
from django.http import HttpRequest
from rest_framework.request import Request

from oci.errors import RequestInvalid, SizeInvalid
from serving.bodies import SocketBody
from serving.inputs import InputBody


class Body:
    """The bytes a client sends, once, in blocks. `broken` says why they ended too early; empty: they did not.
    Raises RequestInvalid for a body that is coded in other ways than in chunks.

    `length`: bytes announced by `Content-Length`, or None for a chunked body.
    `expected`: bytes that have to come, where the client said so; set it before reading to refuse a longer body.
    """

    def __init__(self, request: Request | HttpRequest):
        environ = request.META
        coding = environ.get("HTTP_TRANSFER_ENCODING", "").strip().lower()
        if coding not in ("", "chunked"):
            raise RequestInvalid(coding[:100], "the only transfer coding that the registry takes is chunked")
        self.length = None if coding else int(environ.get("CONTENT_LENGTH") or 0)
        self.expected = self.length
        self.received = 0
        self.broken = ""
        self._within: float | None = None  # seconds
        self._source: SocketBody | InputBody = environ.get("layerstore.body") or InputBody(environ, self.length)

    def __iter__(self) -> Iterator[bytes | memoryview]:
        """A block is valid until three more have come.

        Raises SizeInvalid as soon as a chunked body grows beyond what its Content-Range announced.
        """
        patience = settings.REGISTRY_BODY_TIMEOUT, settings.REGISTRY_BODY_MIN_RATE, self._within
        try:
            with closing(self._source.blocks(*patience)) as blocks:
                for block in blocks:
                    self.received += len(block)
                    if self.expected is not None and self.received > self.expected:
                        raise SizeInvalid(f"the body is longer than the announced {self.expected} bytes")
                    yield block
        except OSError as problem:
            self.broken = str(problem) or type(problem).__name__
        if not self.broken and self.expected is not None and self.received < self.expected:
            self.broken = f"the body ended after {self.received} of {self.expected} bytes"

    def interrupt(self) -> None:
        """Called from another thread: whoever waits for more bytes sees the body end now, and can still answer."""
        self._source.interrupt()

    def read(self, limit: int, within: float | None = None) -> bytes | None:
        """The whole body, or None if it is longer than `limit` bytes.

        Raises SizeInvalid if it was cut, or if waiting for it took longer than `within` seconds in all.
        """
        self._within = within
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
