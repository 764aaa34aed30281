import errno
import gzip
import io
import json
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import zstandard
from django.utils.timezone import now

from layers import contents, finalizing
from layers.confinement import landlock
from layers.contents import SECONDS, LookFailed, look_inside
from layers.finalizing import finalize
from layers.models import Blob, Contents, Layer
from oci.contents import BROKEN, OTHER, TAR, TOO_MUCH, Inside
from oci.digests import Digest
from repositories.models import Repository
from storage.driver import ObjectDamaged, ObjectMissing, blobs
from storage.memory import MemoryDriver
from tests.layers import bombs
from tests.oci.tars import entry, look, tar
from work import loop

LAYER = gzip.compress(tar(entry("etc/motd", b"hello\n"), entry("big", bytes(300_000))))
MEMORY = 256 << 20  # bytes
DURATION = 60  # seconds of computing: how long a busy machine takes for those is not the layer's doing


def store(content: bytes) -> Blob:
    key = f"ab/{Digest.of(content).hex[:32]}"
    blobs().begin(key)
    with blobs().writer(key) as writer:
        writer.resume(0)
        writer.append(content)
        writer.complete()
    blob = Blob.objects.create(digest=str(Digest.of(content)), size=len(content), key=key, due_at=now())
    Layer.objects.create(repository=Repository.objects.create(name="team/app"), blob=blob, due_at=now())
    return blob


@pytest.fixture
def layer(db: None) -> Blob:
    return store(LAYER)


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Have another program run in the place of the process that looks."""

    def put(program: str) -> None:
        (tmp_path / "layers").mkdir()
        (tmp_path / "layers" / "looking.py").write_text(f"import os, signal, time\n{program}\n")
        monkeypatch.setattr(contents, "ROOT", tmp_path)

    return put


# --- Looking ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [0, 1])
def test_what_the_process_sees_is_what_is_there(layer, version):
    assert look_inside(layer.key, layer.size, version) == look(LAYER, version)


@pytest.mark.parametrize("compress", [bytes, gzip.compress, zstandard.compress])
def test_a_process_that_may_open_nothing_understands_every_compression(db, compress):
    content = compress(tar(entry("etc/motd", b"hello\n")))
    blob = store(content)
    assert look_inside(blob.key, blob.size) == look(content)


def test_an_object_that_is_no_file_goes_through_a_pipe(monkeypatch):
    driver = MemoryDriver()
    driver.prepare()
    monkeypatch.setattr(contents, "blobs", lambda: driver)
    for number, content in enumerate([LAYER, b"", b"{}", b"not a tar, and longer than a pipe " * 100_000]):
        driver.begin(f"ab/{number}")
        with driver.writer(f"ab/{number}") as writer:
            writer.resume(0)
            writer.append(content)
            writer.complete()
        assert look_inside(f"ab/{number}", len(content)) == look(content)


@pytest.mark.damages_storage
def test_an_object_that_is_gone_or_too_short_is_no_broken_layer(layer, blob_directory):
    (blob_directory / layer.key).write_bytes(LAYER[:-1])
    with pytest.raises(ObjectDamaged):
        look_inside(layer.key, layer.size)
    (blob_directory / layer.key).unlink()
    with pytest.raises(ObjectMissing):
        look_inside(layer.key, layer.size)


class Failing:
    """A reader of a layer whose storage ends in the middle, or fails."""

    def __init__(self, *, problem: Exception | None) -> None:
        self.blocks, self.problem = [LAYER[:100]], problem

    def read(self, key: int | str = -1, *_) -> "bytes | Failing":
        if isinstance(key, str):
            return self
        if not self.blocks and self.problem:
            raise self.problem
        return self.blocks.pop() if self.blocks else b""

    def close(self) -> None:
        pass


class InMemory(Failing):
    def read(self, key: str, start: int, stop: int) -> io.BytesIO:
        return io.BytesIO(LAYER)


def test_a_reader_whose_fileno_only_raises_goes_through_a_pipe_too(monkeypatch):
    monkeypatch.setattr(contents, "blobs", lambda: InMemory(problem=None))
    assert look_inside("ab/c", len(LAYER)) == look(LAYER)


def test_storage_that_ends_in_the_middle_is_no_broken_layer(monkeypatch):
    monkeypatch.setattr(contents, "blobs", lambda: Failing(problem=None))
    with pytest.raises(ObjectDamaged):
        look_inside("ab/c", len(LAYER))


def test_storage_that_fails_in_the_middle_is_no_broken_layer(monkeypatch):
    monkeypatch.setattr(contents, "blobs", lambda: Failing(problem=OSError(5, "Input/output error")))
    with pytest.raises(OSError, match="Input/output error"):
        look_inside("ab/c", len(LAYER))


# --- The process is held to limits, and is not believed ---------------------------------------------------------------


def limited(program: str) -> list[str]:
    """The lines that a program prints when it has limited itself, after what stands before `---`."""
    before, after = program.split("---")
    lines = ["import os, layers.looking", before, "layers.looking.limit(30)", after]
    command = [sys.executable, "-c", "\n".join(lines)]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=contents.ROOT, check=True)
    return ended.stdout.splitlines()


def test_the_process_is_nice_and_has_no_more_memory_and_files_than_it_needs(tmp_path):
    program = f"""
