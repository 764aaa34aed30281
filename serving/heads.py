"""Plain short requests: their heads read by one expression, their answers made and framed for one `send`.

Anything that is not plain (a body, an escape, an expectation, a forwarded address, a header twice) is not read here:
gunicorn's parser does that, and says what is wrong with it. So what is accepted here is a subset, and means the same.
"""

import io
import logging
import re
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

from serving.access_log import Entry
from serving.gunicorn_inside import FileWrapper, http_date

PLAIN = re.compile(
    rb"(GET|HEAD) (/(?!/)[!-\"$&->@-~]*)(?:\?([!-\"$&-~]*))? HTTP/1\.1\r\n"
    rb"((?:[A-Za-z0-9-]{1,64}:[ \t]*[!-~][ -~]*\r\n){1,50})\r\n"
)
LONGEST = 16 * 1024  # bytes; every field in it is shorter than gunicorn's limit for one
HEADER = re.compile(r"([A-Za-z0-9-]+):[ \t]*([!-~][ -~]*)\r\n")
NOT_PLAIN = frozenset(
    [
        "CONTENT-LENGTH", "EXPECT", "FORWARDED", "PROXY", "TE", "TRAILER", "TRANSFER-ENCODING", "UPGRADE",
        "X-FORWARDED-FOR", "X-FORWARDED-HOST", "X-FORWARDED-PROTO", "X-FORWARDED-PROTOCOL", "X-FORWARDED-SSL",
    ]
)  # fmt: skip
CONNECTION = {"": True, "keep-alive": True, "close": False}

log = logging.getLogger(__name__)

BASE = {
    "wsgi.version": (1, 0),
    "wsgi.url_scheme": "http",
    "wsgi.errors": sys.stderr,
    "wsgi.multithread": True,
    "wsgi.multiprocess": True,
    "wsgi.run_once": False,
    "wsgi.input_terminated": True,
    "wsgi.file_wrapper": FileWrapper,
    "SCRIPT_NAME": "",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "SERVER_SOFTWARE": "gunicorn",
}


def environ_of(head: bytes, peer: Any, server: Any) -> dict[str, Any] | None:
    """The WSGI environ of a plain request that is complete with this head; None: gunicorn has to read it."""
    match = PLAIN.fullmatch(head) if len(head) <= LONGEST else None
    if match is None or not isinstance(peer, tuple) or not isinstance(server, tuple):
        return None
    method, path, query, fields = (part.decode("ascii") if part else "" for part in match.groups())
    headers = {name.upper(): value.rstrip(" ") for name, value in HEADER.findall(fields)}
    plain = NOT_PLAIN.isdisjoint(headers) and headers.get("CONNECTION", "").lower() in CONNECTION
    if not plain or "HOST" not in headers or len(headers) != fields.count("\r\n"):
        return None
    environ = {"HTTP_" + name.replace("-", "_"): value for name, value in headers.items()}
    if "HTTP_CONTENT_TYPE" in environ:
        environ["CONTENT_TYPE"] = environ.pop("HTTP_CONTENT_TYPE")
    return BASE | environ | {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "RAW_URI": f"{path}?{query}" if match[3] is not None else path,
        "REMOTE_ADDR": peer[0],
        "REMOTE_PORT": str(peer[1]),
        "SERVER_NAME": server[0],
        "SERVER_PORT": str(server[1]),
        "wsgi.input": io.BytesIO(),
    }  # fmt: skip


def keeps_alive(environ: dict[str, Any]) -> bool:
    return CONNECTION[environ.get("HTTP_CONNECTION", "").lower()]


def answer(
    application: Callable[..., Iterable[bytes]], environ: dict[str, Any], keep: bool, logged: bool
) -> bytes | None:
    """The complete answer; None where it is not for the loop to give: an error of the server's, or a file."""
    entry = Entry(environ) if logged else None
    try:
        status, headers, content = called(application, environ)
    except Exception:
        log.exception("the application failed")
        return None
    if content is None or status >= "500":
        return None
    whole = framed(status, headers, content, method=environ["REQUEST_METHOD"], keep=keep)
    if entry and whole is not None:
        entry.write(status, len(content))
    return whole


def called(application: Callable[..., Iterable[bytes]], environ: dict[str, Any]) -> tuple[str, list, bytes | None]:
    """Status, headers and content; no content for a file, which has to be sent in another way."""
    started: list[Any] = []
    iterable = application(environ, lambda status, headers, problem=None: started.extend((status, headers)))
    try:
        content = None if isinstance(iterable, FileWrapper) else b"".join(iterable)
    finally:
        if close := getattr(iterable, "close", None):
            close()
    status, headers = started
    return status, headers, content


def framed(status: str, headers: list[tuple[str, str]], content: bytes, *, method: str, keep: bool) -> bytes | None:
    """Status line, headers and content; None where a header holds a line break."""
    lines = [f"HTTP/1.1 {status}", "Server: gunicorn", f"Date: {date()}"]
    lines.append("Connection: keep-alive" if keep else "Connection: close")
    lines += [f"{name}: {value}" for name, value in headers]
    if method == "HEAD" or status[:3] in ("204", "304"):
        content = b""
    elif not any(name.lower() == "content-length" for name, _ in headers):
        lines.append(f"Content-Length: {len(content)}")
    text = "\n".join(lines)
    if "\r" in text or text.count("\n") != len(lines) - 1:
        log.error("a header of an answer holds a line break: %r", text)
        return None
    return (text.replace("\n", "\r\n") + "\r\n\r\n").encode("latin-1") + content


_date = (0, "")


def date() -> str:
    global _date
    now = int(time.time())
    if _date[0] != now:
        _date = (now, http_date())
    return _date[1]
