"""The real server, once for all tests of this directory, and connections to it."""

import itertools
from collections.abc import Callable, Iterator

import pytest

from tests.registry import basic
from tests.server import Server
from tests.wire.connection import Connection, fetch

PASSWORD = "admin-password-of-a-test"
ACTIONS = ":pull,push,delete"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Bodies that do not come are waited for 3 seconds here, not a minute."""
    environment: dict[str, str | None] = {"REGISTRY_WORKERS": "2", "REGISTRY_BODY_TIMEOUT": "3"}
    data = tmp_path_factory.mktemp("wire") / "data"
    with Server(data, environment, admin_password=PASSWORD) as running:
        yield running


@pytest.fixture(scope="session")
def token_for(server: Server) -> Callable[..., str]:
    """A bearer token of the administrator's for these repositories and the catalog."""

    def fetch_token(*names: str) -> str:
        scopes = "&".join(f"scope=repository:{name}{ACTIONS}" for name in names)
        path = f"/token?scope=registry:catalog:*&{scopes}"
        return fetch(server, path, Authorization=basic("admin", PASSWORD))["token"]

    return fetch_token


_numbers = itertools.count()


@pytest.fixture
def name() -> str:
    """A repository of the test's own."""
    return f"wire/test-{next(_numbers)}"


@pytest.fixture
def connect(server: Server, name: str, token_for: Callable[..., str]) -> Iterator[Callable[[], Connection]]:
    """Opens connections whose requests carry a token for `name`."""
    token, opened = token_for(name), []

    def open_one() -> Connection:
        opened.append(Connection(server, token))
        return opened[-1]

    yield open_one
    for connection in opened:
        connection.socket.close()


@pytest.fixture
def connection(connect: Callable[[], Connection]) -> Connection:
    return connect()


@pytest.fixture
def upload(connection: Connection, name: str) -> str:
    """The Location of an open upload."""
    answer = connection.ask("POST", f"/v2/{name}/blobs/uploads/", b"")
    assert answer.status == 202
    return answer["Location"]
