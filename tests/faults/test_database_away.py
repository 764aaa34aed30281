"""The database goes and comes back: everybody is told so at once, and nothing has to be started again."""

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import SETTINGS, needs, postgres_is_there
from tests.faults.registry import Repository, digest_of, image_of
from tests.faults.wire import STREAMED, Exchange
from tests.server import Server

pytestmark = pytest.mark.faults

AT_ONCE = 2.0  # seconds


@pytest.fixture
def apart(tmp_path: Path) -> Iterator[tuple[Server, Any]]:
    needs(postgres_is_there(), "PostgreSQL and psycopg")
    from tests.postgres import Postgres

    with (
        Postgres() as postgres,
        Server(tmp_path / "data", SETTINGS | {"REGISTRY_DATABASE_URL": postgres.url}) as server,
    ):
        yield server, postgres


def test_without_its_database_the_registry_says_so_at_once_and_goes_on_when_it_is_back(
    apart: tuple[Server, Any], chance: random.Random
) -> None:
    server, postgres = apart
    repository, blob = Repository(server, "faults/away"), chance.randbytes(300_000)
    digest, manifest = digest_of(blob), image_of(blob, [blob])
    location = repository.open_upload()
    assert repository.append(location, blob, 0).status == 202
    open_ = repository.open_upload()
    with Exchange(server, repository.token, "PATCH", open_, STREAMED) as begun:
        begun.chunk(blob)
        time.sleep(0.5)
        for _ in range(6):  # in each process, so that what is revoked is known for a second
            repository.stored(location)
        postgres.stop()
        answer = repository.ask("PATCH", location, {"Content-Range": "nonsense"}, bytes(10))
        assert answer.status == 503, answer
        requests = [
            ("GET", repository.path("blobs", digest), {}, b""),
            ("GET", repository.path("manifests", "latest"), {}, b""),
            ("GET", "/v2/faults/away/tags/list", {}, b""),
            ("POST", repository.path("blobs", "uploads/"), {}, b""),
            ("GET", location, {}, b""),
            ("PATCH", location, {"Content-Range": "300000-300009"}, bytes(10)),
            ("PUT", f"{location}?digest={digest}", {}, b""),
            ("DELETE", location, {}, b""),
            ("PUT", repository.path("manifests", "latest"), {"Content-Type": "application/json"}, manifest),
        ]
        for method, path, headers, body in requests:
            began = time.monotonic()
            answer = repository.ask(method, path, headers, body)
            assert (answer.status, answer.codes) == (503, ["UNAVAILABLE"]), f"{method} {path} {headers}: {answer}"
            assert answer.headers["Retry-After"], answer
            assert time.monotonic() - began < AT_ONCE, f"{method} {path}"
        begun.end()
        broken = begun.answer()
        assert (broken.status, broken.codes) == (503, ["UNAVAILABLE"]), broken
    postgres.start()
    repository.go_on(open_, blob, repository.stored(open_))
    assert repository.finish(location, digest).status == 201
    assert repository.push_manifest("latest", manifest).status == 201
    assert repository.manifest("latest").body == manifest
    assert repository.blob(digest).body == blob
