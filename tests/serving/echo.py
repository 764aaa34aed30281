"""A WSGI application that says what it was asked, so that a test sees whether the server understood it."""

import atexit
import functools
import hashlib
import io
import json
import os
import tempfile
import time
from array import array
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from gunicorn.http.errors import ParseException

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
BODY_TIMEOUT = float(os.environ.get("ECHO_BODY_TIMEOUT", "5"))


def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """The first word of the path says what is done; else it echoes."""
    _, word, *arguments = [*environ["PATH_INFO"].split("/"), ""]
    words = {large, file, memory, cut_file, cut_memory, sleep, fail, stream}
    answer = {function.__name__: function for function in words}.get(word, echo)
    return answer(environ, start_response, *filter(None, arguments[:1]))


def headers_of(environ: Environ, length: int) -> list[tuple[str, str]]:
    tag = environ.get("HTTP_X_TAG", "")
    return [("Content-Length", str(length)), ("X-Tag", tag), ("X-Method", environ["REQUEST_METHOD"])]


def echo(environ: Environ, start_response: StartResponse, *_: str) -> list[bytes]:
    said = {
        "method": environ["REQUEST_METHOD"],
        "target": environ["RAW_URI"],
        "path": environ["PATH_INFO"],
        "query": environ["QUERY_STRING"],
        "protocol": environ["SERVER_PROTOCOL"],
        "scheme": environ["wsgi.url_scheme"],
        "headers": {name: value for name, value in sorted(environ.items()) if name.startswith(("HTTP_", "CONTENT_"))},
    }
    if not environ["PATH_INFO"].startswith("/ignore"):
        said |= body_of(environ)
    content = json.dumps(said).encode()
    start_response("400 Bad Request" if said.get("broken") else "200 OK", headers_of(environ, len(content)))
    return [content]


def body_of(environ: Environ) -> dict[str, Any]:
    size, digest, broken = 0, hashlib.sha256(), False
    try:
        for block in blocks_of(environ):
            size += len(block)
            digest.update(block)
    except (OSError, ParseException):
        broken = True
    announced = environ.get("CONTENT_LENGTH", "")
    broken = broken or (announced.isdigit() and int(announced) != size)
    return {"size": size, "digest": digest.hexdigest(), "broken": broken}


def blocks_of(environ: Environ) -> Iterator[bytes | memoryview]:
    """As `wire.bodies` reads: from the socket where the server offers that, else from `wsgi.input`."""
    if "/input" not in environ["PATH_INFO"] and (body := environ.get("layerstore.body")):
        yield from body.blocks(BODY_TIMEOUT)
        return
    environ["gunicorn.socket"].settimeout(BODY_TIMEOUT) if "gunicorn.socket" in environ else None
    while block := environ["wsgi.input"].read(65536):
        yield block


def large(environ: Environ, start_response: StartResponse, size: str = "1000000") -> list[bytes]:
    start_response("200 OK", headers_of(environ, int(size)))
    return [pattern(int(size))]


def file(environ: Environ, start_response: StartResponse, size: str = "1000000") -> Any:
    start_response("200 OK", headers_of(environ, int(size)))
    return environ["wsgi.file_wrapper"](open(stored(int(size)), "rb"))  # the server closes it


def memory(environ: Environ, start_response: StartResponse, size: str = "1000000") -> Any:
    """What is read like a file, and is none that the kernel knows."""
    start_response("200 OK", headers_of(environ, int(size)))
    return environ["wsgi.file_wrapper"](io.BytesIO(pattern(int(size))))


def cut_file(environ: Environ, start_response: StartResponse, size: str = "1000000") -> Any:
    """A file that has become shorter than what is announced."""
    start_response("200 OK", headers_of(environ, 2 * int(size)))
    return environ["wsgi.file_wrapper"](open(stored(int(size)), "rb"))


def cut_memory(environ: Environ, start_response: StartResponse, size: str = "1000000") -> Any:
    start_response("200 OK", headers_of(environ, 2 * int(size)))
    return environ["wsgi.file_wrapper"](io.BytesIO(pattern(int(size))))


@functools.cache
def stored(size: int) -> str:
    with tempfile.NamedTemporaryFile(delete=False) as file:
        atexit.register(Path(file.name).unlink, missing_ok=True)
        file.write(pattern(size))
    return file.name


def stream(environ: Environ, start_response: StartResponse, pieces: str = "3") -> Iterator[bytes]:
    """Without a length, so that the server has to frame it."""
    start_response("200 OK", headers_of(environ, 0)[1:])
    return (b"piece %d\n" % number for number in range(int(pieces)))


def sleep(environ: Environ, start_response: StartResponse, seconds: str = "1") -> list[bytes]:
    time.sleep(float(seconds))
    return echo(environ, start_response)


def fail(_environ: Environ, _start_response: StartResponse, *_: str) -> list[bytes]:
    raise RuntimeError("asked to fail")


@functools.cache
def pattern(size: int) -> bytes:
    """Bytes of which no two stretches are alike."""
    return array("Q", range(size // 8 + 1)).tobytes()[:size]
