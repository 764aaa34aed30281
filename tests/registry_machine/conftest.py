from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
from django.db import connection

from layers import finalizing
from storage import filesystem
from storage.filesystem import FilesystemDriver
from tests.collecting import look_quickly
from tests.uploads.disk import Disk, Fuse
from uploads import receiving


@pytest.fixture
def fuse(transactional_db, monkeypatch) -> Fuse:
    """The process may end before and after every statement, every commit, and every step of storage."""
    fuse = Fuse()

    def stepping(execute: Callable[..., Any], *statement: Any) -> Any:
        fuse.step()
        result = execute(*statement)
        fuse.step()
        return result

    fuse.lies_at(monkeypatch, connection, "commit")
    with connection.execute_wrapper(stepping):
        yield fuse


@pytest.fixture
def disk(fuse, blob_directory, monkeypatch) -> Disk:
    disk = Disk(blob_directory, monkeypatch)
    for owner, name in (
        (FilesystemDriver, "begin"),
        (FilesystemDriver, "delete"),
        (filesystem, "flush"),
        (filesystem, "sync_directory"),
    ):
        fuse.lies_at(monkeypatch, owner, name)
    return disk


@pytest.fixture(autouse=True)
def quick(monkeypatch) -> None:
    """No second thread and no other process; nobody waits at a fence."""
    fence = filesystem.fence
    monkeypatch.setattr(filesystem, "fence", lambda descriptor, key, _: fence(descriptor, key, 0))
    monkeypatch.setattr(receiving, "ended_when_superseded", lambda *_: nullcontext())
    monkeypatch.setattr(finalizing, "finalize", look_quickly)
