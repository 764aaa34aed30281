"""Blobs as files below one directory, two levels deep: `ab/<rest of key>`, written in place under their final name."""

import fcntl
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from django.core.files.storage import FileSystemStorage

from storage.driver import Buffer, ObjectBusy, ObjectDamaged, ObjectMissing, StorageAway

# An empty directory in the one of the blobs. Where it is missing, a disk is not mounted: what is not found on it may
# well be there. Looked at only where something else was not found.
MARKER = "storage-is-here"
POLL = 0.02  # seconds between two looks at a fence somebody else holds


class FilesystemDriver(FileSystemStorage):
    """Needs a file system whose `flock` reaches every process that writes (local disks, NFS 4)."""

    def prepare(self) -> None:
        for directory in (self.location, self.path(MARKER)):
            os.makedirs(directory, mode=0o700, exist_ok=True)
        for directory in (self.location, os.path.dirname(self.location)):
            sync_directory(directory)

    def begin(self, key: str) -> None:
        path = self.path(key)
        try:
            create(path)
        except FileNotFoundError:
            self.require_marker(key)
            with suppress(FileExistsError):
                os.mkdir(os.path.dirname(path), mode=0o700)
            create(path)

    @contextmanager
    def writer(self, key: str, patience: float = 10) -> Iterator["FileWriter"]:
        try:
            descriptor = os.open(self.path(key), os.O_RDWR)
        except FileNotFoundError:
            self.require_marker(key)
            raise ObjectMissing(key) from None
        try:
            fence(descriptor, key, patience)
            yield FileWriter(key, descriptor, os.path.dirname(self.path(key)))
        finally:
            os.close(descriptor)  # lets go of the fence

    def read(self, key: str, start: int, stop: int) -> "FilePart":
        try:
            part = FilePart(self.path(key), start, stop)
        except FileNotFoundError:
            self.require_marker(key)
            raise ObjectMissing(key) from None
        if os.fstat(part.fileno()).st_size < stop:
            part.close()
            raise ObjectDamaged(key)
        return part

    def holds(self, key: str, size: int) -> bool:
        with suppress(FileNotFoundError):
            return self.size(key) == size
        self.require_marker(key)
        return False

    def redirect(self, key: str) -> str | None:
        return None

    def delete(self, key: str) -> None:
        path = self.path(key)
        try:
            os.remove(path)
        except FileNotFoundError:
            self.require_marker(key)
        with suppress(FileNotFoundError):  # Synced also where nothing was: the one who removed it may have died then.
            sync_directory(os.path.dirname(path))

    def require_marker(self, key: str) -> None:
        """Called where no file was found. Raises StorageAway unless that says that there is none."""
        here = self.exists(MARKER)
        if not here or self.exists(key):  # found after all: the disk came back between two looks
            raise StorageAway(key)


def create(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


def fence(descriptor: int, key: str, patience: float) -> None:
    """Take the exclusive lock; the kernel lets go of it when its holder dies."""
    deadline = time.monotonic() + patience
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise ObjectBusy(key) from None
        time.sleep(POLL)


class FileWriter:
    def __init__(self, key: str, descriptor: int, directory: str):
        self.key, self.size = key, 0
        self._descriptor, self._directory = descriptor, directory
        self._dirty = True  # whether bytes may not be on stable storage yet
        self._named = False  # whether the file's name is there

    def resume(self, size: int) -> None:
        found = os.fstat(self._descriptor).st_size
        if found < size:
            raise ObjectDamaged(self.key)
        os.ftruncate(self._descriptor, size)
        os.lseek(self._descriptor, size, os.SEEK_SET)
        self.size, self._dirty, self._named = size, found > size or size == 0, size > 0

    def append(self, block: Buffer) -> None:
        self._dirty = True
        left = memoryview(block)
        while left:  # a disk that is nearly full takes only a part
            left = left[os.write(self._descriptor, left) :]
        self.size += len(block)

    def sync(self) -> None:
        if self._dirty:
            flush(self._descriptor)
            self._dirty = False
        if not self._named:
            for directory in (self._directory, os.path.dirname(self._directory)):
                sync_directory(directory)
            self._named = True

    def complete(self) -> None:
        self.sync()


class FilePart:
    """Part of a file: read in blocks, or sent by the kernel from `fileno()`, which stands at its start."""

    def __init__(self, path: str, start: int, stop: int):
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115 - closed by whoever reads it
        self._file.seek(start)
        self._left = stop - start

    def fileno(self) -> int:
        return self._file.fileno()

    def read(self, size: int = -1, /) -> bytes:
        block = self._file.read(self._left if size < 0 else min(size, self._left)) or b""
        self._left -= len(block)
        return block

    def close(self) -> None:
        self._file.close()


def flush(descriptor: int) -> None:
    if sys.platform == "darwin":  # where fsync stops at the drive's cache
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fdatasync(descriptor)


def sync_directory(path: str | os.PathLike[str]) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
