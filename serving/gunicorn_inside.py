"""All that we rely on inside gunicorn, beside its documented settings and hooks: each name once, checked at the start.

gunicorn keeps what it is good at (processes, signals, configuration, parsing, the WSGI environ, the framing of
responses). None of that is a stable interface, so the version is pinned, and a worker of another one does not start.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gunicorn
import gunicorn.http.message
from gunicorn import http, sock, util
from gunicorn.config import Config
from gunicorn.errors import ConfigError
from gunicorn.http.body import Body, ChunkedReader, LengthReader
from gunicorn.http.errors import LimitRequestHeaders, NoMoreData, ParseException
from gunicorn.http.parser import RequestParser
from gunicorn.http.unreader import SocketUnreader
from gunicorn.http.wsgi import FileWrapper, Response, create
from gunicorn.workers.base import Worker

VERSION = "27.0.1"

# What only instances have (`unreader`, `mesg`, `reader`, `req`, `headers_sent`, `_omits_body`…) the tests find missing.
USED = {
    gunicorn.http.message: ("MAX_REQUEST_LINE",),
    http: ("get_parser",),
    sock: ("ssl_wrap_socket",),
    util: ("close", "http_date"),
    Body: ("read",),
    ChunkedReader: (),
    Config: ("forwarded_allow_networks",),
    LengthReader: (),
    RequestParser: ("__next__", "finish_body"),
    SocketUnreader: ("chunk", "take_buffered", "unread"),
    Response: ("close", "force_close", "send_headers", "should_close", "start_response", "write"),
    Worker: ("handle_error", "init_process", "notify"),
}

__all__ = ["FileWrapper", "LimitRequestHeaders", "NoMoreData", "ParseException", "Response", "Worker", "create"]

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


def leave_sockets(arbiter: Any) -> None:
    """Its listening sockets are somebody else's, as systemd's would be: at its end it does not remove their files."""
    arbiter.systemd = True


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


def allow_request_lines(size: int) -> None:
    """Of so many bytes. gunicorn's limit is 8190 whatever is asked for, except for "no limit at all", which would let
    one client fill the memory. For any worker; to be called before the first request."""
    gunicorn.http.message.MAX_REQUEST_LINE = size


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


@contextmanager
def receiving(body: Any, wrap: Callable[[Callable[..., bytes]], Callable[..., bytes]]) -> Iterator[None]:
    """For this long, whatever reads the body (a `wsgi.input` of gunicorn's) receives through `wrap(receive)`, each
    call of which is one `recv` on the socket. Below the readers: above them nobody sees a body that drips."""
    reader = body.reader
    unreader = reader.req.unreader if isinstance(reader, ChunkedReader) else reader.unreader
    unreader.chunk = wrap(unreader.chunk)
    try:
        yield
    finally:
        del unreader.chunk  # the class's own again


def leave_body(parser: RequestParser, deadline: float) -> bool:
    """Throw away what the application left of the body, up to 64 KiB. False: the connection cannot go on."""
    try:
        return bool(parser.finish_body(deadline=deadline))
    except ParseException:  # what is left is no chunked body
        return False


def forget_body(parser: RequestParser) -> None:
    """The body was read past the parser, to its end: there is nothing to throw away."""
    parser.mesg = None


def has_body(response: Response) -> bool:
    """Whether bytes follow the head of this answer: not for HEAD, 204 and 304."""
    return not response._omits_body
