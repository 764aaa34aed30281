"""Blobs in the memory of one process, for tests and for trying things: they end with it, and no other process sees
them."""

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

from django.core.files.base import File
from django.core.files.storage import Storage

from storage.driver import Buffer, ObjectBusy, ObjectDamaged, ObjectMissing, StorageAway


class MemoryDriver(Storage):
    """Holds `capacity` bytes at most, over all objects, or any number; then it is a full disk: OSError, ENOSPC.

    Until `prepare` was called in this very process, and in one that was forked from it, storage is away.
    """

    def __init__(self, capacity: int | None = None):
        self.capacity = capacity
        self._objects: dict[str, MemoryObject] = {}
        self._lock = threading.Lock()  # of the dictionary, and of the sum of all sizes
        self._home = 0  # the process whose memory this is

    def prepare(self) -> None:
        self._home = self._home or os.getpid()
        self.require_home("")

    def begin(self, key: str) -> None:
        self.require_home(key)
        with self._lock:
            if key in self._objects:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), key)
            self._objects[key] = MemoryObject()

    @contextmanager
    def writer(self, key: str, patience: float = 10) -> Iterator["MemoryWriter"]:
        """Nothing kills a thread alone, so a writer dies by an exception or by being forgotten: both end this block."""
        found = self.found(key)
        if not found.fence.acquire(timeout=patience):
            raise ObjectBusy(key)
        try:
            yield MemoryWriter(self, key, found)
        finally:
            found.fence.release()

    def read(self, key: str, start: int, stop: int) -> "MemoryPart":
        found = self.found(key)
        if len(found.content) < stop:
            raise ObjectDamaged(key)
        return MemoryPart(found, start, stop)

    def holds(self, key: str, size: int) -> bool:
        self.require_home(key)
        found = self._objects.get(key)
        return found is not None and len(found.content) == size

    def redirect(self, key: str) -> str | None:
        return None

    def delete(self, key: str) -> None:
        self.require_home(key)
        with self._lock:
            self._objects.pop(key, None)

    # --- As every Django storage --------------------------------------------------------------------------------------

    def exists(self, name: str) -> bool:
        return name in self._objects

    def size(self, name: str) -> int:
        return len(self.found(name).content)

    def listdir(self, path: str) -> tuple[list[str], list[str]]:
        prefix = f"{path}/" if path else ""
        with self._lock:
            below = [key.removeprefix(prefix).partition("/") for key in self._objects if key.startswith(prefix)]
        return sorted({name for name, slash, _ in below if slash}), [name for name, slash, _ in below if not slash]

    def _open(self, name: str, mode: str = "rb") -> File:
        return File(BytesIO(bytes(self.found(name).content)), name)

    # --- Beneath ------------------------------------------------------------------------------------------------------

    def require_home(self, key: str) -> None:
        """An object that is not found in another process's copy, or before the start, is no missing one."""
        if os.getpid() != self._home:
            raise StorageAway(key)

    def found(self, key: str) -> "MemoryObject":
        self.require_home(key)
        try:
            return self._objects[key]
        except KeyError:
            raise ObjectMissing(key) from None

    def extend(self, content: bytearray, block: Buffer) -> None:
        """All of the block, or OSError and nothing of it."""
        with self._lock:
            if self.capacity is not None:
                used = sum(len(stored.content) for stored in self._objects.values())
                if used + len(block) > self.capacity:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            content += block


class MemoryObject:
    def __init__(self) -> None:
        self.content = bytearray()
        self.fence = threading.Lock()


class MemoryWriter:
    def __init__(self, driver: MemoryDriver, key: str, written: MemoryObject):
        self.key, self.size = key, 0
        self._driver, self._content = driver, written.content

    def resume(self, size: int) -> None:
        if len(self._content) < size:
            raise ObjectDamaged(self.key)
        del self._content[size:]
        self.size = size

    def append(self, block: Buffer) -> None:
        self._driver.extend(self._content, block)
        self.size += len(block)

    def sync(self) -> None:
        """Memory has nothing more stable."""

    def complete(self) -> None:
        self.sync()


class MemoryPart:
    """No file: it is read in blocks, also by a server."""

    def __init__(self, found: MemoryObject, start: int, stop: int):
        self._content, self._at, self._stop = found.content, start, stop

    def read(self, size: int = -1, /) -> bytes:
        end = self._stop if size < 0 else min(self._at + size, self._stop)
        block = bytes(self._content[self._at : end])  # a copy: a view would forbid the object to change its size
        self._at += len(block)
        return block

    def close(self) -> None:
        self._content = bytearray()
