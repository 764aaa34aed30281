"""A layer of many GiB goes in and out through one worker, and leaves it as it was."""

import hashlib
import http.client
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing as closed_in_the_end
from pathlib import Path

import pytest

from tests.faults.conftest import SETTINGS, count, done
from tests.faults.footprint import as_before, at_rest
from tests.faults.registry import Repository
from tests.faults.wire import CHUNK, STREAMED, Exchange
from tests.server import Server

pytestmark = pytest.mark.faults

MIB = 1024 * 1024
GIB = 1024 * MIB
RESIDENT = 150 * 1024  # KiB that a process may have had at most
MORE = 16 * 1024  # KiB that it may have more than before: what an allocator keeps for the next time


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """The server's own directory for temporary files."""
    directory = tmp_path / "temporary"
    directory.mkdir()
    return directory


@pytest.fixture
def one_worker(tmp_path: Path, temporary: Path) -> Iterator[Server]:
    with Server(tmp_path / "data", SETTINGS | {"REGISTRY_WORKERS": "1", "TMPDIR": str(temporary)}) as server:
        yield server


def test_many_gib_pushed_and_pulled_through_one_worker_leave_its_memory_threads_descriptors_and_disk_as_they_were(
    one_worker: Server, temporary: Path, chance: random.Random
) -> None:
    repository, size = Repository(one_worker, "faults/large"), count(4, 10) * GIB
    assert pulled(repository, pushed(repository, 64 * MIB, chance)) == 64 * MIB  # all that is made once is there
    before = at_rest(one_worker)
    assert len(before) == 4
    digest = pushed(repository, size, chance)
    assert pulled(repository, digest) == size
    after = as_before(one_worker, before)
    grown = {name: held.resident - before[name].resident for name, held in after.items()}
    peaks = {name: held.peak for name, held in after.items()}
    assert all(kib < MORE for kib in grown.values()), grown
    assert all(peak < RESIDENT for peak in peaks.values()), peaks
    assert [*temporary.iterdir()] == []
    done("GiB pushed and pulled as one layer through one worker", size // GIB)
    done("MiB at most in any process meanwhile", max(peaks.values()) // 1024)
    done("MiB more than before in any process afterwards", max(0, *grown.values()) // 1024)


def frames(size: int, chance: random.Random) -> Iterator[tuple[memoryview, memoryview]]:
    """MiB of which none is like another, each plain and as docker's chunks; made in place, or the client is slow."""
    noise = chance.randbytes(MIB)
    head, pieces = b"%x\r\n" % CHUNK, (noise[start : start + CHUNK] for start in range(0, MIB, CHUNK))
    block, framed = bytearray(noise), bytearray(b"".join(head + piece + b"\r\n" for piece in pieces))
    for number in range(size // MIB):
        block[:8] = framed[len(head) : len(head) + 8] = number.to_bytes(8, "big")
        yield memoryview(block), memoryview(framed)


def pushed(repository: Repository, size: int, chance: random.Random) -> str:
    """The digest of a new blob, pushed as docker does it and hashed meanwhile."""
    location, hashed = repository.open_upload(), hashlib.sha256()
    with (
        ThreadPoolExecutor(1) as beside,
        Exchange(repository.server, repository.token, "PATCH", location, STREAMED) as push,
    ):
        for block, framed in frames(size, chance):
            hashing = beside.submit(hashed.update, block)
            push.send(framed)
            hashing.result()
        push.end()
        answer = push.answer(within=300)
    assert (answer.status, answer.stored) == (202, size), answer
    digest = f"sha256:{hashed.hexdigest()}"
    finished = repository.finish(answer.headers["Location"], digest)
    assert finished.status == 201, finished
    return digest


def pulled(repository: Repository, digest: str) -> int:
    """Bytes that are served; they have that digest."""
    size, hashed, block = 0, hashlib.sha256(), bytearray(MIB)
    headers = {"Authorization": f"Bearer {repository.token}"}
    with closed_in_the_end(repository.server.connection(timeout=300)) as connection:
        connection.request("GET", repository.path("blobs", digest), headers=headers)
        response: http.client.HTTPResponse = connection.getresponse()
        while got := response.readinto(block):
            hashed.update(memoryview(block)[:got])
            size += got
    assert f"sha256:{hashed.hexdigest()}" == digest
    return size
