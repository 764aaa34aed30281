"""Where bodies come through OpenSSL, slow clients end as they do elsewhere."""

import json
import os
import shutil
import time
from collections.abc import Iterator

import pytest

from oci.digests import Digest
from tests.processes.test_serving import certificate_in
from tests.registry import basic
from tests.server import Server
from tests.wire.conftest import ACTIONS, PASSWORD
from tests.wire.connection import Connection

pytestmark = pytest.mark.skipif(
    shutil.which("openssl") is None and "CI" not in os.environ, reason="the certificate is made with openssl"
)

NAME = "wire/tls"
CONTENT = bytes(range(256)) * 1024


class SecureConnection(Connection):
    def __init__(self, server: Server, token: str = ""):
        super().__init__(server, token)
        secured = server.connection()
        secured.connect()
        self.socket.close()
        self.socket = secured.sock


@pytest.fixture(scope="module", params=["loop", "gthread"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Bodies have to keep up over each two seconds."""
    directory = tmp_path_factory.mktemp("tls")
    certificate, key = certificate_in(directory)
    environment: dict[str, str | None] = {
        "REGISTRY_WORKER": request.param,
        "REGISTRY_WORKERS": "1",
        "REGISTRY_BODY_TIMEOUT": "2",
        "REGISTRY_TLS_CERT": str(certificate),
        "REGISTRY_TLS_KEY": str(key),
    }
    with Server(directory / "data", environment, admin_password=PASSWORD) as running:
        yield running


@pytest.fixture
def connection(server: Server) -> Iterator[Connection]:
    asking = server.connection()
    asking.request(
        "GET", f"/token?scope=repository:{NAME}{ACTIONS}", headers={"Authorization": basic("admin", PASSWORD)}
    )
    token = json.load(asking.getresponse())["token"]
    asking.close()
    with SecureConnection(server, token) as connection:
        yield connection


@pytest.fixture
def upload(connection: Connection) -> str:
    return connection.ask("POST", f"/v2/{NAME}/blobs/uploads/", b"")["Location"]


def seconds_of_dripping(connection: Connection, content: bytes) -> float:
    """Until the server says something, or fifteen."""
    began = time.monotonic()
    connection.socket.settimeout(0.2)
    while time.monotonic() - began < 15:
        connection.send(content)
        try:
            received = connection.socket.recv(4096)
        except TimeoutError:
            continue
        connection.rest += received
        break
    connection.socket.settimeout(30)
    return time.monotonic() - began


@pytest.mark.faults
@pytest.mark.parametrize("how", ["length", "chunks"])
def test_a_body_that_drips_is_ended(how: str, connection: Connection, upload: str) -> None:
    framing = {"Content_Length": "1000000"} if how == "length" else {"Transfer_Encoding": "chunked"}
    connection.send(connection.head("PATCH", upload, **framing))
    assert 1 < seconds_of_dripping(connection, b"a" if how == "length" else b"1\r\na\r\n") < 8
    answer = connection.answer()
    assert (answer.status, answer.code) == (400, "SIZE_INVALID")


def test_whole_bodies_are_stored_and_the_connection_goes_on(connection: Connection, upload: str) -> None:
    answer = connection.ask("PATCH", upload, CONTENT)
    assert answer.status == 202
    time.sleep(0.7)  # longer than a tick, between requests
    pieces = connection.head("PUT", f"{upload}?digest={Digest.of(2 * CONTENT)}", Transfer_Encoding="chunked")
    connection.send(pieces + b"%x\r\n" % len(CONTENT) + CONTENT[:1000])
    time.sleep(0.7)  # and within one
    connection.send(CONTENT[1000:] + b"\r\n0\r\n\r\n")
    assert connection.answer().status == 201
    assert connection.is_open()
