"""Figures as a table, and as JSON."""

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.rounds import Comparison

SETTINGS = ("REGISTRY_WORKER", "REGISTRY_WORKERS", "REGISTRY_THREADS")


def table(comparisons: Iterable[Comparison]) -> str:
    """A row for each unit of each measure: medians, and lowest and highest in parentheses."""
    lines = []
    for comparison in comparisons:
        ours, theirs = comparison.servers
        lines += ["", f"{comparison.title}", _row("", ours, theirs, "ratio")]
        for unit in comparison.ours[0]:
            mine, others = ([figures[unit] for figures in side] for side in (comparison.ours, comparison.theirs))
            lines.append(_row(f"  {unit}", _spread(mine), _spread(others), _spread(ratios(unit, mine, others))))
    return "\n".join(lines[1:])


def ratios(unit: str, ours: list[float], theirs: list[float]) -> list[float]:
    """Run by run, how many times better ours is: above 1 ours is faster, or takes less."""
    pairs = zip(ours, theirs, strict=True)
    if unit.endswith("/s"):
        return [mine / other for mine, other in pairs]
    return [other / mine for mine, other in pairs]


def as_json(comparisons: Iterable[Comparison], settings: dict[str, Any]) -> str:
    """All figures of all runs, with what they depend on."""
    results = {
        comparison.name: {
            "title": comparison.title,
            "servers": comparison.servers,
            "ours": comparison.ours,
            "theirs": comparison.theirs,
            "ratios": {
                unit: statistics.median(
                    ratios(unit, *([run[unit] for run in side] for side in (comparison.ours, comparison.theirs)))
                )
                for unit in comparison.ours[0]
            },
        }
        for comparison in comparisons
    }
    return json.dumps({"settings": settings, "results": results}, indent=2, ensure_ascii=False) + "\n"


def machine(directory: Path) -> dict[str, Any]:
    """What the figures depend on, for whoever compares them with those of another day."""
    kind = subprocess.run(  # noqa: S603
        ["df", "--output=fstype", directory],  # noqa: S607
        capture_output=True,
        text=True,
        check=True,
    )
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": _cpu_model(),
        "kernel": platform.release(),
        "file system": kind.stdout.split()[-1],
        "python": platform.python_version(),
        "django": version("django"),
        "gunicorn": version("gunicorn"),
        "load before": round(os.getloadavg()[0], 2),
        "environment": {name: value for name, value in os.environ.items() if name in SETTINGS},
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _row(label: str, *cells: str) -> str:
    return f"{label:24}" + "".join(f"{cell:>28}" for cell in cells)


def _spread(values: list[float]) -> str:
    lowest, highest = min(values), max(values)
    return f"{_number(statistics.median(values))} ({_number(lowest)} - {_number(highest)})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
