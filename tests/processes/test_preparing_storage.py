"""When a start makes the place of the blobs, and what it makes sure of."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from django.utils.timezone import now

from layers.models import Blob
from registry_site.preparation import prepare_storage
from storage.driver import StorageAway, blobs

pytestmark = pytest.mark.django_db

KEY = "ab/abcdef"


@pytest.fixture
def directory(settings: Any, tmp_path: Path) -> Path:
    """The blob directory of a data directory that is not there yet."""
    directory = tmp_path / "new" / "data" / "blobs"
    settings.STORAGES = settings.STORAGES | {"blobs": settings.STORAGES["blobs"] | {"OPTIONS": {"location": directory}}}
    return directory


@pytest.fixture
def said() -> list[str]:
    return []


def store(directory: Path) -> None:
    prepare_storage(directory.parent, print)
    blobs().begin(KEY)
    Blob.objects.create(digest=f"sha256:{'0' * 64}", key=KEY, size=0, due_at=now())


def test_the_first_start_makes_every_directory_durably(directory: Path, said: list[str], monkeypatch) -> None:
    real, synced = os.fsync, set()
    monkeypatch.setattr(
        os, "fsync", lambda descriptor: synced.add(Path(f"/proc/self/fd/{descriptor}").readlink()) or real(descriptor)
    )
    prepare_storage(directory.parent, said.append)
    assert synced >= {directory, *list(directory.parents)[:3]}
    assert said == []
    assert not blobs().holds(KEY, 0)


@pytest.mark.damages_storage
def test_an_empty_directory_is_not_taken_for_the_one_that_holds_the_blobs(directory: Path, said: list[str]) -> None:
    store(directory)
    shutil.rmtree(directory)
    directory.mkdir()
    prepare_storage(directory.parent, said.append)
    assert "Is their disk mounted?" in said[0]
    assert list(directory.iterdir()) == []
    with pytest.raises(StorageAway):
        blobs().begin("cd/another")


@pytest.mark.damages_storage
def test_blobs_that_were_copied_without_the_marker_get_it_again(directory: Path, said: list[str]) -> None:
    store(directory)
    (directory / "storage-is-here").rmdir()
    prepare_storage(directory.parent, said.append)
    assert said == []
    assert not blobs().holds("cd/another", 0)
