"""What is particular about files: what is synced and when, a disk that is full, processes, paths."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import closing
from pathlib import Path

import pytest
from django.core.exceptions import SuspiciousFileOperation

from storage.driver import ObjectBusy, ObjectDamaged, StorageAway, blobs
from storage.filesystem import FilesystemDriver
from tests.server import wait_until

KEY = "ab/abcdef"


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Every sync as it happens: the path and how many bytes of the file it covers (-1 for a directory)."""
    calls: list[tuple[str, int]] = []

    def watched(real):
        def sync(descriptor: int) -> None:
            path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
            real(descriptor)
            calls.append((str(path), -1 if path.is_dir() else os.fstat(descriptor).st_size))

        return sync

    monkeypatch.setattr(os, "fdatasync", watched(os.fdatasync))
    monkeypatch.setattr(os, "fsync", watched(os.fsync))
    return calls


def write(driver: FilesystemDriver, offset: int, content: bytes) -> None:
    with driver.writer(KEY) as writer:
        writer.resume(offset)
        writer.append(content)
        writer.sync()


# --- Durable ----------------------------------------------------------------------------------------------------------


def test_a_new_file_is_synced_with_both_directories_that_name_it(filesystem, synced):
    filesystem.begin(KEY)
    write(filesystem, 0, b"12345")
    path = Path(filesystem.path(KEY))
    assert synced == [(str(path), 5), (str(path.parent), -1), (str(path.parent.parent), -1)]


def test_a_file_without_bytes_is_synced_too(filesystem, synced):
    filesystem.begin(KEY)
    with filesystem.writer(KEY) as writer:
        writer.resume(0)
        writer.complete()
    assert len(synced) == 3


def test_later_bytes_are_synced_and_directories_are_not_again(filesystem, synced):
    filesystem.begin(KEY)
    write(filesystem, 0, b"12345")
    del synced[:]
    write(filesystem, 5, b"678")
    assert synced == [(filesystem.path(KEY), 8)]


def test_each_sync_covers_what_was_appended_since(filesystem, synced):
    filesystem.begin(KEY)
    with filesystem.writer(KEY) as writer:
        writer.resume(0)
        for _ in range(3):
            writer.append(b"1234")
            writer.sync()
    assert [size for path, size in synced if path == filesystem.path(KEY)] == [4, 8, 12]


def test_cutting_off_what_a_dead_writer_left_is_synced(filesystem, synced):
    filesystem.begin(KEY)
    write(filesystem, 0, b"1234 garbage")
    del synced[:]
    with filesystem.writer(KEY) as writer:
        writer.resume(4)
        writer.complete()
    assert synced == [(filesystem.path(KEY), 4)]


def test_nothing_is_synced_where_nothing_changed(filesystem, synced):
    filesystem.begin(KEY)
    write(filesystem, 0, b"12345")
    del synced[:]
    with filesystem.writer(KEY) as writer:
        writer.resume(5)
        writer.sync()
        writer.complete()
    assert synced == []


def test_a_file_that_could_not_be_synced_is_not_taken_for_synced(filesystem, monkeypatch):
    filesystem.begin(KEY)
    with filesystem.writer(KEY) as writer:
        writer.resume(0)
        writer.append(b"1")
        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", broken(errno.EIO))
            with pytest.raises(OSError, match="Input/output"):
                writer.sync()
            with pytest.raises(OSError, match="Input/output"):
                writer.complete()


def test_a_deletion_is_durable_before_it_is_forgotten(filesystem, synced):
    """Else a power cut would bring back a file that no row knows of."""
    filesystem.begin(KEY)
    filesystem.delete(KEY)
    assert synced == [(str(Path(filesystem.path(KEY)).parent), -1)]


def test_what_is_stored_is_nobody_elses_to_read(filesystem):
    filesystem.begin(KEY)
    path = Path(filesystem.path(KEY))
    assert path.stat().st_mode & 0o077 == 0
    assert path.parent.stat().st_mode & 0o077 == 0


