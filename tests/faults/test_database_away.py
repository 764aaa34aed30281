"""The database goes and comes back: everybody is told so at once, and nothing has to be started again."""

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import SETTINGS, needs, postgres_is_there
from tests.faults.registry import IMAGE, Repository, digest_of, image_of
from tests.faults.wire import STREAMED, Answer, Exchange, closing, part
from tests.server import Server

pytestmark = pytest.mark.faults

AT_ONCE = 2.0  # seconds
SIZE = 300_000


@pytest.fixture
def apart(tmp_path: Path) -> Iterator[tuple[Server, Any]]:
    needs(postgres_is_there(), "PostgreSQL and psycopg")
    from tests.postgres import Postgres

    with (
        Postgres() as postgres,
        Server(tmp_path / "data", SETTINGS | {"REGISTRY_DATABASE_URL": postgres.url}) as server,
    ):
        yield server, postgres


def assert_unavailable(answer: Answer) -> None:
    assert (answer.status, answer.codes) == (503, ["UNAVAILABLE"]), answer
    assert answer.headers["Retry-After"], answer


def assert_everything_is_unavailable(repository: Repository, location: str, manifest: bytes) -> None:
    digest, latest = digest_of(manifest), repository.path("manifests", "latest")
    requests: list[tuple[str, str, dict[str, str], bytes]] = [
        ("GET", repository.path("blobs", digest), {}, b""),
        ("GET", latest, {}, b""),
        ("PUT", latest, {"Content-Type": IMAGE}, manifest),
        ("GET", repository.path("tags", "list"), {}, b""),
        ("POST", repository.path("blobs", "uploads/"), {}, b""),
        ("GET", location, {}, b""),
        ("PATCH", location, part(SIZE, b"more"), b"more"),
        ("PUT", closing(location, digest), {}, b""),
        ("DELETE", location, {}, b""),
    ]
    for method, path, headers, body in requests:
        began = time.monotonic()
        assert_unavailable(repository.ask(method, path, headers, body))
        assert time.monotonic() - began < AT_ONCE, f"{method} {path}"


def test_without_its_database_the_registry_says_so_at_once_and_goes_on_when_it_is_back(
    apart: tuple[Server, Any], chance: random.Random
) -> None:
    server, postgres = apart
    repository, blob = Repository(server, "faults/away"), chance.randbytes(SIZE)
    location, interrupted, manifest = repository.open_upload(), repository.open_upload(), image_of(blob, [blob])
    assert repository.append(location, blob, 0).status == 202
    with Exchange(server, repository.token, "PATCH", interrupted, STREAMED) as begun:
        begun.chunk(blob)
        time.sleep(0.5)
        postgres.stop()
        assert_everything_is_unavailable(repository, location, manifest)
        begun.end()
        assert_unavailable(begun.answer())
    postgres.start()
    repository.go_on(interrupted, blob, repository.stored(interrupted))
    assert repository.finish(location, digest_of(blob)).status == 201
    assert repository.push_manifest("latest", manifest).status == 201
    assert repository.manifest("latest").body == manifest
    assert repository.blob(digest_of(blob)).body == blob


def test_a_refusal_whose_headers_cannot_be_looked_up_is_no_fault(apart: tuple[Server, Any]) -> None:
    server, postgres = apart
    repository = Repository(server, "faults/away")
    location = repository.open_upload()
    for _ in range(6):  # in each process, so that what is revoked is known for a second
        repository.stored(location)
    postgres.stop()
    assert_unavailable(repository.ask("PATCH", location, {"Content-Range": "nonsense"}, b"?"))
