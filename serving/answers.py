"""An application's answer, from first byte to last: what is small is written at once, the rest is for `Sending`."""

import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from serving.access_log import Entry
from serving.files import Sending, sending_of
from serving.gunicorn_inside import FileWrapper, Response, has_body

LARGE = 16 * 1024  # bytes that a slow reader may take long for: more than a socket that takes any has room for


class Answering:
    def __init__(self, response: Response, environ: dict[str, Any], logged: bool):
        self.response, self.environ = response, environ
        self.entry = Entry(environ) if logged else None
        self.iterable: Any = ()
        self.rest: Sending | None = None

    def begin(self, application: Callable[..., Iterable[bytes]], stopping: Callable[[], bool]) -> Any:
        """Call the application and write its answer; what is large, a file or bytes, is returned unsent."""
        self.iterable, response = application(self.environ, self.response.start_response), self.response
        if stopping():
            response.force_close()
        if isinstance(self.iterable, FileWrapper) and response.response_length is not None:
            response.send_headers()
            return self.iterable.filelike if has_body(response) else None
        for block in self.iterable:
            if len(block) > LARGE and response.response_length == len(block) and has_body(response):
                response.send_headers()
                return block
            response.write(block)
        response.close()
        return None

    def sending(self, sock: socket.socket, rest: Any, keep: bool) -> Sending:
        if isinstance(rest, bytes):
            self.rest = Sending(sock, rest, keep=keep, end=self.end)
        else:
            self.rest = sending_of(sock, rest, self.response.response_length, keep=keep, end=self.end)
        return self.rest

    def end(self, whole: bool) -> None:
        """Once: the application may free what it holds, and the log has its line."""
        if close := getattr(self.iterable, "close", None):
            with suppress(OSError):
                close()
        if self.entry:
            sent = self.response.response_length - self.rest.left if self.rest else self.response.sent
            self.entry.write(self.response.status or "000", sent, whole)
