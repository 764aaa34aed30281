"""What the processes of a server hold: memory, threads, and descriptors by what they lead to. Linux only."""

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from tests.server import Server, Which

DATABASE = "db.sqlite3"
POOLS = {"background": 8}  # threads that begin when they are first needed, and stay: Celery's, and those beside it


@dataclass(frozen=True)
class Footprint:
    """`resident`: KiB in memory now, `peak`: at most, ever. `database`: descriptors of its files, which are not among
    `descriptors`: each thread that ever asked it something keeps its connection."""

    threads: int
    descriptors: Counter[str]
    database: int
    resident: int
    peak: int

    @property
    def countable(self) -> tuple[int, Counter[str], int]:
        return self.threads, self.descriptors, self.database


def footprints(server: Server) -> dict[str, Footprint]:
    """Of each process by its kind and pid."""
    return {f"{which} {pid}": footprint(pid) for which in get_args(Which) for pid in server.pids(which)}


def footprint(pid: int) -> Footprint:
    process = Path(f"/proc/{pid}")
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    leads_to = Counter[str]()
    for descriptor in (process / "fd").iterdir():
        try:
            leads_to[str(descriptor.readlink()).partition(":[")[0]] += 1  # "socket:[4711]", or a path
        except FileNotFoundError:
            continue  # closed meanwhile
    files = {name: number for name, number in leads_to.items() if f"/{DATABASE}" in name}
    return Footprint(
        threads=int(status["Threads"]),
        descriptors=leads_to - Counter(files),
        database=sum(files.values()),
        resident=int(status["VmRSS"].split()[0]),
        peak=int(status["VmHWM"].split()[0]),
    )


def at_rest(server: Server, seconds: float = 3.0, within: float = 60.0) -> dict[str, Footprint]:
    """What they hold once that has not changed for so many seconds."""
    deadline, since, found = time.monotonic() + within, time.monotonic(), footprints(server)
    while time.monotonic() - since < seconds:
        time.sleep(0.2)
        now = footprints(server)
        if {name: held.countable for name, held in now.items()} != {
            name: held.countable for name, held in found.items()
        }:
            since = time.monotonic()
        found = now
        assert time.monotonic() < deadline, f"no rest within {within} s: {found}"
    return found


def leaked(before: dict[str, Footprint], now: dict[str, Footprint]) -> list[str]:
    """Threads and descriptors that are more than before, and processes that are others."""
    if before.keys() != now.keys():
        return [f"{sorted(before)} have become {sorted(now)}"]
    problems = []
    for name, held in now.items():
        if held.threads > before[name].threads + POOLS.get(name.split()[0], 0):
            problems.append(f"{name}: {before[name].threads} threads have become {held.threads}")
        if more := held.descriptors - before[name].descriptors:
            problems.append(f"{name}: descriptors {dict(more)}")
        if held.database > 2 * held.threads + 1:  # the file and its log for each; what they share in memory is one
            problems.append(f"{name}: {held.database} descriptors of the database in {held.threads} threads")
    return problems


def as_before(server: Server, before: dict[str, Footprint], within: float = 90.0) -> dict[str, Footprint]:
    """What they hold once nothing is leaked any more: the last threads and connections need a moment to end."""
    deadline = time.monotonic() + within
    while problems := leaked(before, now := footprints(server)):
        assert time.monotonic() < deadline, problems
        time.sleep(0.2)
    return now
