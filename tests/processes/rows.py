"""The rows of a real server's background work, read and written behind its back, and Redis as it sees it."""

import sqlite3
import time
from contextlib import closing

from tests.faults.registry import Repository
from tests.redis import Redis
from tests.server import Server


def rows(server: Server, query: str, *values: object) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(server.data / "db.sqlite3", timeout=60)) as database, database:
        return database.execute(query, values).fetchall()


def make_due(server: Server, *keys: str) -> None:
    for key in keys:
        rows(server, "INSERT INTO layers_pendingdelete (key, due_at, attempts, last_error) "
             "VALUES (?, datetime('now', '-1 second'), 0, '')", key)  # fmt: skip


def done(server: Server) -> bool:
    return rows(server, "SELECT count(*) FROM layers_pendingdelete") == [(0,)]


def calls(redis: Redis, command: str) -> int:
    return redis.client.info("commandstats").get(f"cmdstat_{command}", {"calls": 0})["calls"]


def seconds_of_cancels(server: Server, times: int) -> list[float]:
    """How long the answer to each of so many took; each deletes bytes, and tells so."""
    repository, seconds = Repository(server, "background/app"), []
    for _ in range(times):
        location = repository.open_upload()
        began = time.monotonic()
        assert repository.ask("DELETE", location).status == 204
        seconds.append(time.monotonic() - began)
    return sorted(seconds)
