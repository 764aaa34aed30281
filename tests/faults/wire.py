"""A registry client that can stop anywhere: one request on one socket, sent piece by piece and ended in bad ways."""

import contextlib
import http.client
import json
import re
import socket
import struct
from dataclasses import dataclass
from email.message import Message
from enum import StrEnum
from typing import Self

from tests.server import Server

CHUNK = 32 * 1024  # bytes: what docker sends in one piece
STREAMED = {"Transfer-Encoding": "chunked"}
PATIENCE = 60.0  # seconds a client waits for anything, unless a test says otherwise


class Cut(StrEnum):
    """How a client leaves in the middle of a body."""

    FIN = "fin"
    RST = "rst"
    HALF_CLOSE = "half-close"  # sends no more, but waits for an answer
    SILENCE = "silence"  # the connection stays open, and nothing comes any more


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Message
    body: bytes

    @property
    def stored(self) -> int:
        """Bytes that the registry says it has; `0-0` is taken for none, though it may also mean one."""
        match = re.fullmatch(r"0-(\d+)", self.headers["Range"] or "")
        assert match, f"no Range in {self}"
        return int(match[1]) + 1 if int(match[1]) else 0

    @property
    def codes(self) -> list[str]:
        """The codes of the error envelope."""
        return [error["code"] for error in json.loads(self.body)["errors"]]

    def __repr__(self) -> str:
        return f"{self.status} {dict(self.headers.items())} {self.body[:300]!r}"


class Exchange:
    """One request on a connection of its own, whose body is sent by `send`, `chunk` and `end`."""

    def __init__(self, server: Server, token: str, method: str, path: str, headers: dict[str, str] | None = None):
        self.method = method
        self.socket = socket.create_connection((server.host, server.port), timeout=PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        lines = {"Host": server.registry, "Authorization": f"Bearer {token}", **(headers or {})}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self.socket.sendall(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, piece: bytes | memoryview) -> None:
        self.socket.sendall(piece)

    def chunk(self, piece: bytes | memoryview) -> None:
        self.socket.sendall(b"%x\r\n" % len(piece) + piece + b"\r\n")

    def end(self) -> None:
        self.socket.sendall(b"0\r\n\r\n")

    def leave(self, cut: Cut) -> None:
        if cut is Cut.HALF_CLOSE:
            self.socket.shutdown(socket.SHUT_WR)
        elif cut is not Cut.SILENCE:
            linger = struct.pack("ii", 1, 0) if cut is Cut.RST else struct.pack("ii", 0, 0)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.socket.close()

    def answer(self, within: float | None = None) -> Answer:
        """Raises TimeoutError when it does not come, another OSError or HTTPException when the connection breaks."""
        self.socket.settimeout(within or PATIENCE)
        with contextlib.closing(http.client.HTTPResponse(self.socket, method=self.method)) as response:
            response.begin()
            return Answer(response.status, response.headers, response.read())


def ask(
    server: Server, token: str, method: str, path: str, headers: dict[str, str] | None = None, body: bytes = b""
) -> Answer:
    """A whole request, its body with a length, and its answer."""
    length = {} if "Transfer-Encoding" in (headers or {}) else {"Content-Length": str(len(body))}
    with Exchange(server, token, method, path, {"Connection": "close", **length, **(headers or {})}) as exchange:
        # The server may have refused, and closed, before all was sent: then the answer says so.
        with contextlib.suppress(ConnectionError):
            exchange.send(body)
        return exchange.answer()


def chunked(content: bytes) -> bytes:
    """The content as a chunked body, in docker's pieces."""
    pieces = (content[start : start + CHUNK] for start in range(0, len(content), CHUNK))
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def part(start: int, content: bytes) -> dict[str, str]:
    """The Content-Range of a chunk that begins at byte `start`."""
    return {"Content-Range": f"{start}-{start + len(content) - 1}"}


def closing(location: str, digest: str) -> str:
    """The URL that ends the upload; a location may have a query of its own."""
    return f"{location}{'&' if '?' in location else '?'}digest={digest}"