file = open({str(tmp_path / "file")!r}, "wb", buffering=0)
---
print(os.nice(0))
try:
    bytearray(300 << 20)
except MemoryError:
    print("no memory")
try:
    descriptors = [os.dup(0) for _ in range(100)]
except OSError:
    print("no descriptors")
    os.close(5)
try:
    file.write(b"x")
except OSError:
    print("no bytes")
"""
    assert limited(program) == ["19", "no memory", "no descriptors", "no bytes"]


@pytest.mark.skipif(not landlock(), reason="the kernel has no Landlock")
def test_the_process_can_reach_nothing_but_the_layer(tmp_path):
    (file := tmp_path / "file").touch()
    with socket.create_server(("127.0.0.1", 0)) as server:
        program = f"""
import socket
---
def attempt(*arguments):
    try:
        arguments[0](*arguments[1:])
    except OSError as problem:
        print(problem.errno)

attempt(open, {str(file)!r})
attempt(os.listdir, "/")
attempt(os.execv, "/bin/sh", ["sh", "-c", "echo ran"])
attempt(open, f"/proc/{{os.getppid()}}/environ")
attempt(os.truncate, {str(file)!r}, 0)
attempt(socket.create_connection, ("127.0.0.1", {server.getsockname()[1]}))
attempt(os.kill, os.getppid(), 0)
"""
        refused = limited(program)
    files, truncating, connecting, signalling = [errno.EACCES] * 4, errno.EACCES, errno.EACCES, errno.EPERM
    since = {3: truncating, 4: connecting, 6: signalling}
    assert list(map(int, refused)) == files + [number for version, number in since.items() if landlock() >= version]


def test_the_process_gets_no_secrets(layer, pretend, monkeypatch):
    monkeypatch.setenv("REGISTRY_SECRET_KEY", "secret")
    pretend("""print('{"contents": "other", "remark": "%s"}' % sorted(os.environ))""")
    assert "REGISTRY" not in look_inside(layer.key, layer.size).remark


def test_the_process_ends_when_nobody_waits_for_it():
    """It was told another parent than it has."""
    command = [sys.executable, "-m", "layers.looking", str(len(LAYER)), "30", "1", "1"]
    ended = subprocess.run(command, input=LAYER, capture_output=True, cwd=contents.ROOT, check=False)
    assert (ended.returncode, ended.stdout) == (1, b"")
    assert b"nobody waits" in ended.stderr


def test_it_ends_itself_when_its_time_is_over():
    command = [sys.executable, "-m", "tests.layers.measured", str(64 << 20), "0"]
    ended = subprocess.run(command, input=bytes(64 << 20), capture_output=True, cwd=contents.ROOT, check=True)
    found = Inside(**json.loads(ended.stdout.splitlines()[0]))
    assert found.contents == TOO_MUCH
    assert found.remark.startswith("more than 0 seconds of computing, after 0 entries; of ")


KILLED = [("SIGXCPU", TOO_MUCH), ("SIGSEGV", BROKEN), ("SIGABRT", BROKEN)]


@pytest.mark.parametrize(("by", "seen"), KILLED)
def test_where_the_layer_ends_the_process_that_is_what_was_seen(layer, pretend, by, seen):
    pretend(f"import resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); os.kill(os.getpid(), signal.{by})")
    assert look_inside(layer.key, layer.size).contents == seen


@pytest.mark.parametrize("program", ["os.kill(os.getpid(), signal.SIGKILL)", "os.kill(os.getpid(), signal.SIGTERM)",
                                     "raise SystemExit(1)", "import nothing_of_that_name", ""])  # fmt: skip
def test_a_process_that_ends_otherwise_is_no_verdict(layer, pretend, program):
    pretend(program)
    with pytest.raises(LookFailed):
        look_inside(layer.key, layer.size)


def test_a_process_that_does_not_answer_is_killed(layer, pretend, monkeypatch, tmp_path):
    pretend(f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(600)")
    monkeypatch.setattr(contents, "SECONDS", 2)
    monkeypatch.setattr(contents, "WAITING", 1)
    with pytest.raises(LookFailed, match="no answer in time"):
        look_inside(layer.key, layer.size)
    pid = tmp_path / "pid"
    assert not pid.exists() or not Path(f"/proc/{pid.read_text()}").exists()


ANSWERS = [
    "[]", "{}", "null", "", "{", "[" * 3000, '{"contents": "evil"}', '{"contents": ["tar"]}',
    '{"contents": "tar", "more": 1}',
    '{"contents": "tar", "files": -1}', '{"contents": "tar", "files": true}', '{"contents": "tar", "files": 1e3}',
    f'{{"contents": "tar", "uncompressed_size": {2**63}}}', '{"contents": "tar", "diff_id": "sha256:junk"}',
    '{"contents": "tar", "diff_id": 1}', '{"contents": "tar", "tarsum": "tarsum.v1+sha256:"}',
    '{"contents": "tar", "tarsum": "tarsum+sha256:%s"}' % ("0" * 64), '{"contents": "tar", "remark": "a\\u0000b"}',
    '{"contents": "tar", "remark": "%s"}' % ("r" * 501), '{"contents": "tar", "compression": "xz"}',
    '{"contents": "tar", "files": NaN}', '{"contents": "tar", "files": %s}' % ("9" * 4000),
]  # fmt: skip


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_that_makes_no_sense_is_not_believed(layer, pretend, answer):
    pretend(f"print({answer!r})")
    with pytest.raises(LookFailed):
        look_inside(layer.key, layer.size)


def test_an_answer_without_end_is_not_taken(layer, pretend):
    pretend("while True: print('x' * 1000)")
    with pytest.raises(LookFailed, match="never ends"):
        look_inside(layer.key, layer.size)


# --- Writing it down --------------------------------------------------------------------------------------------------


def test_what_is_inside_is_written_down_once(layer):
    finalize(layer)
    found, seen = Blob.objects.get(), look(LAYER)
    assert (found.contents, found.remark, found.compression) == (Contents.TAR, "", "gzip")
    assert (found.diff_id, found.tarsum) == (seen.diff_id, seen.tarsum)
    assert (found.files, found.uncompressed_size) == (2, seen.uncompressed_size)
    assert found.finalized_at is not None
    assert found.due_at is None


def test_the_claim_is_left_to_whoever_made_it(layer):
    assert layer.claim()
    finalize(layer)
    found = Blob.objects.get()
    assert (found.due_at, found.claimed_until, found.attempts) == (None, layer.claimed_until, 1)


def test_a_process_that_is_to_end_breaks_its_look_off_and_that_is_no_failure(layer, pretend, monkeypatch):
    asked = threading.Event()
    asked.set()
    monkeypatch.setattr(finalizing, "stopping", asked)
    pretend("time.sleep(600)")
    loop.run(loop.named("layers.Blob.look_into"), seconds=0)
    left = Blob.objects.get()
    assert (left.attempts, left.last_error, left.claimed_until) == (0, "", None)
    assert (left.due_at, left.finalized_at) == (layer.due_at, None)


def test_every_answer_is_one_that_the_row_can_hold(db):
    assert {TAR, OTHER, BROKEN, TOO_MUCH} == set(Contents.values) - {Contents.UNKNOWN}


def test_a_due_time_that_came_meanwhile_stays(layer, monkeypatch):
    later = now() + timedelta(hours=1)

    def look_and_unlink(key: str, size: int, **_: object) -> Inside:
        Blob.objects.update(due_at=later)
        return Inside(OTHER)

    monkeypatch.setattr(finalizing, "look_inside", look_and_unlink)
    finalize(layer)
    assert Blob.objects.get().due_at == later
    assert Blob.objects.get().contents == OTHER


def test_nothing_is_written_of_an_object_that_was_replaced_meanwhile(layer, monkeypatch):
    def look_and_heal(key: str, size: int, **_: object) -> Inside:
        Blob.objects.update(key="ab/other")
        return Inside(OTHER)

    monkeypatch.setattr(finalizing, "look_inside", look_and_heal)
    finalize(layer)
    found = Blob.objects.get()
    assert (found.finalized_at, found.due_at) == (None, layer.due_at)
    Blob.objects.update(key=layer.key)


def test_where_nothing_was_found_out_the_duty_remains(layer, pretend):
    pretend("raise SystemExit(1)")
    with pytest.raises(LookFailed):
        finalize(layer)
    assert Blob.objects.get().finalized_at is None
    assert Blob.objects.get().due_at == layer.due_at


@pytest.mark.damages_storage
def test_a_blob_whose_object_is_gone_is_quarantined(layer, blob_directory):
    (blob_directory / layer.key).unlink()
    finalize(layer)
    found = Blob.objects.get()
    assert found.damaged_at is not None
    assert (found.finalized_at, found.due_at) == (None, None)


# --- Bombs ------------------------------------------------------------------------------------------------------------


def measured(content: bytes) -> tuple[Inside, dict[str, float]]:
    with tempfile.TemporaryFile() as layer:
        layer.write(content)
        layer.seek(0)
        seconds = SECONDS + len(content) // contents.BYTES_PER_SECOND
        command = [sys.executable, "-m", "tests.layers.measured", str(len(content)), str(seconds)]
        ended = subprocess.run(command, stdin=layer, stdout=subprocess.PIPE, cwd=contents.ROOT, check=True)
    answer, usage = ended.stdout.splitlines()
    return contents.validated(answer, 1), json.loads(usage)


def test_a_usual_layer_takes_little():
    found, usage = measured(LAYER)
    assert found == look(LAYER)
    assert usage["seconds"] < 5
    assert usage["memory"] < 64 << 20


@pytest.mark.faults
@pytest.mark.parametrize("bomb", bombs.BOMBS)
def test_a_bomb_ends_in_bounded_time_and_memory_and_what_was_seen_is_said(bomb):
    content = bomb()
    assert len(content) <= 10_500_000
    found, usage = measured(content)
    assert found.contents in bombs.BOMBS[bomb]
    assert found.remark or found.uncompressed_size is not None
    assert usage["status"] == 0
    assert usage["seconds"] < DURATION
    assert usage["memory"] < MEMORY
    if bomb is bombs.a_million_empty_files:
        assert found.files == 10**6
