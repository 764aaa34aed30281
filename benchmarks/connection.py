"""A client's end of HTTP/1.1 on a bare socket: as little work for each byte and each request as Python can do."""

import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from benchmarks.content import MIB, Buffer

PATIENCE = 60  # seconds without a byte before a run is given up
PIECE = 1 * MIB
END_OF_HEAD = b"\r\n\r\n"


class BadAnswer(Exception):
    """A server answered something else than what is being measured."""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]  # names in lower case
    early: bytes  # of the body, what came with the head

    @property
    def length(self) -> int:
        return int(self.headers.get("content-length", "0"))


class Connection:
    """One connection, kept alive. Raises OSError when the server is silent for PATIENCE seconds, BadAnswer for an
    answer with another status than expected."""

    def __init__(self, address: tuple[str, int], authorization: str = "") -> None:
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Not settimeout(), which would ask the kernel twice for everything.
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self.socket.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", PATIENCE, 0))
        self.fields = f"Host: {address[0]}:{address[1]}\r\n"
        if authorization:
            self.fields += f"Authorization: {authorization}\r\n"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def head(self, method: str, target: str, **headers: str | int) -> bytes:
        """A request's head; underscores in the names of headers stand for hyphens."""
        more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        return f"{method} {target} HTTP/1.1\r\n{self.fields}{more}\r\n".encode()

    def exchange(
        self, expected: int, method: str, target: str, body: Iterable[Buffer] = (), **headers: str | int
    ) -> Answer:
        """Send a request and return its answer, whose body is read and dropped."""
        self.socket.sendall(self.head(method, target, **headers))
        for piece in body:
            self.socket.sendall(piece)
        answer = self.answer(expected)
        self.drop(answer.length - len(answer.early))
        return answer

    def answer(self, expected: int) -> Answer:
        """Read the head of an answer. What is refused comes with the start of its body in the BadAnswer."""
        received = b""
        while END_OF_HEAD not in received:
            piece = self.socket.recv(65536)
            if not piece:
                raise BadAnswer(f"the server closed the connection after {received!r}")
            received += piece
        head, _, early = received.partition(END_OF_HEAD)
        lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        status = int(lines[0].split(" ")[1])
        if status != expected:
            raise BadAnswer(f"{lines[0]} instead of {expected}: {early[:500].decode(errors='replace')}")
        return Answer(status, headers, early)

    def drop(self, length: int, unread: bool = False) -> None:
        """Take `length` bytes from the socket; `unread` lets the kernel drop them without copying them here."""
        buffer = bytearray(min(length, PIECE))
        flags = socket.MSG_TRUNC if unread else 0
        while length:
            received = self.socket.recv_into(buffer, min(length, PIECE), flags)
            if not received:
                raise BadAnswer(f"the server closed the connection {length} bytes before the end")
            length -= received
