"""Pulls from a real server, of objects that are no files, and of files that are cut meanwhile."""

import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.registry import Repository, content_of, digest_of
from tests.faults.wire import Exchange
from tests.server import Server

LAYER = content_of(7, 3_000_017)  # more than any buffer on its way
LARGE = content_of(8, 40_000_000)
NAME = "objects/app"


@pytest.fixture(scope="module")
def blocks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    """A repository with a layer, on a server whose storage driver gives no files."""
    environment: dict[str, str | None] = {
        "REGISTRY_WORKERS": "1",
        "DJANGO_SETTINGS_MODULE": "tests.processes.blocks_settings",
    }
    with Server(tmp_path_factory.mktemp("blocks") / "data", environment) as running:
        repository = Repository(running, NAME)
        push(repository, LAYER)
        yield repository


def push(repository: Repository, content: bytes) -> None:
    answer = repository.ask("POST", repository.path("blobs", f"uploads/?digest={digest_of(content)}"), body=content)
    assert answer.status == 201, answer


def pull(repository: Repository, content: bytes, **headers: str) -> Exchange:
    """A request whose answer nobody has read yet."""
    path = repository.path("blobs", digest_of(content))
    return Exchange(repository.server, repository.token, "GET", path, {"Connection": "close", **headers})


def test_an_object_that_is_no_file_is_pulled(blocks: Repository) -> None:
    answer = blocks.blob(digest_of(LAYER))
    assert (answer.status, answer.body) == (200, LAYER)
    assert blocks.blob(digest_of(LAYER), "HEAD").headers["Content-Length"] == str(len(LAYER))


@pytest.mark.parametrize(
    ("wanted", "part"),
    [
        ("0-0", slice(0, 1)),
        ("1000000-2999999", slice(1_000_000, 3_000_000)),
        ("2999990-", slice(2_999_990, None)),
        ("-17", slice(-17, None)),
    ],
)
def test_parts_of_an_object_that_is_no_file_are_pulled(blocks: Repository, wanted: str, part: slice) -> None:
    answer = blocks.ask("GET", blocks.path("blobs", digest_of(LAYER)), {"Range": f"bytes={wanted}"})
    assert (answer.status, answer.body) == (206, LAYER[part])


def test_one_connection_carries_several_of_them(blocks: Repository) -> None:
    connection = blocks.server.connection()
    for _ in range(3):
        path = blocks.path("blobs", digest_of(LAYER))
        connection.request("GET", path, headers={"Authorization": f"Bearer {blocks.token}"})
        assert hashlib.sha256(connection.getresponse().read()).hexdigest() == digest_of(LAYER)[7:]
    connection.close()


def test_a_slow_reader_of_one_gets_every_byte(blocks: Repository) -> None:
    with pull(blocks, LAYER) as exchange:
        time.sleep(0.5)  # it is the server that has to wait here
        assert exchange.answer().body == LAYER


# --- Files that are cut while they are served -------------------------------------------------------------------------


def file_of(server: Server, size: int) -> Path:
    (path,) = [path for path in (server.data / "blobs").rglob("*") if path.is_file() and path.stat().st_size == size]
    return path


def test_a_layer_that_is_cut_while_it_is_served_breaks_off_and_is_unknown_until_it_is_pushed_again(
    fresh: Server,
) -> None:
    repository = Repository(fresh.start(), NAME)
    push(repository, LARGE)
    path = file_of(fresh, len(LARGE))
    with pull(repository, LARGE) as exchange:
        began = exchange.socket.recv(1)  # the file is open, and what follows is more than fits into the sockets
        os.truncate(path, 1 << 20)  # at the edge of a page: the kernel clears the rest of one that it is just sending
        body = (began + b"".join(iter(lambda: exchange.socket.recv(1 << 20), b""))).partition(b"\r\n\r\n")[2]
    assert len(body) < len(LARGE)
    assert LARGE.startswith(body)
    for method in ("GET", "HEAD", "GET"):
        assert repository.blob(digest_of(LARGE), method).status == 404
    push(repository, LARGE)
    assert repository.blob(digest_of(LARGE)).body == LARGE
