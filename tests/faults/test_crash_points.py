"""A worker that dies, or whose disk fails, at a chosen system call: the retry succeeds, nothing half-done is visible.
A background process that dies there while it collects: what it was at goes all the same, and nothing else.

`strace` kills it there, so the points are those at which something becomes durable, or is about to be said.
"""

import contextlib
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults import audit
from tests.faults.conftest import SETTINGS, count, done, needs
from tests.faults.journal import Journal, Thing
from tests.faults.pusher import BROKEN
from tests.faults.registry import Repository, digest_of, image_of
from tests.faults.wire import Answer
from tests.server import Server, Which, wait_until

pytestmark = pytest.mark.faults

NAME = "faults/crash"
SIZE = 300_000
PATIENCE = 120.0  # seconds; what a background process was at when it died is nobody else's for a minute
WRITES = count(12, 24)  # to SQLite's log, in one transaction: at least


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One worker with one thread, so that it is known who makes the n-th call. At the end all is looked at."""
    needs(shutil.which("strace"), "strace")
    data = tmp_path_factory.mktemp("traced") / "data"
    with Server(data, SETTINGS | {"REGISTRY_WORKERS": "1", "REGISTRY_THREADS": "1"}) as server:
        yield server
        assert server.stop() == 0
        assert audit.stored(server, Journal(data.with_name("journal")).expected()) == []


@contextmanager
def injected(
    server: Server, call: str, what: str, when: int, where: Which = "worker"
) -> Iterator[subprocess.Popen[bytes]]:
    """While the block runs `what` happens at the `when`-th call from now on of a thread of the worker's."""
    [victim] = server.pids(where)
    command = ["strace", "-f", "-p", str(victim), "-e", f"trace={call}", "-o", "/dev/null"]
    with subprocess.Popen([*command, "-e", f"inject={call}:{what}:when={when}"], stderr=subprocess.PIPE) as strace:
        assert strace.stderr is not None
        assert b"attached" in strace.stderr.readline()
        try:
            yield strace
        finally:
            strace.kill()  # asked politely in the wrong moment it would wait for a process that is dead already


@contextmanager
def dying_at(server: Server, call: str, when: int, where: Which = "worker", within: float = 10) -> Iterator[None]:
    """The worker is killed there, while the block runs or within seconds after it."""
    [victim] = server.pids(where)
    with injected(server, call, "signal=SIGKILL", when, where) as strace:
        yield
        strace.wait(within)  # it ends with what it traces
    assert victim not in server.pids(where), f"it has not come to {call} number {when}"
    wait_until(lambda: server.pids(where) and server.ready(), 30)
    done("crashes at a chosen system call")


def died(request: Callable[[], Answer]) -> None:
    with contextlib.suppress(*BROKEN):
        raise AssertionError(f"it should have died, but answered {request()}")


def points(*calls: str, writes: int = 0) -> list[tuple[str, int]]:
    """`fdatasync:3` stands for the first three; of the writes to the database's log a CI run takes every fourth."""
    named = [(call.partition(":")[0], n) for call in calls for n in range(1, int(call.partition(":")[2] or 1) + 1)]
    return [*named, *(("pwrite64", n) for n in range(1, writes + 1, count(4, 1)))]


@pytest.mark.parametrize(("call", "when"), points("fdatasync", "sendto"))
def test_after_a_crash_while_an_upload_opens_the_next_one_opens(traced: Server, call: str, when: int) -> None:
    repository = Repository(traced, NAME)
    with dying_at(traced, call, when):
        died(lambda: repository.ask("POST", repository.path("blobs", "uploads/")))
    assert repository.stored(repository.open_upload()) == 0


@pytest.mark.parametrize(("call", "when"), points("flock", "ftruncate", "fdatasync:3", "fsync:2", "sendto"))
def test_after_a_crash_in_the_first_chunk_the_upload_goes_on_where_the_registry_says(
    traced: Server, chance: random.Random, call: str, when: int
) -> None:
    repository, content = Repository(traced, NAME), chance.randbytes(SIZE)
    location = repository.open_upload()
    with dying_at(traced, call, when):
        died(lambda: repository.append(location, content, 0))
    repository.go_on(location, content, repository.stored(location))
    assert repository.finish(location, digest_of(content)).status == 201
    assert repository.blob(digest_of(content)).body == content


@pytest.mark.parametrize(("call", "when"), points("flock", "ftruncate", "fdatasync:3", "sendto", writes=WRITES))
def test_after_a_crash_in_the_closing_put_the_same_put_succeeds(
    traced: Server, chance: random.Random, call: str, when: int
) -> None:
    repository, content, at = Repository(traced, NAME), chance.randbytes(SIZE), SIZE * 2 // 3
    location, digest = repository.open_upload(), digest_of(content)
    repository.go_on(location, content[:at], 0)
    with dying_at(traced, call, when):
        died(lambda: repository.finish(location, digest, content[at:], at))
    assert audit.served_object(repository, "blobs", digest, False) == []
    repeated = repository.finish(location, digest, content[at:], at)
    assert repeated.status == 201, repeated
    assert audit.served_object(repository, "blobs", digest, True) == []


