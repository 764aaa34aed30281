"""Behind a proxy, over TCP or a Unix socket: who the client is, and how it came."""

import http.client
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.exceptions import MiddlewareNotUsed
from django.http import HttpResponse
from django.test import RequestFactory
from pytest_django.fixtures import Settings

from registry_site.middleware import client_address
from tests.server import Server, wait_until


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=10)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


def seen(address: str, forwarded: str) -> str:
    """REMOTE_ADDR as the application sees it, of a request from `address`."""
    request = RequestFactory().get("/v2/", REMOTE_ADDR=address, headers={"x-forwarded-for": forwarded})
    client_address(lambda request: HttpResponse(request.META["REMOTE_ADDR"]))(request)
    return request.META["REMOTE_ADDR"]


@pytest.mark.parametrize(
    ("address", "forwarded", "client"),
    [
        ("10.0.0.1", "203.0.113.7", "203.0.113.7"),
        ("10.0.0.1", "198.51.100.1, 203.0.113.7", "203.0.113.7"),  # what the client itself wrote comes first
        ("10.0.0.1", "203.0.113.7,10.1.2.3", "203.0.113.7"),
        ("10.0.0.1", "203.0.113.7, not an address", "not an address"),
        ("10.0.0.1", "2001:db8::7", "2001:db8::7"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", " , ,", "10.0.0.1"),
        ("", "203.0.113.7", "203.0.113.7"),  # over a Unix socket
        ("192.0.2.1", "203.0.113.7", "192.0.2.1"),  # no proxy of ours
    ],
)
def test_behind_a_trusted_proxy_the_client_is_who_the_proxy_says(
    settings: Settings, address: str, forwarded: str, client: str
) -> None:
    settings.REGISTRY_TRUSTED_PROXIES = ["10.0.0.1", "10.1.0.0/16"]
    assert seen(address, forwarded) == client


def test_without_a_trusted_proxy_nobody_is_believed(settings: Settings) -> None:
    settings.REGISTRY_TRUSTED_PROXIES = []
    with pytest.raises(MiddlewareNotUsed):
        seen("127.0.0.1", "203.0.113.7")


@pytest.fixture(scope="module")
def behind_proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that listens on `socket` beside its data."""
    data = tmp_path_factory.mktemp("unix") / "data"
    settings = {"REGISTRY_WORKERS": "1", "REGISTRY_ACCESS_LOG": "true", "REGISTRY_TRUSTED_PROXIES": "127.0.0.1"}
    server = Server(data, settings | {"REGISTRY_HOST": f"unix:{data.with_name('socket')}"})
    try:
        server.start(wait=False)
        wait_until(lambda: status(server) == 200, 60)
        yield server
    finally:
        server.end()


def ask(server: Server, path: str, headers: dict[str, str]) -> http.client.HTTPResponse:
    connection = UnixConnection(server.data.with_name("socket"))
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        answer.read()
        return answer
    finally:
        connection.close()


def status(server: Server) -> int | None:
    try:
        return ask(server, "/readyz", {}).status
    except OSError:
        return None


def test_a_proxy_on_a_unix_socket_says_who_the_client_is_and_how_it_came(behind_proxy: Server) -> None:
    answer = ask(behind_proxy, "/v2/", {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https"})
    assert answer.status == 401
    assert 'realm="https://localhost/token"' in answer.headers["WWW-Authenticate"]
    wait_until(lambda: "203.0.113.7" in behind_proxy.log)  # the access log, in whichever worker's format


def test_a_unix_socket_is_open_to_its_group_and_to_nobody_else(behind_proxy: Server) -> None:
    assert oct(behind_proxy.data.with_name("socket").stat().st_mode & 0o777) == "0o660"


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_a_gunicorn_that_ends_or_reloads_leaves_the_unix_socket_in_place(behind_proxy: Server, signum: int) -> None:
    before = behind_proxy.pids("worker")
    os.kill(behind_proxy.pids("gunicorn")[0], signum)
    wait_until(lambda: (now := behind_proxy.pids("worker")) and not set(now) & set(before), 30)
    wait_until(lambda: status(behind_proxy) == 200)
