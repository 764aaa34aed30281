"""Counts of a real server with two web processes, and what is left of them when it ends."""

import json
import os
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from oci.digests import Digest
from tests.faults.conftest import needs, postgres_is_there
from tests.images import IMAGE, image
from tests.registry import basic
from tests.server import Server, wait_until
from tests.wire.connection import Connection, fetch

CONFIG, CONTENT = b"{}", b"bytes of a layer"
MANIFEST = "/v2/team/app/manifests/v1"
BLOB = f"/v2/team/app/blobs/{Digest.of(CONTENT)}"
TIMES = 5  # over each of the connections
CONNECTIONS = 8


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """A server with workers of that kind, which holds an image."""
    with ExitStack() as ending:

        def start(worker: str, **more: str) -> Server:
            environment: dict[str, str | None] = {"REGISTRY_WORKERS": "2", "REGISTRY_WORKER": worker, **more}
            server = ending.enter_context(Server(tmp_path / "data", environment))
            with Connection(server, token(server)) as connection:
                push(connection)
            return server

        yield start


def token(server: Server) -> str:
    scope = "/token?scope=repository:team/app:pull,push"
    return fetch(server, scope, Authorization=basic("admin", server.admin_password or ""))["token"]


def push(connection: Connection) -> None:
    for content in (CONFIG, CONTENT):
        location = connection.ask("POST", "/v2/team/app/blobs/uploads/", b"")["Location"]
        put = connection.ask("PUT", f"{location}?digest={Digest.of(content)}", content)
        assert put.status == 201, put
    manifest = json.dumps(image(CONFIG, CONTENT)).encode()
    assert connection.ask("PUT", MANIFEST, manifest, Content_Type=IMAGE).status == 201


def pull(server: Server, times: int = TIMES) -> int:
    """Pull manifest and layer over several connections, which several processes accept; how often altogether."""
    with ExitStack() as opened:
        bearer = token(server)
        connections = [opened.enter_context(Connection(server, bearer)) for _ in range(CONNECTIONS)]
        for _ in range(times):
            for connection in connections:
                for path in (MANIFEST, BLOB):
                    assert connection.ask("GET", path).status == 200
                    assert connection.ask("HEAD", path).status == 200
    return times * CONNECTIONS


def asked(server: Server, query: str) -> int:
    """What the server's database answers, which is SQLite unless it was told another."""
    if url := server.environment.get("REGISTRY_DATABASE_URL"):
        import psycopg

        with psycopg.connect(url) as postgres:
            return postgres.execute(query).fetchone()[0]
    with closing(sqlite3.connect(server.data / "db.sqlite3", timeout=20)) as sqlite:
        return sqlite.execute(query).fetchone()[0]


def counted(server: Server) -> dict[str, int]:
    layer = f"SELECT id FROM layers_blob WHERE digest = '{Digest.of(CONTENT)}'"
    return {
        "manifest": asked(server, "SELECT pulls FROM manifests_manifest"),
        "layer": asked(server, f"SELECT pulls FROM layers_layer WHERE blob_id = ({layer})"),
        "day": asked(server, "SELECT coalesce(sum(pulls), 0) FROM counts_day"),  # two, if it is midnight
        "pushes": asked(server, "SELECT coalesce(sum(pushes), 0) FROM counts_day"),
    }


@pytest.mark.parametrize("worker", ["loop", pytest.param("gthread", marks=pytest.mark.faults)])
def test_a_server_that_is_stopped_has_written_down_every_count(serving, worker: str) -> None:
    server = serving(worker)
    pulls = pull(server)
    assert server.stop() == 0
    assert counted(server) == {"manifest": pulls, "layer": pulls, "day": 2 * pulls, "pushes": 1}


@pytest.mark.faults
@pytest.mark.parametrize("worker", ["loop", "gthread"])
def test_a_reload_loses_no_count(serving, worker: str) -> None:
    server = serving(worker)
    before = server.pids("worker")
    pulls = pull(server)
    server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: not set(before) & set(server.pids("worker")) and server.ready(), within=60)
    assert counted(server) == {"manifest": pulls, "layer": pulls, "day": 2 * pulls, "pushes": 1}


@pytest.mark.faults
@pytest.mark.parametrize("worker", ["loop", "gthread"])
def test_on_postgresql_nothing_is_lost_either(serving, worker: str) -> None:
    needs(postgres_is_there(), "PostgreSQL and psycopg")
    from tests.postgres import Postgres

    with Postgres() as postgres:
        server = serving(worker, REGISTRY_DATABASE_URL=postgres.url)
        pulls = pull(server)
        assert server.stop() == 0
        assert counted(server) == {"manifest": pulls, "layer": pulls, "day": 2 * pulls, "pushes": 1}


@pytest.mark.faults
@pytest.mark.parametrize("worker", ["loop", "gthread"])
def test_killed_processes_lose_only_what_they_had_not_written(serving, worker: str) -> None:
    server = serving(worker)
    written = pull(server)
    wait_until(lambda: counted(server)["day"] == 2 * written, within=60)
    lost = pull(server, times=1)
    before = server.pids("worker")
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: len(set(server.pids("worker")) - set(before)) == 2 and server.ready(), within=60)
    more = pull(server)
    server.stop()
    for kind in ("manifest", "layer"):
        assert written + more <= counted(server)[kind] <= written + lost + more


@pytest.mark.faults
def test_the_background_process_writes_down_how_much_is_stored(serving) -> None:
    server = serving("loop")
    latest = "SELECT coalesce(max(stored_bytes), 0) FROM counts_day"
    wait_until(lambda: asked(server, latest) == len(CONFIG + CONTENT), within=60)