# --- A disk that does not do as it is told ----------------------------------------------------------------------------


def broken(number: int):
    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    return fail


def test_short_writes_are_completed(filesystem, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, block: real(descriptor, bytes(block[:3])))
    filesystem.begin(KEY)
    write(filesystem, 0, b"0123456789")
    with closing(filesystem.read(KEY, 0, 10)) as reader:
        assert reader.read() == b"0123456789"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_write_that_fails_is_reported_and_what_was_synced_stays(filesystem, monkeypatch, number):
    filesystem.begin(KEY)
    write(filesystem, 0, b"12345")
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", broken(number))
        with pytest.raises(OSError, match=os.strerror(number)) as caught:
            write(filesystem, 5, b"678")
    assert caught.value.errno == number
    write(filesystem, 5, b"678")
    assert filesystem.holds(KEY, 8)


def test_a_disk_that_fills_up_in_the_middle_of_a_block_keeps_what_was_synced(filesystem):
    """By a real limit of the kernel, in a process of its own: the write is short first, then refused."""
    filesystem.begin(KEY)
    write(filesystem, 0, b"12345")
    said = run(
        filesystem,
        """
        import resource, signal
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        with driver.writer(KEY) as writer:
            writer.resume(5)
            try:
                writer.append(bytes(5000))
            except OSError as problem:
                print(problem.errno, writer.size)
        """,
    )
    assert said == f"{errno.EFBIG} 5\n"
    write(filesystem, 5, b"678")
    with closing(filesystem.read(KEY, 0, 8)) as reader:
        assert reader.read() == b"12345678"


def test_a_file_that_lost_bytes_is_damaged(filesystem):
    filesystem.begin(KEY)
    write(filesystem, 0, b"0123456789")
    os.truncate(filesystem.path(KEY), 9)
    assert not filesystem.holds(KEY, 10)
    with pytest.raises(ObjectDamaged):
        filesystem.read(KEY, 0, 10)
    with pytest.raises(ObjectDamaged), filesystem.writer(KEY) as writer:
        writer.resume(10)


def test_a_directory_that_cannot_be_looked_into_is_an_error_and_not_an_absence(filesystem, monkeypatch):
    filesystem.begin(KEY)
    monkeypatch.setattr(os.path, "getsize", broken(errno.EIO))
    with pytest.raises(OSError, match="Input/output"):
        filesystem.holds(KEY, 0)


def test_a_deletion_that_fails_is_reported(filesystem, monkeypatch):
    filesystem.begin(KEY)
    monkeypatch.setattr(os, "remove", broken(errno.EROFS))
    with pytest.raises(OSError, match="Read-only"):
        filesystem.delete(KEY)


# --- Processes --------------------------------------------------------------------------------------------------------


def program(driver: FilesystemDriver, code: str) -> list[str]:
    prelude = f"""
        from storage.filesystem import FilesystemDriver
        driver, KEY = FilesystemDriver(location={str(driver.location)!r}), {KEY!r}
        """
    return [sys.executable, "-c", textwrap.dedent(prelude) + textwrap.dedent(code)]


