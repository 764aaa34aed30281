"""`kill -9` of any process, at any moment: the server serves again by itself, or the next start does."""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.processes.conftest import OpenRequest
from tests.server import Server, wait_until


def test_a_killed_worker_is_replaced_within_seconds(server: Server) -> None:
    killed = server.kill("worker")
    wait_until(lambda: killed not in (workers := server.pids("worker")) and len(workers) == 2 and server.ready())


def test_when_all_workers_are_killed_at_once_all_are_replaced(server: Server) -> None:
    wait_until(lambda: len(server.pids("worker")) == 2)
    killed = server.pids("worker")
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: len(set(server.pids("worker")) - set(killed)) == 2 and server.ready())


def test_a_killed_gunicorn_is_replaced_and_nobody_is_refused_meanwhile(server: Server) -> None:
    orphans = server.pids("worker")
    killed = server.kill("gunicorn")
    assert server.ready(), "connections wait in the listening socket, which the parent holds"
    wait_until(lambda: server.pids("gunicorn") not in ([], [killed]) and server.ready())
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in orphans))


def test_a_request_that_is_open_when_gunicorn_is_killed_is_still_answered(
    server: Server, open_request: Callable[[Server], OpenRequest]
) -> None:
    request = open_request(server)
    wait_until(server.ready)
    server.kill("gunicorn")
    time.sleep(1.5)  # its workers notice within a second that they are orphans
    assert request.finish().startswith(b"HTTP/1.1 4")


def test_a_killed_background_process_is_replaced(server: Server) -> None:
    killed = server.kill("background")
    wait_until(lambda: server.pids("background") not in ([], [killed]))


def test_after_the_parent_was_killed_its_children_end_and_the_next_start_serves(server: Server) -> None:
    family = [*server.pids("gunicorn"), *server.pids("worker"), *server.pids("background")]
    server.kill("parent")
    server.start()
    assert server.ready()
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in family))


@pytest.mark.faults
def test_a_request_that_stays_open_does_not_keep_the_next_start_from_the_port(
    server: Server, open_request: Callable[[Server], OpenRequest]
) -> None:
    open_request(server)
    wait_until(server.ready)
    server.kill("parent")
    server.start()
    assert server.ready()


@pytest.mark.faults
def test_the_server_comes_back_from_any_kill_again_and_again(server: Server) -> None:
    for _ in range(5):
        for which in ("worker", "background", "gunicorn", "parent"):
            server.kill(which)
            if which == "parent":
                server.start()
            wait_until(lambda: len(server.pids("worker")) == 2 and server.pids("background") and server.ready(), 40)


def test_children_do_not_hold_the_lock_of_the_data(server: Server) -> None:
    def open_files(pid: int) -> set[str]:
        found = set()
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # a running process closes files while it is looked at
                found.add(os.readlink(entry))
        return found

    lock = str(server.data / "lock")
    wait_until(lambda: server.pids("gunicorn") and server.pids("background"))
    [parent] = server.pids("parent")
    assert lock in open_files(parent)
    for child in [*server.pids("gunicorn"), *server.pids("worker"), *server.pids("background")]:
        assert lock not in open_files(child)
