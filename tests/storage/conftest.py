import resource
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from storage.driver import StorageDriver
from storage.filesystem import FilesystemDriver
from storage.memory import MemoryDriver


@contextmanager
def small_files(_: StorageDriver, size: int) -> Iterator[None]:
    """A limit of the kernel's, which refuses as a full disk does: a part of the block first, then nothing."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)  # Python ignores the signal that comes with it
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def small_memory(driver: Any, size: int) -> Iterator[None]:
    driver.capacity = size
    try:
        yield
    finally:
        driver.capacity = None


@dataclass
class Kind:
    make: Callable[[Path], StorageDriver]  # over an empty directory of the test's own, unprepared
    full: Callable[[StorageDriver, int], AbstractContextManager[None]]  # an object of so many bytes fills the place


# A driver that keeps the contract is one line here.
DRIVERS = {
    "filesystem": Kind(lambda directory: FilesystemDriver(location=directory / "blobs"), small_files),
    "memory": Kind(lambda _: MemoryDriver(), small_memory),
}


@pytest.fixture(params=DRIVERS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return DRIVERS[request.param]


@pytest.fixture
def unprepared(kind: Kind, tmp_path: Path) -> StorageDriver:
    return kind.make(tmp_path)


@pytest.fixture
def driver(unprepared: StorageDriver) -> StorageDriver:
    unprepared.prepare()
    return unprepared


@pytest.fixture
def full(kind: Kind, driver: StorageDriver) -> Callable[[int], AbstractContextManager[None]]:
    """While `full(size)` lasts there is room for one object of `size` bytes."""
    return lambda size: kind.full(driver, size)


@pytest.fixture
def filesystem(tmp_path: Path) -> FilesystemDriver:
    driver = FilesystemDriver(location=tmp_path / "blobs")
    driver.prepare()
    return driver