@pytest.mark.parametrize(("call", "when"), points("fdatasync", "sendto", writes=WRITES))
def test_after_a_crash_in_a_manifest_push_the_tag_points_to_the_old_one_or_the_new_one(
    traced: Server, chance: random.Random, call: str, when: int
) -> None:
    repository, journal = Repository(traced, NAME), Journal(traced.data.with_name("journal"))
    blobs = [chance.randbytes(SIZE) for _ in range(3)]
    for blob in blobs:
        answer = repository.ask("POST", repository.path("blobs", f"uploads/?digest={digest_of(blob)}"), body=blob)
        assert answer.status == 201, answer
        journal.acknowledged("blob", Thing(NAME, digest_of(blob)))
    old, new = image_of(blobs[0], blobs[1:2]), image_of(blobs[0], blobs[1:])
    assert repository.push_manifest("moved", old).status == 201
    with dying_at(traced, call, when):
        died(lambda: repository.push_manifest("moved", new))
    assert audit.served_tag(repository, "manifests", "moved", {digest_of(old), digest_of(new)}) == []
    assert repository.push_manifest("moved", new).status == 201
    journal.acknowledged("tag", Thing(NAME, "moved"), digest=digest_of(new))
    journal.acknowledged("manifest", Thing(NAME, digest_of(new)))
    assert audit.served_tag(repository, "manifests", "moved", {digest_of(new)}) == []


@pytest.mark.parametrize(("call", "when"), points("flock", "fdatasync:2", "sendto"))
def test_after_a_crash_in_a_cancel_the_upload_can_be_cancelled_again(
    traced: Server, chance: random.Random, call: str, when: int
) -> None:
    repository = Repository(traced, NAME)
    location = repository.open_upload()
    assert repository.append(location, chance.randbytes(SIZE), 0).status == 202
    with dying_at(traced, call, when):
        died(lambda: repository.ask("DELETE", location))
    assert repository.ask("DELETE", location).status in (204, 404)
    assert repository.ask("GET", location).status == 404


def test_what_was_being_collected_at_a_crash_is_collected_later_and_nothing_else(
    tmp_path: Path, chance: random.Random
) -> None:
    needs(shutil.which("strace"), "strace")
    impatient = {"DJANGO_SETTINGS_MODULE": "tests.faults.impatient", "REGISTRY_GRACE": "2"}
    with Server(tmp_path / "data", SETTINGS | impatient) as server:
        repository, journal = Repository(server, NAME), Journal(tmp_path / "journal")
        files = audit.Files(server.data / "blobs")
        kept = push_until_in_time(repository, [chance.randbytes(SIZE) for _ in range(2)], journal)
        before = files.keys()
        for call, when in points("unlink", "fsync", f"fdatasync:{count(2, 8)}", writes=WRITES):
            with dying_at(server, call, when, "background", PATIENCE):
                for _ in range(2):
                    push_blob(repository, chance.randbytes(1000))  # which nothing will ever name
        wait_until(lambda: files.keys() == before, PATIENCE)
        assert [audit.served_object(repository, "blobs", digest_of(blob), True) for blob in kept] == [[]] * len(kept)
        assert server.stop() == 0
        assert audit.stored(server, journal.expected()) == []


def push_blob(repository: Repository, content: bytes) -> None:
    path = repository.path("blobs", f"uploads/?digest={digest_of(content)}")
    answer = repository.ask("POST", path, body=content)
    assert answer.status == 201, answer


def push_until_in_time(repository: Repository, blobs: list[bytes], journal: Journal) -> list[bytes]:
    """An image of these blobs, pushed again where their grace was over before the manifest came."""
    manifest = image_of(blobs[0], blobs[1:])
    status = 404
    while status == 404:
        for blob in blobs:
            push_blob(repository, blob)
        status = repository.push_manifest("kept", manifest).status
    assert status == 201
    for blob in blobs:
        journal.acknowledged("blob", Thing(NAME, digest_of(blob)))
    journal.acknowledged("manifest", Thing(NAME, digest_of(manifest)))
    journal.acknowledged("tag", Thing(NAME, "kept"), digest=digest_of(manifest))
    return blobs


def assert_unavailable(answer: Answer) -> None:
    assert (answer.status, answer.codes) == (503, ["UNAVAILABLE"]), answer
    assert answer.headers["Retry-After"]
    done("requests in which the disk failed")


@pytest.mark.parametrize(("call", "when"), points("write", "ftruncate", "fdatasync:3", "fsync:2", "pwrite64:2"))
def test_a_chunk_that_the_disk_does_not_take_is_refused_and_can_be_sent_again(
    traced: Server, chance: random.Random, call: str, when: int
) -> None:
    repository, content = Repository(traced, NAME), chance.randbytes(SIZE)
    location = repository.open_upload()
    with injected(traced, call, "error=EIO", when):
        assert_unavailable(repository.append(location, content, 0))
    assert repository.stored(location) == 0
    repository.go_on(location, content, 0)
    assert repository.finish(location, digest_of(content)).status == 201
    assert repository.blob(digest_of(content)).body == content


@pytest.mark.parametrize(("call", "when"), points("write", "fdatasync:3", writes=WRITES))
def test_a_put_that_the_disk_does_not_take_is_refused_and_can_be_repeated(
    traced: Server, chance: random.Random, call: str, when: int
) -> None:
    repository, content, at = Repository(traced, NAME), chance.randbytes(SIZE), SIZE * 2 // 3
    location, digest = repository.open_upload(), digest_of(content)
    repository.go_on(location, content[:at], 0)
    with injected(traced, call, "error=EIO", when):
        assert_unavailable(repository.finish(location, digest, content[at:], at))
    assert repository.blob(digest, "HEAD").status == 404
    assert repository.finish(location, digest, content[at:], at).status == 201
    assert repository.blob(digest).body == content
