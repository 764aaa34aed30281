"""Many clients at once that want the same thing, or each something else."""

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.faults import audit
from tests.faults.conftest import count, done
from tests.faults.journal import Journal
from tests.faults.pusher import Pusher
from tests.faults.registry import Repository, digest_of, image_of, token_for
from tests.faults.wire import STREAMED, chunked
from tests.server import Server

pytestmark = pytest.mark.faults

NAME = "faults/crowds"


def push_like_docker(repository: Repository, blobs: list[bytes], tag: str) -> None:
    """Each blob streamed in one PATCH, closed by a PUT without a body, then the manifest."""
    for blob in blobs:
        location = repository.open_upload()
        answer = repository.ask("PATCH", location, STREAMED, chunked(blob))
        assert (answer.status, answer.stored) == (202, len(blob)), answer
        answer = repository.finish(answer.headers["Location"], digest_of(blob))
        assert answer.status == 201, answer
    answer = repository.push_manifest(tag, image_of(blobs[0], blobs[1:]))
    assert answer.status == 201, answer


def test_six_clients_that_push_the_same_image_at_once_all_succeed_fifty_times(
    fresh: Server, chance: random.Random
) -> None:
    repository = Repository(fresh, NAME)
    start = threading.Barrier(6)

    def push(blobs: list[bytes], tag: str) -> None:
        start.wait(60)
        push_like_docker(repository, blobs, tag)

    with ThreadPoolExecutor(6) as clients:
        for round_ in range(count(50, 200)):
            blobs = [chance.randbytes(size) for size in (700, 60_000, 200_000)]
            for pushed in [clients.submit(push, blobs, f"round-{round_}") for _ in range(6)]:
                pushed.result(60)
            pulled = repository.manifest(f"round-{round_}")
            assert pulled.body == image_of(blobs[0], blobs[1:])
            assert [repository.blob(digest_of(blob)).body for blob in blobs] == blobs
            done("images pushed by six clients at once")


def test_eight_clients_pull_byte_for_byte_while_others_push(
    fresh: Server, chance: random.Random, tmp_path: Path
) -> None:
    token, journal, until = token_for(fresh, NAME), Journal(tmp_path / "journal"), time.monotonic() + count(8, 120)
    repository = Repository(fresh, NAME, token)
    pushers = [Pusher(repository, journal, f"p{n}", random.Random(chance.random())) for n in range(4)]
    pushers[0].push_image()

    def pull(chosen: random.Random) -> int:
        pulled = 0
        while time.monotonic() < until:
            expected = journal.expected()
            for kind, things in (("blobs", expected.blobs), ("manifests", expected.manifests)):
                acknowledged = [thing.name for thing, known in things.items() if known]
                digest = chosen.choice(acknowledged)
                assert audit.served_object(repository, kind, digest, True) == []
                pulled += 1
        return pulled

    with ThreadPoolExecutor(12) as clients:
        pushing = [clients.submit(pusher.push_images) for pusher in pushers]
        pulling = [clients.submit(pull, random.Random(chance.random())) for _ in range(8)]
        pulled = [future.result(300) for future in pulling]
        for pusher in pushers:
            pusher.stop.set()
        pushed = sum(future.result(60) for future in pushing)
    assert min(pulled) > 0
    assert pushed > 4
    done("objects pulled by eight clients while four pushed", sum(pulled))
