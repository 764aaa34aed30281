"""All that we rely on inside gunicorn, beside its documented settings and hooks: each name once, checked at the start.

gunicorn keeps what it is good at (processes, signals, configuration, parsing, the WSGI environ, the framing of
responses). None of that is a stable interface, so the version is pinned, and a worker of another one does not start.
"""

from typing import Any

import gunicorn
from gunicorn import http, sock, util
from gunicorn.errors import ConfigError
from gunicorn.http.body import ChunkedReader, LengthReader
from gunicorn.http.errors import LimitRequestHeaders, NoMoreData
from gunicorn.http.parser import RequestParser
from gunicorn.http.unreader import SocketUnreader
from gunicorn.http.wsgi import FileWrapper, Response, create
from gunicorn.workers.base import Worker

VERSION = "27.0.1"

USED = {
    ChunkedReader: (),
    LengthReader: (),
    RequestParser: ("__next__", "finish_body"),
    SocketUnreader: ("chunk", "take_buffered", "unread"),
    Response: ("close", "force_close", "send_headers", "should_close", "start_response", "write"),
    Worker: ("handle_error", "init_process", "notify"),
}

__all__ = ["FileWrapper", "LimitRequestHeaders", "NoMoreData", "Response", "Worker", "create"]

close = util.close
http_date = util.http_date


def check() -> None:
    """Raises ConfigError, which ends gunicorn with this message, where it is not the gunicorn we know."""
    missing = [
        f"{owner.__name__}.{name}" for owner, names in USED.items() for name in names if not hasattr(owner, name)
    ]
    if gunicorn.__version__ != VERSION or missing:
        raise ConfigError(
            f"This worker was made for gunicorn {VERSION}, here is {gunicorn.__version__}"
            f"{' without ' + ', '.join(missing) if missing else ''}. Install that version, or use gthread."
        )


class Frozen:
    """The configuration as plain attributes: gunicorn looks each up in a dictionary of objects, 30 times a request."""

    def __init__(self, cfg: Any):
        self.__dict__["_cfg"] = cfg

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._cfg, name)
        if name == "forwarded_allow_networks":  # a method that parses the same list anew for each request
            networks = value()
            value = lambda: networks  # noqa: E731
        self.__dict__[name] = value
        return value


def new_parser(cfg: Any, connection: Any, peer: Any) -> RequestParser:
    """Its `unreader` is given what was read already, and reads from the socket what is missing."""
    return http.get_parser(cfg, connection, peer)


def read_no_more(parser: RequestParser) -> None:
    """What the parser was given is all it gets: where it needs more, it raises NoMoreData."""
    parser.unreader.chunk = lambda size_hint=None: b""


def wrap_tls(cfg: Any, connection: Any) -> Any:
    return sock.ssl_wrap_socket(connection, cfg)


def body_length(request: Any) -> int | None:
    """Bytes of the body as gunicorn's parser understood the head; None: chunked."""
    reader = request.body.reader
    if isinstance(reader, ChunkedReader):
        return None
    return reader.length if isinstance(reader, LengthReader) else 0


def leave_body(parser: RequestParser, deadline: float) -> bool:
    """Throw away what the application left of the body, up to 64 KiB. False: the connection cannot go on."""
    return bool(parser.finish_body(deadline=deadline))


def forget_body(parser: RequestParser) -> None:
    """The body was read past the parser, to its end: there is nothing to throw away."""
    parser.mesg = None


def has_body(response: Response) -> bool:
    """Whether bytes follow the head of this answer: not for HEAD, 204 and 304."""
    return not response._omits_body