def run(driver: FilesystemDriver, code: str) -> str:
    done = subprocess.run(program(driver, code), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


HOLD = """
    import time
    with driver.writer(KEY) as writer:
        writer.resume(0)
        writer.append(b"left behind")
        print("in", flush=True)
        time.sleep(60)
    """


def test_the_fence_holds_between_processes_and_opens_when_its_holder_is_killed(filesystem):
    filesystem.begin(KEY)
    holder = subprocess.Popen(program(filesystem, HOLD), stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"in\n"
        with pytest.raises(ObjectBusy), filesystem.writer(KEY, patience=0.1):
            pytest.fail("there are two writers")
        holder.send_signal(signal.SIGKILL)
        with filesystem.writer(KEY, patience=5) as writer:
            writer.resume(0)
            writer.append(b"new")
            writer.sync()
    finally:
        holder.kill()
        holder.communicate()
    assert filesystem.holds(KEY, 3)


def test_a_waiting_process_gets_in_when_the_holder_ends(filesystem):
    filesystem.begin(KEY)
    with filesystem.writer(KEY) as writer:
        writer.resume(0)
        waiter = subprocess.Popen(program(filesystem, HOLD.replace("60", "0")), stdout=subprocess.PIPE)
        time.sleep(0.3)
        writer.append(b"12345")
        writer.sync()
        assert filesystem.holds(KEY, 5), "somebody else has written"
    assert waiter.communicate(timeout=30)[0] == b"in\n"
    wait_until(lambda: filesystem.holds(KEY, len("left behind")))


def test_processes_that_are_started_meanwhile_do_not_hold_the_fence(filesystem):
    filesystem.begin(KEY)
    with filesystem.writer(KEY):
        child = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        with filesystem.writer(KEY, patience=0):
            """The descriptor did not go along."""
    finally:
        child.kill()
        child.wait()


# --- Paths ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["../outside", "ab/../../outside", "/etc/passwd", "../blobs-of-another/x", ".."])
def test_what_lies_outside_the_directory_is_refused(filesystem, tmp_path, key):
    (tmp_path / "outside").write_bytes(b"not ours")
    for use in (
        filesystem.begin,
        filesystem.delete,
        lambda key: filesystem.read(key, 0, 0),
        lambda key: filesystem.holds(key, 0),
        lambda key: filesystem.writer(key).__enter__(),
    ):
        with pytest.raises(SuspiciousFileOperation):
            use(key)
    assert (tmp_path / "outside").read_bytes() == b"not ours"


def test_the_settings_name_the_driver(settings, tmp_path):
    settings.STORAGES = settings.STORAGES | {
        "blobs": settings.STORAGES["blobs"] | {"OPTIONS": {"location": tmp_path / "here"}}
    }
    blobs().prepare()
    blobs().begin(KEY)
    assert (tmp_path / "here" / KEY).exists()


# --- A disk that is not mounted ---------------------------------------------------------------------------------------


@pytest.fixture
def unmounted(filesystem) -> FilesystemDriver:
    """An object is stored, and then its directory is the empty one on which the disk is mounted at other times."""
    filesystem.begin(KEY)
    write(filesystem, 0, b"12345")
    directory = Path(filesystem.location)
    directory.rename(directory.with_name("disk"))
    directory.mkdir()
    return filesystem


def mount(driver: FilesystemDriver) -> None:
    directory = Path(driver.location)
    directory.rmdir()  # fails where something was written into it
    directory.with_name("disk").rename(directory)


@pytest.mark.parametrize(
    "use",
    [
        lambda driver: driver.begin("cd/another"),
        lambda driver: driver.writer(KEY).__enter__(),
        lambda driver: driver.read(KEY, 0, 5),
        lambda driver: driver.holds(KEY, 5),
        lambda driver: driver.delete(KEY),
    ],
)
def test_a_disk_that_is_away_is_no_missing_object_and_comes_back_by_itself(unmounted, use):
    with pytest.raises(StorageAway):
        use(unmounted)
    mount(unmounted)
    assert unmounted.holds(KEY, 5)


def test_a_disk_that_comes_back_between_two_looks_has_lost_nothing(unmounted, monkeypatch):
    exists = unmounted.exists

    def mounted_now(key: str) -> bool:
        if Path(unmounted.location).with_name("disk").exists():
            mount(unmounted)
        return exists(key)

    monkeypatch.setattr(unmounted, "exists", mounted_now)
    with pytest.raises(StorageAway):
        unmounted.read(KEY, 0, 5)
    with closing(unmounted.read(KEY, 0, 5)) as reader:
        assert reader.read() == b"12345"


def test_the_place_of_the_blobs_is_made_durably(tmp_path, synced):
    driver = FilesystemDriver(location=tmp_path / "blobs")
    driver.prepare()
    driver.prepare()
    assert synced == [(str(tmp_path / "blobs"), -1), (str(tmp_path), -1)] * 2
    assert os.stat(driver.location).st_mode & 0o077 == 0
