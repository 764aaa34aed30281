"""A disk without space: refused in the envelope, nothing acknowledged is lost, and it goes on once there is space."""

import os
import random
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.faults.conftest import SETTINGS, needs
from tests.faults.registry import Repository, digest_of
from tests.faults.wire import STREAMED, chunked, part
from tests.server import Server, wait_until

pytestmark = pytest.mark.faults

SMALL, LARGE = 16 * 1024 * 1024, 64 * 1024 * 1024  # bytes of the disk, before and after
PIECE = 1_000_000


@contextmanager
def disk(path: Path) -> Iterator[Path]:
    """A file system of its own, and a small one."""
    needs(os.geteuid() == 0, "root, to mount a small file system")
    path.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SMALL}", "tmpfs", path], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)


def fill(file: Path) -> None:
    """Take the last byte of the disk."""
    with suppress(OSError), file.open("wb", buffering=0) as ballast:
        while True:
            ballast.write(bytes(4096))


def enlarge(path: Path) -> None:
    subprocess.run(["mount", "-o", f"remount,size={LARGE}", path], check=True)


@pytest.fixture
def full_storage(tmp_path: Path) -> Iterator[tuple[Server, Path]]:
    """Blobs on the small disk, the database elsewhere."""
    with disk(tmp_path / "data" / "blobs") as path, Server(tmp_path / "data", SETTINGS) as server:
        yield server, path


@pytest.fixture
def full_everything(tmp_path: Path) -> Iterator[tuple[Server, Path]]:
    """Blobs and database on the same small disk."""
    with disk(tmp_path / "data") as path, Server(path, SETTINGS) as server:
        yield server, path


def filled(repository: Repository, chance: random.Random) -> tuple[list[bytes], str, bytes]:
    """Push blobs until there is no space: those acknowledged, and the upload that was refused with what it has."""
    blobs: list[bytes] = []
    while True:
        location, content = repository.open_upload(), b""
        for _ in range(4):
            piece = chance.randbytes(PIECE)
            answer = repository.append(location, piece, len(content))
            if answer.status != 202:
                assert answer.status in (503, 507), answer
                assert answer.codes == ["UNAVAILABLE"], answer
                assert int(answer.headers["Retry-After"]) > 0
                return blobs, location, content
            content += piece
        assert repository.finish(location, digest_of(content)).status == 201
        blobs.append(content)


def assert_served(repository: Repository, blobs: list[bytes]) -> None:
    for blob in blobs:
        assert repository.blob(digest_of(blob)).body == blob


def test_a_full_storage_loses_nothing_and_the_refused_upload_goes_on_once_there_is_space(
    full_storage: tuple[Server, Path], chance: random.Random
) -> None:
    server, path = full_storage
    repository = Repository(server, "faults/disk")
    blobs, location, content = filled(repository, chance)
    assert len(blobs) >= 2
    for headers, body in ((STREAMED, chunked(bytes(8 * PIECE))), (part(len(content), bytes(8 * PIECE)), None)):
        refused = repository.ask("PATCH", location, headers, body or bytes(8 * PIECE))
        assert (refused.status, refused.codes) == (507, ["UNAVAILABLE"]), refused
    assert repository.stored(location) >= len(content)
    assert_served(repository, blobs)
    enlarge(path)
    at = repository.stored(location)
    whole = content + bytes(at - len(content)) + chance.randbytes(PIECE)
    assert repository.append(location, whole[at:], at).status == 202
    assert repository.finish(location, digest_of(whole)).status == 201
    assert_served(repository, [*blobs, whole])


def test_what_is_given_up_makes_space_again(full_storage: tuple[Server, Path], chance: random.Random) -> None:
    server, _ = full_storage
    repository = Repository(server, "faults/disk")
    blobs, location, _ = filled(repository, chance)
    assert repository.ask("DELETE", location).status == 204
    again = chance.randbytes(PIECE // 2)

    def push() -> bool:
        new = repository.ask("POST", repository.path("blobs", f"uploads/?digest={digest_of(again)}"), body=again)
        return new.status == 201

    wait_until(push)
    assert_served(repository, [*blobs, again])


def test_a_full_disk_under_blobs_and_database_loses_nothing_and_heals(
    full_everything: tuple[Server, Path], chance: random.Random
) -> None:
    server, path = full_everything
    repository = Repository(server, "faults/disk")
    blobs, location, content = filled(repository, chance)
    fill(path / "ballast")
    manifest = repository.push_manifest("full", b'{"schemaVersion": 2, "manifests": [], "mediaType": "x"}')
    assert manifest.status < 500 or manifest.status in (503, 507), manifest
    opened = repository.ask("POST", repository.path("blobs", "uploads/"))
    assert opened.status in (202, 503, 507), opened
    if opened.status != 202:
        assert opened.codes == ["UNAVAILABLE"]
    assert_served(repository, blobs)
    (path / "ballast").unlink()
    enlarge(path)
    at = repository.stored(location)
    assert at >= len(content)
    assert repository.append(location, chance.randbytes(PIECE), at).status == 202
    assert_served(repository, blobs)
    assert server.stop() == 0
    server.start()
    assert_served(repository, blobs)
