"""Seed and size of the fault tests come from the environment, so that `script/soak` and a person can set them."""

import os
import platform
import random
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.server import ROOT, Server

SIZE = float(os.environ.get("FAULTS_SIZE") or 0)  # 0: as in CI, 1: all that `script/soak` does
SETTINGS: dict[str, str | None] = {"REGISTRY_WORKERS": "2", "REGISTRY_TOKEN_LIFETIME": "86400"}


DONE: Counter[str] = Counter()


def count(in_ci: int, in_soak: int) -> int:
    """How often a test does its thing: few times for every change, many in `script/soak`."""
    return round(in_ci + (in_soak - in_ci) * SIZE)


def done(what: str, times: int = 1) -> None:
    """Count for the summary what was done and found right."""
    DONE[what] += times


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):  # one of several processes, which does not write the summary
        session.config.workeroutput["done"] = dict(DONE)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    DONE.update(getattr(node, "workeroutput", {}).get("done", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not DONE:
        return
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    terminalreporter.section("what was done, and found right")
    seed = os.environ.get("FAULTS_SEED", "of each test its own")
    terminalreporter.write_line(f"{time.strftime('%Y-%m-%d')}, commit {commit.strip() or 'unknown'}, seed {seed}")
    terminalreporter.write_line(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores")
    for what, times in sorted(DONE.items()):
        terminalreporter.write_line(f"{times:9,} {what}")


def needs(there: object, what: str) -> None:
    """Skip a test for want of something, except where everything has to be there."""
    if not there and os.environ.get("CI"):
        pytest.fail(f"needs {what}")
    if not there:
        pytest.skip(f"needs {what}")


def postgres_is_there() -> bool:
    programs = shutil.which("postgres") or [*Path("/usr/lib/postgresql").glob("*/bin/postgres")]
    return bool(programs and find_spec("psycopg"))


@pytest.fixture
def chance(request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> random.Random:
    """Random choices that are made again with the seed that a failure prints: FAULTS_SEED=… repeats them."""
    seed = int(os.environ.get("FAULTS_SEED") or random.randrange(1_000_000))
    print(f"FAULTS_SEED={seed}")
    record_property("seed", seed)
    return random.Random(f"{seed} {request.node.name}")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for the tests of a module that leave it running."""
    with Server(tmp_path_factory.mktemp("server") / "data", SETTINGS) as server:
        yield server


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Server]:
    """A server that runs on data of its own."""
    with Server(tmp_path / "data", SETTINGS) as server:
        yield server
