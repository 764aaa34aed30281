"""What `receive` leaves in storage and on the row while a body comes in."""

import pytest

from oci.digests import Digest, Hasher
from oci.errors import SizeInvalid
from repositories.models import Repository
from serving.bodies import BLOCK, BodyBroken, SocketBody
from storage.driver import blobs
from storage.filesystem import FileWriter
from tests.serving.sockets import Pieces, cut
from uploads import receiving, services
from uploads.models import Upload

NOISE = bytes(range(251)) * 41 * 1024


class FromSocket:
    """A body as views hand it in, on a socket of the test's own."""

    def __init__(self, content: bytes, length: int) -> None:
        self.broken = ""
        self._body = SocketBody(Pieces(cut(content, 300_000)), b"", length, give_back=len)

    def __iter__(self):
        try:
            yield from self._body.blocks(60)
        except BodyBroken as broken:
            self.broken = str(broken)

    def interrupt(self) -> None:
        raise AssertionError("nobody took the upload")


@pytest.fixture
def upload(db, settings, tmp_path):
    storage = {"BACKEND": "storage.filesystem.FilesystemDriver", "OPTIONS": {"location": tmp_path}}
    settings.STORAGES = settings.STORAGES | {"blobs": storage}
    blobs().prepare()
    return services.start(Repository.objects.create(name="alice/app"), "user:1")


def stored(upload: Upload) -> bytes:
    with blobs().writer(upload.key) as writer:
        writer.resume(upload.offset)
    return blobs().read(upload.key, 0, upload.offset).read()


def test_a_body_in_reused_buffers_is_stored_and_hashed_as_it_came(upload):
    services.append("alice/app", str(upload.pk), "user:1", FromSocket(NOISE, len(NOISE)), None)
    upload.refresh_from_db()
    assert stored(upload) == NOISE
    assert upload.hasher().digest == Digest.of(NOISE)


def test_of_a_body_that_breaks_off_all_that_came_is_kept(upload):
    came = 3 * BLOCK + 17
    with pytest.raises(SizeInvalid):
        services.append("alice/app", str(upload.pk), "user:1", FromSocket(NOISE[:came], len(NOISE)), None)
    upload.refresh_from_db()
    assert stored(upload) == NOISE[:came]
    assert upload.hasher().digest == Digest.of(NOISE[:came])


def test_every_record_on_the_way_is_of_bytes_that_were_synced_and_hashed(upload, monkeypatch):
    monkeypatch.setattr(receiving, "RECORD", 0.0)
    events: list[tuple[str, int]] = []
    sync, record = FileWriter.sync, Upload.record

    def synced(writer: FileWriter) -> None:
        events.append(("sync", writer.size))
        sync(writer)

    def recorded(upload: Upload, offset: int, hasher: Hasher) -> bool:
        events.append(("record", offset))
        assert hasher.digest == Digest.of(NOISE[:offset])
        return record(upload, offset, hasher)

    monkeypatch.setattr(FileWriter, "sync", synced)
    monkeypatch.setattr(Upload, "record", recorded)
    services.append("alice/app", str(upload.pk), "user:1", FromSocket(NOISE, len(NOISE)), None)
    records = [number for number, (event, _) in enumerate(events) if event == "record"]
    assert len(records) > len(NOISE) // BLOCK
    for number in records:
        assert events[number - 1] == ("sync", events[number][1])
