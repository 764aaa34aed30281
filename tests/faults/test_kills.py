"""`kill -9` of any process under twelve pushing clients: nothing that was acknowledged is lost."""

import contextlib
import os
import random
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import get_args

import pytest

from tests.faults import audit
from tests.faults.conftest import SETTINGS, count, done, needs, postgres_is_there
from tests.faults.journal import Journal
from tests.faults.pusher import Pusher
from tests.faults.registry import Repository, token_for
from tests.server import Server, Which, wait_until

pytestmark = pytest.mark.faults

CLIENTS = 12
NAMES = ("faults/red", "faults/green", "faults/blue")
VICTIMS = ("all", "worker", "all", "parent", "all", "gunicorn", "all", "background")
LONGEST = 120.0  # seconds in which a client that was told to stop has to have ended


@contextlib.contextmanager
def pushing(
    server: Server,
    token: str,
    journal: Journal,
    chance: random.Random,
    prefix: str,
    repository: type[Repository] = Repository,
) -> Iterator[list[Pusher]]:
    """Twelve clients push while the block runs; what any of them complains about is raised at its end."""
    repositories = [repository(server, NAMES[index % len(NAMES)], token) for index in range(CLIENTS)]
    pushers = [
        Pusher(each, journal, f"{prefix}-{index}", random.Random(chance.random()))
        for index, each in enumerate(repositories)
    ]
    with ThreadPoolExecutor(CLIENTS) as threads:
        running = [threads.submit(pusher.push_images) for pusher in pushers]
        try:
            yield pushers
        finally:
            for pusher in pushers:
                pusher.stop.set()
        for future in running:
            future.result(LONGEST)


def family(server: Server) -> list[int]:
    """All its processes, of which it cannot get another any more."""
    for pid in [*server.pids("parent"), *server.pids("gunicorn")]:
        os.kill(pid, signal.SIGSTOP)
    return [pid for which in get_args(Which) for pid in server.pids(which)]


def kill_everything(server: Server) -> None:
    """All processes at once, as the kernel does it when the machine has no memory left."""
    assert server.process is not None
    pids = family(server)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    server.process.wait()
    wait_until(lambda: not any(map(lives, pids)))


def lives(pid: int) -> bool:
    """A process that nobody has waited for has no command line."""
    with contextlib.suppress(OSError):
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    return False


def kill(server: Server, victim: str, journal: Journal) -> list[str]:
    """What is wrong with what it has stored, where nothing is left that could still be writing."""
    if victim == "all":
        kill_everything(server)
        problems = audit.stored(server, journal.expected())
        server.start()
        return problems
    wait_until(lambda: server.pids(victim))  # type: ignore[arg-type]
    server.kill(victim)  # type: ignore[arg-type]
    if victim == "parent":
        server.start()
    return []


@pytest.fixture
def on_postgres(tmp_path: Path) -> Iterator[Server]:
    needs(postgres_is_there(), "PostgreSQL and psycopg")
    from tests.postgres import Postgres

    with Postgres() as cluster, Server(tmp_path / "data", SETTINGS | {"REGISTRY_DATABASE_URL": cluster.url}) as server:
        yield server


@pytest.mark.parametrize("round_", range(count(1, 10)))
def test_kill_9_under_twelve_pushing_clients_loses_nothing_that_was_acknowledged(
    fresh: Server, chance: random.Random, tmp_path: Path, round_: int
) -> None:
    killed_again_and_again(fresh, chance, tmp_path, cycles=10, name=f"round-{round_}")


@pytest.mark.parametrize("round_", range(count(1, 10)))
def test_nor_does_it_on_postgresql(on_postgres: Server, chance: random.Random, tmp_path: Path, round_: int) -> None:
    killed_again_and_again(on_postgres, chance, tmp_path, cycles=count(4, 10), name=f"round-{round_}")


def killed_again_and_again(server: Server, chance: random.Random, path: Path, cycles: int, name: str) -> None:
    token = token_for(server, *NAMES)
    journals = [Journal(path / f"journal-{cycle}") for cycle in range(cycles)]
    for cycle, journal in enumerate(journals):
        victim = VICTIMS[cycle % len(VICTIMS)]
        with pushing(server, token, journal, chance, f"{name}-{cycle}") as pushers:
            time.sleep(chance.uniform(0.2, 2.0))
            problems = kill(server, victim, journal)
        expected = journal.expected()
        problems += audit.served(server, token, expected)
        assert problems == [], f"kill of {victim} in cycle {cycle}"
        done(f"kills of {victim} under twelve pushers")
        done("acknowledgements before, while and after something was killed", expected.acknowledgements)
        done("images pushed by those twelve", sum(pusher.images for pusher in pushers))
    assert server.stop() == 0
    for journal in journals:
        assert audit.stored(server, journal.expected()) == []
    assert "Traceback" not in server.log
