"""One TCP connection to the server, byte by byte: requests that no HTTP library would send, answers taken strictly."""

import json
import re
import socket
import time
from dataclasses import dataclass
from typing import Any, Self

from tests.server import Server

PATIENCE = 30.0  # seconds for an answer that has to come


class Closed(Exception):
    """The server closed the connection; the argument is what it said before."""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]  # names in lower case
    body: bytes
    seconds: float  # from the first byte asked for to the last one read

    def __getitem__(self, name: str) -> str:
        return self.headers[name.lower()]

    @property
    def code(self) -> str:
        (error,) = json.loads(self.body)["errors"]
        assert sorted(error) == ["code", "detail", "message"]
        return error["code"]


class Connection:
    def __init__(self, server: Server, token: str = ""):
        self.host, self.token = server.registry, token
        self.socket = socket.create_connection((server.host, server.port), timeout=PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.rest = b""  # read beyond the last answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def head(self, method: str, path: str, **headers: str) -> bytes:
        """The head of a request; a header given as "" is left out, `Content_Length` is written Content-Length."""
        lines = {"Host": self.host, "Authorization": f"Bearer {self.token}" if self.token else "", **headers}
        text = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items() if value)
        return f"{method} {path} HTTP/1.1\r\n{text}\r\n".encode("utf-8", "surrogateescape")

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        if body is not None:
            headers.setdefault("Content_Length", str(len(body)))
        self.send(self.head(method, path, **headers) + (body or b""))
        return self.answer(method)

    def answer(self, method: str = "GET") -> Answer:
        """The next answer, 100 excepted. Raises Closed when there is none."""
        began = time.monotonic()
        while True:
            head = self._until(b"\r\n\r\n")
            status_line, *lines = head.decode("latin-1").split("\r\n")
            match = re.fullmatch(r"HTTP/1\.1 (\d{3}) [^\r\n]*", status_line)
            assert match, f"no status line: {status_line!r}"
            status = int(match[1])
            if status != 100:
                break
        headers = headers_of(lines)
        body = self._body(method, status, headers)
        return Answer(status, headers, body, time.monotonic() - began)

    def _body(self, method: str, status: int, headers: dict[str, str]) -> bytes:
        assert "transfer-encoding" not in headers, "an answer of known length was sent in chunks"
        if method == "HEAD" or status in (204, 304):
            return b""
        length = int(headers["content-length"])
        while len(self.rest) < length:
            self._more()
        body, self.rest = self.rest[:length], self.rest[length:]
        return body

    def _until(self, end: bytes) -> bytes:
        while end not in self.rest:
            self._more()
        found, _, self.rest = self.rest.partition(end)
        return found

    def _more(self) -> None:
        try:
            data = self.socket.recv(1 << 20)
        except ConnectionResetError:
            data = b""
        if not data:
            raise Closed(self.rest)
        self.rest += data

    def is_open(self) -> bool:
        """Whether another request on this connection is answered."""
        try:
            return self.ask("GET", "/v2/").status == 200
        except (Closed, BrokenPipeError):
            return False


def headers_of(lines: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        assert name.lower() not in headers, f"{name} was sent twice"
        headers[name.lower()] = value.strip()
    return headers


def chunked(*chunks: bytes) -> bytes:
    """A body in chunks, ended."""
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in (*chunks, b"") if chunk) + b"0\r\n\r\n"


def is_ours(answer: Answer) -> Answer:
    """What every answer below /v2/ has, and what every refusal there has; returns the answer."""
    assert answer["Docker-Distribution-Api-Version"] == "registry/2.0"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in answer["Content-Security-Policy"]
    if answer.status >= 400 and answer.body:
        assert answer["Content-Type"] == "application/json"
        assert answer.code
    return answer


def fetch(server: Server, path: str, **headers: str) -> Any:
    """The JSON of one GET, which succeeds."""
    with Connection(server) as connection:
        answer = connection.ask("GET", path, **headers)
    assert answer.status == 200, answer
    return json.loads(answer.body)
