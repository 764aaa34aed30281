"""Sockets whose other end a test holds in its hand."""

import socket
from collections.abc import Iterable


class Pieces:
    """A socket on which bytes arrive in exactly these pieces; after the last one the peer is gone."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = (memoryview(piece) for piece in pieces if piece)
        self._piece = memoryview(b"")

    def recv_into(self, room: memoryview, size: int = 0, flags: int = 0) -> int:
        self._piece = self._piece or next(self._pieces, self._piece)
        got = min(len(self._piece), size or len(room))
        room[:got], self._piece = self._piece[:got], self._piece[got:]
        return got

    def gettimeout(self) -> None: ...
    def settimeout(self, seconds: float | None) -> None: ...
    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        return b""

    def setsockopt(self, level: int, option: int, value: bytes) -> None: ...


def cut(stream: bytes, size: int) -> list[bytes]:
    return [stream[start : start + size] for start in range(0, len(stream), size)]


def connected(kind: str) -> tuple[socket.socket, socket.socket]:
    """Server's and client's end, of "tcp" or "unix"."""
    if kind == "unix":
        return socket.socketpair()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    return server, client
