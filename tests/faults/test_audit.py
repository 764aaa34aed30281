"""The audit finds what it is there to find: each kind of damage is done to a sound server, and reported."""

import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults import audit
from tests.faults.conftest import SETTINGS
from tests.faults.journal import Journal, Thing
from tests.faults.pusher import Pusher
from tests.faults.registry import Repository, content_of, digest_of
from tests.server import Server

pytestmark = pytest.mark.faults

NAME = "faults/audit"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the data of a server that stopped, and the journal of what was pushed to it."""
    directory = tmp_path_factory.mktemp("sound")
    journal = Journal(directory / "journal")
    with Server(directory / "data", SETTINGS) as server:
        repository = Repository(server, NAME)
        pusher = Pusher(repository, journal, "client", random.Random(7))
        pusher.push_image()
        location = repository.open_upload()
        assert repository.append(location, content_of(1, 5000), 0).status == 202
        journal.acknowledged("upload", Thing(NAME, location), seed=1, size=5000, stored=5000)
        expected = journal.expected()
        assert audit.served(server, repository.token, expected) == []
        assert server.stop() == 0
        assert audit.stored(server, expected) == []
        assert expected.acknowledgements >= 5
    return directory


def objects(data: Path) -> list[Path]:
    return sorted(path for path in (data / "blobs").rglob("*") if path.is_file() and path.stat().st_size > 1)


def change(data: Path, statement: str) -> None:
    with sqlite3.connect(data / "db.sqlite3") as rows:
        assert rows.execute(statement).rowcount > 0


def damage_a_byte(data: Path) -> None:
    for path in objects(data):
        path.write_bytes(b"?" + path.read_bytes()[1:])


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a byte of an object": damage_a_byte,
    "an object": lambda data: objects(data)[0].unlink(),
    "the end of an object": lambda data: [path.write_bytes(path.read_bytes()[:-1]) for path in objects(data)],
    "an object without a row": lambda data: (data / "blobs" / "ab").joinpath("0" * 32).write_bytes(b"?"),
    "a layer": lambda data: change(data, "DELETE FROM layers_layer"),
    "a manifest's bytes": lambda data: change(data, "UPDATE manifests_manifest SET content = CAST('{}' AS BLOB)"),
    "a tag": lambda data: change(data, "DELETE FROM manifests_tag WHERE name = 'client'"),
    "an upload": lambda data: change(data, "DELETE FROM uploads_upload WHERE state = 'open'"),
    "an offset": lambda data: change(data, "UPDATE uploads_upload SET \"offset\" = 4999 WHERE state = 'open'"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_to_what_is_stored_is_found(sound: Path, tmp_path: Path, damage: str) -> None:
    shutil.copytree(sound / "data", tmp_path / "data")
    (tmp_path / "data" / "blobs" / "ab").mkdir(exist_ok=True)
    DAMAGE[damage](tmp_path / "data")
    assert audit.stored(Server(tmp_path / "data"), Journal(sound / "journal").expected())


def test_what_is_missing_or_wrong_is_found_through_the_server(sound: Path, tmp_path: Path) -> None:
    shutil.copytree(sound / "data", tmp_path / "data")
    damage_a_byte(tmp_path / "data")
    expected = Journal(sound / "journal").expected()
    blobs, wrong = len(expected.blobs), Thing(NAME, next(iter(expected.blobs)).name)
    expected.wrong.add(wrong)
    expected.tags[Thing(NAME, "client")] = {digest_of(b"another")}
    expected.manifests[Thing(NAME, digest_of(b"lost"))] = True
    next(iter(expected.uploads.values())).ending = False  # it has become a blob
    with Server(tmp_path / "data", SETTINGS) as server:
        problems = "\n".join(audit.served(server, Repository(server, NAME).token, expected))
    assert problems.count("is served with other bytes") >= blobs - 1
    assert f"{wrong.name} (acknowledged=None)" in problems
    assert "tag client" in problems
    assert f"{digest_of(b'lost')} (acknowledged=True): HEAD 404" in problems
    assert "bytes were acknowledged, and now 404" in problems
