import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.server import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests of a module; each leaves it serving."""
    with Server(tmp_path_factory.mktemp("server") / "data", {"REGISTRY_WORKERS": "2"}) as server:
        yield server


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Server]:
    """A server that was not started yet, on data that do not exist yet."""
    server = Server(tmp_path / "data", {"REGISTRY_WORKERS": "1"})
    try:
        yield server
    finally:
        server.end()


class OpenRequest:
    """A request that the server has begun to read, and cannot answer before `finish` sends the rest."""

    BODY = b"grant_type=password&service=x&client_id=x&username=nobody&password=wrong"

    def __init__(self, server: Server) -> None:
        self.socket = socket.create_connection((server.host, server.port), timeout=30)
        head = f"POST /token HTTP/1.1\r\nHost: {server.registry}\r\nContent-Length: {len(self.BODY)}\r\n"
        self.socket.sendall(head.encode() + b"Content-Type: application/x-www-form-urlencoded\r\n\r\n" + self.BODY[:20])

    def finish(self) -> bytes:
        """The status line of the answer; empty when the connection was cut."""
        self.socket.sendall(self.BODY[20:])
        return self.socket.makefile("rb").readline()


@pytest.fixture
def open_request() -> Iterator[Callable[[Server], OpenRequest]]:
    opened: list[OpenRequest] = []

    def open_one(server: Server) -> OpenRequest:
        opened.append(OpenRequest(server))
        return opened[-1]

    yield open_one
    for request in opened:
        request.socket.close()
