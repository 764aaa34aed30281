"""Work for later in real processes, with a broker of their own or with Redis."""

import fcntl
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.registry import Repository, content_of
from tests.processes.rows import calls, done, make_due, rows, seconds_of_cancels
from tests.redis import Redis, needs_redis
from tests.server import ROOT, Server, wait_until

pytestmark = pytest.mark.faults

MEMORY = 150 * 1024  # KiB that a background process may have
QUEUE = "layerstore"
CONTENT = content_of(1, 50_000)


@pytest.fixture
def redis() -> Iterator[Redis]:
    needs_redis()
    with Redis() as redis:
        yield redis


@pytest.fixture
def with_redis(tmp_path: Path, redis: Redis) -> Iterator[Server]:
    with Server(tmp_path / "data", {"REGISTRY_WORKERS": "1", "REGISTRY_BROKER_URL": redis.url}) as server:
        yield server


# --- Uploads that are due ---------------------------------------------------------------------------------------------


def an_upload(server: Server) -> Path:
    """The file of an upload that has begun."""
    repository = Repository(server, "background/app")
    location = repository.open_upload()
    assert repository.append(location, CONTENT, 0).status == 202
    [(key,)] = rows(server, "SELECT key FROM uploads_upload WHERE state = 'open'")
    return server.data / "blobs" / str(key)


def make_uploads_due(server: Server) -> None:
    rows(server, "UPDATE uploads_upload SET due_at = datetime('now', '-1 second')")


@contextmanager
def in_use(file: Path) -> Iterator[None]:
    """Whoever wants to expire the upload waits, for ten seconds, and holds its row meanwhile."""
    with file.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def claimed(server: Server) -> bool:
    return rows(server, "SELECT claimed_until > datetime('now') FROM uploads_upload") == [(1,)]


def memory(pid: int) -> int:
    """KiB that the process has had at most."""
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert peak
    return int(peak[1])


# --- By itself --------------------------------------------------------------------------------------------------------


def test_what_is_due_is_done_within_seconds_and_in_little_memory(server: Server) -> None:
    make_due(server, *(f"ab/{number}" for number in range(20)))
    wait_until(lambda: done(server), 30)
    [background] = server.pids("background")
    assert memory(background) < MEMORY


def test_what_the_killed_process_was_at_is_done_once_its_claim_ended(server: Server) -> None:
    file = an_upload(server)
    with in_use(file):
        make_uploads_due(server)
        wait_until(lambda: claimed(server), 30)
        killed = server.kill("background")
        rows(server, "UPDATE uploads_upload SET claimed_until = datetime('now', '+1 hour')")  # this machine may be slow
        wait_until(lambda: server.pids("background") not in ([], [killed]), 30)
        make_due(server, "ab/other")
        wait_until(lambda: done(server), 30)
    assert rows(server, "SELECT attempts FROM uploads_upload") == [(1,)], "who was killed might have been slow"
    rows(server, "UPDATE uploads_upload SET claimed_until = datetime('now', '-1 second')")
    wait_until(lambda: rows(server, "SELECT * FROM uploads_upload") == [] and not file.exists(), 30)


def test_a_stop_lets_a_duty_end_that_was_begun(fresh: Server) -> None:
    fresh.start()
    file = an_upload(fresh)
    [background] = fresh.pids("background")
    with in_use(file):
        make_uploads_due(fresh)
        wait_until(lambda: claimed(fresh), 30)
        assert fresh.process is not None
        fresh.process.send_signal(signal.SIGTERM)
        wait_until(lambda: not catches(background, signal.SIGTERM))
        make_due(fresh, "ab/new")
    assert fresh.process.wait(40) == 0
    assert rows(fresh, "SELECT * FROM uploads_upload") == []
    assert ("ab/new",) in rows(fresh, "SELECT key FROM layers_pendingdelete"), "nothing new was begun"


def catches(pid: int, number: int) -> bool:
    """Whether the process has a handler for the signal; once it was asked to end, it has none any more."""
    caught = re.search(r"SigCgt:\s+(\w+)", Path(f"/proc/{pid}/status").read_text())
    assert caught
    return bool(int(caught[1], 16) >> (number - 1) & 1)


def test_a_background_process_works_where_no_server_runs_and_ends_when_asked(fresh: Server) -> None:
    fresh.start()
    assert fresh.stop() == 0
    make_due(fresh, *(f"cd/{number}" for number in range(5)))
    with subprocess.Popen([sys.executable, ROOT / "manage.py", "background"], env=environment(fresh)) as process:
        try:
            wait_until(lambda: done(fresh), 60)
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        finally:
            process.kill()


def test_maintain_does_the_same_without_any_worker(fresh: Server) -> None:
    fresh.start()
    file = an_upload(fresh)
    assert fresh.stop() == 0
    make_uploads_due(fresh)
    command = [sys.executable, ROOT / "manage.py", "maintain"]
    told = subprocess.run([*command, "--dry-run"], env=environment(fresh), capture_output=True, text=True, check=True)
    assert "nothing was changed" in told.stdout
    assert file.exists()
    did = subprocess.run(command, env=environment(fresh), capture_output=True, text=True, check=True)
    assert {"1 pending delete done", "1 upload done"} <= set(did.stdout.splitlines())
    assert not file.exists()


def environment(server: Server) -> dict[str, str]:
    """Of the same registry, whatever database the tests in this process use."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("REGISTRY_")}
    return {**inherited, "REGISTRY_DATA": str(server.data)}


# --- With Redis -------------------------------------------------------------------------------------------------------


def test_with_redis_the_work_goes_by_way_of_it(with_redis: Server, redis: Redis) -> None:
    wait_until(lambda: calls(redis, "brpop"), 30)
    make_due(with_redis, *(f"ab/{number}" for number in range(20)))
    wait_until(lambda: done(with_redis), 30)
    assert calls(redis, "lpush")
    wait_until(lambda: redis.client.llen(QUEUE) == 0, 30)


def test_a_request_tells_of_what_it_leaves_to_be_done(with_redis: Server, redis: Redis) -> None:
    wait_until(lambda: calls(redis, "brpop"), 30)
    [background] = with_redis.pids("background")
    os.kill(background, signal.SIGSTOP)
    seconds_of_cancels(with_redis, 1)
    wait_until(lambda: calls(redis, "lpush"), 30)
    os.kill(background, signal.SIGCONT)
    wait_until(lambda: done(with_redis), 30)
