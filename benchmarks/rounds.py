"""Ours, theirs, ours, theirs …: what disturbs the machine for a while disturbs both."""

import mmap
import os
from collections.abc import Callable
from dataclasses import dataclass, replace

from benchmarks.content import MIB
from benchmarks.measures import Figures, Measure, Plan
from benchmarks.servers import Server

WARM_UP_SIZE = 64 * MIB
WARM_UP_SECONDS = 1.0


@dataclass(frozen=True)
class Comparison:
    name: str
    title: str
    servers: tuple[str, str]  # ours, theirs
    ours: list[Figures]
    theirs: list[Figures]


def compare(
    name: str, measure: Measure, pair: tuple[Server, Server], plan: Plan, runs: int, tell: Callable[[str], None]
) -> Comparison:
    """Warm both up, then measure each `runs` times in turn."""
    tell(f"{name}: warming up")
    small = replace(plan, size=min(plan.size, WARM_UP_SIZE), seconds=min(plan.seconds, WARM_UP_SECONDS))
    for server in pair:
        _run(measure, server, small)
    found: tuple[list[Figures], list[Figures]] = ([], [])
    for number in range(1, runs + 1):
        for server, figures in zip(pair, found, strict=True):
            figures.append(_run(measure, server, plan))
            shown = ", ".join(f"{value:,.0f} {unit}" for unit, value in figures[-1].items() if unit.endswith("/s"))
            tell(f"{name}: run {number} of {runs}, {server.name}: {shown}")
    return Comparison(name, measure.title, (pair[0].name, pair[1].name), *found)


def touch_free_memory(size: int) -> None:
    """A virtual machine may have given memory back to its host: whoever takes it next waits for the host, for seconds
    per GiB. What is freed here is what the run gets."""
    with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE):
        """All of it is there now."""


def _run(measure: Measure, server: Server, plan: Plan) -> Figures:
    os.sync()  # what others have yet to write is not this run's to wait for
    touch_free_memory(3 * plan.size)
    try:
        return measure.run(server, plan)
    finally:
        server.tidy()
