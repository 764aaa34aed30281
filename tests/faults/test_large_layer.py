"""A layer of 5 GiB is pushed and pulled, and no process of the server grows."""

import hashlib
import http.client
import random
from collections.abc import Iterator
from contextlib import closing as closed_in_the_end
from pathlib import Path
from typing import get_args

import pytest

from tests.faults.conftest import done
from tests.faults.registry import Repository
from tests.faults.wire import CHUNK, STREAMED, Exchange
from tests.server import Server, Which

pytestmark = pytest.mark.faults

SIZE = 5 * 1024**3
BLOCK = 1024 * 1024
RESIDENT = 200 * 1024  # KiB that a process may have had at most


def blocks(chance: random.Random) -> Iterator[memoryview]:
    """5 GiB of which no MiB is like another, made as they are needed."""
    block = bytearray(chance.randbytes(BLOCK))
    for number in range(SIZE // BLOCK):
        block[:8] = number.to_bytes(8, "big")
        yield memoryview(block)


def largest(server: Server) -> dict[str, int]:
    """The most KiB each process has ever had in memory."""
    found = {}
    for which in get_args(Which):
        for pid in server.pids(which):
            [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "VmHWM" in line]
            found[f"{which} {pid}"] = int(line.split()[1])
    return found


def test_a_5_gib_layer_is_pushed_and_pulled_with_every_process_under_200_mib(
    fresh: Server, chance: random.Random
) -> None:
    repository, hashed = Repository(fresh, "faults/large"), hashlib.sha256()
    location = repository.open_upload()
    with Exchange(fresh, repository.token, "PATCH", location, STREAMED) as push:
        for block in blocks(chance):
            hashed.update(block)
            for start in range(0, BLOCK, CHUNK):
                push.chunk(block[start : start + CHUNK])
        push.end()
        answer = push.answer()
    assert (answer.status, answer.stored) == (202, SIZE), answer
    digest = f"sha256:{hashed.hexdigest()}"
    finished = repository.finish(location, digest)
    assert finished.status == 201, finished
    assert pulled(repository, digest) == (SIZE, digest)
    peaks = largest(fresh)
    assert len(peaks) == 5
    assert all(peak < RESIDENT for peak in peaks.values()), peaks
    done("MiB at most in any process while 5 GiB were pushed and pulled", max(peaks.values()) // 1024)


def pulled(repository: Repository, digest: str) -> tuple[int, str]:
    """Size and digest of what is served."""
    size, hashed, block = 0, hashlib.sha256(), bytearray(BLOCK)
    headers = {"Authorization": f"Bearer {repository.token}"}
    with closed_in_the_end(repository.server.connection()) as connection:
        connection.request("GET", repository.path("blobs", digest), headers=headers)
        response: http.client.HTTPResponse = connection.getresponse()
        while got := response.readinto(block):
            hashed.update(memoryview(block)[:got])
            size += got
    return size, f"sha256:{hashed.hexdigest()}"
