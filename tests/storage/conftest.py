from collections.abc import Callable
from pathlib import Path

import pytest

from storage.driver import StorageDriver
from storage.filesystem import FilesystemDriver

# A driver that keeps the contract is one line here.
DRIVERS: dict[str, Callable[[Path], StorageDriver]] = {
    "filesystem": lambda directory: FilesystemDriver(location=directory / "blobs"),
}


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest, tmp_path: Path) -> StorageDriver:
    driver = DRIVERS[request.param](tmp_path)
    driver.prepare()
    return driver


@pytest.fixture
def filesystem(tmp_path: Path) -> FilesystemDriver:
    driver = FilesystemDriver(location=tmp_path / "blobs")
    driver.prepare()
    return driver
