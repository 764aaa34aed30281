"""A client that sends just these bytes, in just these pieces, and says which answers came back."""

import json
import re
import socket
import struct
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

STATUS = re.compile(rb"HTTP/1\.(\d) (\d{3}) [^\r\n]*\r\n")


@dataclass(frozen=True)
class Answer:
    """`whole`: all of it came. `said`: what the echo understood."""

    status: int
    headers: dict[str, str] = field(compare=False)
    body: bytes = field(compare=False)
    whole: bool = True

    @property
    def tag(self) -> str:
        return self.headers.get("x-tag", "")

    @property
    def said(self) -> dict[str, Any]:
        return json.loads(self.body) if self.body[:1] == b"{" and self.whole else {}

    @property
    def closes(self) -> bool:
        return self.headers.get("connection", "").lower() == "close"


def answers_in(stream: bytes) -> list[Answer]:
    """Every answer of a connection, the last one perhaps not whole. AssertionError where there is anything else."""
    answers = []
    while stream:
        head, end, rest = stream.partition(b"\r\n\r\n")
        status = STATUS.match(head + b"\r\n")
        assert status, f"no answer: {stream[:200]!r}"
        headers = dict(line.decode("latin-1").lower().split(": ", 1) for line in head.split(b"\r\n")[1:])
        code = int(status[2])
        if not end:
            return [*answers, Answer(code, headers, b"", whole=False)]
        body, stream, whole = body_in(code, headers, rest)
        answers.append(Answer(code, headers, body, whole))
    return answers


def body_in(code: int, headers: dict[str, str], rest: bytes) -> tuple[bytes, bytes, bool]:
    """The body, what follows it, and whether it is whole."""
    if code < 200 or code in (204, 304) or headers.get("x-method") == "head":
        return b"", rest, True
    if headers.get("transfer-encoding") == "chunked":
        return unchunked(rest)
    if "content-length" not in headers:
        return rest, b"", True
    length = int(headers["content-length"])
    return rest[:length], rest[length:], len(rest) >= length


def unchunked(rest: bytes) -> tuple[bytes, bytes, bool]:
    body = b""
    while b"\r\n" in rest:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        body, after, rest = body + rest[:length], rest[length : length + 2], rest[length + 2 :]
        if after != b"\r\n" or not length:
            return body, rest, after == b"\r\n"
    return body, b"", False


class Client:
    """A connection to a server under test; TLS where a context is given."""

    def __init__(self, server: Any, *, receive_buffer: int = 0, within: float = 10.0, context: Any = None):
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(within)
        self.socket.connect((server.host, server.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context is not None:
            self.socket = context.wrap_socket(self.socket)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: Any) -> None:
        self.socket.close()

    def send(self, *pieces: bytes, pause: float = 0.0) -> "Client":
        """A server that has closed already is no failure: its answer says why."""
        try:
            for number, piece in enumerate(pieces):
                time.sleep(pause if number else 0)
                self.socket.sendall(piece)
        except (BrokenPipeError, ConnectionResetError):
            """Then the answers say why."""
        return self

    def end(self) -> "Client":
        """No more will be sent; answers are still read."""
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            """The server was faster."""
        return self

    def reset(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def receive(self, size: int = 65536) -> bytes:
        """b"" when the server has ended. Raises TimeoutError."""
        try:
            return self.socket.recv(size)
        except ConnectionResetError:
            return b""

    def rest(self) -> bytes:
        """Everything until the server closes. Raises TimeoutError when it does not."""
        received = bytearray()
        while more := self.receive():
            received += more
        return bytes(received)

    def answer(self) -> Answer:
        """The next answer, whole or until the server closes; for one at a time."""
        received = b""
        while more := self.receive():
            received += more
            answers = [answer for answer in answers_in(received) if answer.status != 100]
            if answers and answers[0].whole:
                return answers[0]
        return answers_in(received)[0] if received else Answer(0, {}, b"", whole=False)

    def closed(self, within: float) -> bool:
        """Whether the server ends the connection in that time, sending nothing more."""
        self.socket.settimeout(within)
        try:
            return self.receive() == b""
        except TimeoutError:
            return False


def exchange(server: Any, pieces: Iterable[bytes], pause: float = 0.0) -> list[Answer]:
    """Send the pieces, then the end, and return all answers."""
    with Client(server) as client:
        return answers_in(client.send(*pieces, pause=pause).end().rest())
