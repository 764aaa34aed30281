"""Pushes, pulls and slow clients of every kind together, for long: no wrong byte, no error, and nothing leaks."""

import json
import os
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import wire
from tests.faults.conftest import SETTINGS, count, done
from tests.faults.footprint import as_before, at_rest
from tests.faults.registry import Repository, digest_of
from tests.faults.soak import PATIENCE, Shelf, keep_busy
from tests.server import Server

pytestmark = pytest.mark.faults

SECONDS = int(os.environ.get("SOAK_SECONDS") or count(120, 3600))
WARM_UP = 20.0  # seconds: after them every thread has its connection to the database, and every cache is there
RESIDENT = 150 * 1024  # KiB that a process may have had at most
KINDS = 20  # of what is counted: a client that does nothing finds nothing


@pytest.fixture
def patient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server that logs each request, and ends who drips. With the lowest priority on a busy machine a client may be
    held up for many seconds, and is not to blame; nor is the server."""
    monkeypatch.setattr(wire, "PATIENCE", PATIENCE)
    short, long = dict.fromkeys(("HEAD", "BODY"), "40"), dict.fromkeys(("STALL", "QUEUE"), str(PATIENCE))
    timeouts = {f"REGISTRY_{what}_TIMEOUT": seconds for what, seconds in (short | long).items()}
    settings = SETTINGS | timeouts | {"REGISTRY_ACCESS_LOG": "true"}
    with Server(tmp_path / "data", settings, ready_within=PATIENCE) as server:
        yield server
        print(*(line for line in server.log.splitlines() if not line.startswith("{")), sep="\n")


def test_pushes_pulls_and_slow_clients_for_long_meet_no_wrong_byte_and_no_error_and_leak_nothing(
    patient: Server, chance: random.Random
) -> None:
    repository, shelf, first = Repository(patient, "faults/soak"), Shelf(), chance.randbytes(1_000_000)
    location = repository.append(repository.open_upload(), first, 0).headers["Location"]
    assert repository.finish(location, digest_of(first)).status == 201
    assert shelf.put(first) == []
    keep_busy(repository, shelf, WARM_UP, chance)
    before = at_rest(patient, within=PATIENCE)
    counts = keep_busy(repository, shelf, SECONDS, chance)
    after = as_before(patient, before, within=PATIENCE)
    assert len(counts) == KINDS, counts
    statuses = logged(patient)
    assert not [status for status in statuses if status >= 500], statuses
    assert patient.log.count("Traceback") == 0
    peaks = {name: held.peak for name, held in after.items()}
    assert all(peak < RESIDENT for peak in peaks.values()), peaks
    tell(counts, statuses, peaks)


def logged(server: Server) -> Counter[int]:
    """How often each status was answered, according to the access log."""
    lines = (json.loads(line) for line in server.log.splitlines() if line.startswith("{"))
    return Counter(line["status"] for line in lines)


def tell(counts: Counter[str], statuses: Counter[int], peaks: dict[str, int]) -> None:
    answers = Counter({f"answers with status {status}": times for status, times in statuses.items()})
    most = Counter({"seconds of all together": SECONDS, "MiB at most in any process": max(peaks.values()) // 1024})
    for what, times in (counts + answers + most).items():
        done(f"soak: {what}", round(times))
