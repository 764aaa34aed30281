"""Seed and size of the fault tests come from the environment, so that `script/soak` and a person can set them."""

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.server import Server

SOAK = os.environ.get("FAULTS_SIZE") == "soak"
SETTINGS: dict[str, str | None] = {"REGISTRY_WORKERS": "2", "REGISTRY_TOKEN_LIFETIME": "86400"}


def count(in_ci: int, in_soak: int) -> int:
    """How often a test does its thing: few times for every change, many in `script/soak`."""
    return in_soak if SOAK else in_ci


def needs(there: object, what: str) -> None:
    """Skip a test for want of something, except where everything has to be there."""
    if not there and os.environ.get("CI"):
        pytest.fail(f"needs {what}")
    if not there:
        pytest.skip(f"needs {what}")


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
