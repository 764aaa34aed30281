"""The life of an upload, without HTTP."""

import errno
import itertools
import os
import uuid
from contextlib import closing, suppress
from datetime import timedelta

import pytest
from django.db.models import F
from django.utils.timezone import now

from layers import services as layers
from layers.models import Blob, Layer, PendingDelete
from oci.digests import Digest, Hasher
from oci.errors import (
    BlobUnknown,
    BlobUploadUnknown,
    ChunkOutOfOrder,
    DigestInvalid,
    SizeInvalid,
    UploadBusy,
    UploadSuperseded,
)
from repositories.models import Repository
from storage import filesystem
from storage.driver import blobs
from storage.filesystem import FilesystemDriver
from tests.uploads.bodies import Sent
from uploads import receiving, services
from uploads.models import State, Upload
from work.loop import run_due

NAME, OPENER = "team/app", "user:1"
CONTENT = bytes(range(256)) * 10
DIGEST = Digest.of(CONTENT)


def begun(*chunks: bytes, algorithm: str = "sha256") -> str:
    upload_id = str(services.start(Repository.objects.named(NAME), OPENER, algorithm).pk)
    for chunk in chunks:
        services.append(NAME, upload_id, OPENER, Sent(chunk), None)
    return upload_id


def append(upload_id: str, *steps, at: int | None = None, broken: str = "") -> Upload:
    return services.append(NAME, upload_id, OPENER, Sent(*steps, broken=broken), at)


def finish(upload_id: str, *steps, digest: Digest = DIGEST, at: int | None = None, broken: str = "") -> None:
    services.finish(NAME, upload_id, OPENER, digest, Sent(*steps, broken=broken), at)


def offset(upload_id: str) -> int:
    return services.find(NAME, upload_id, OPENER).offset


def served(name: str = NAME, digest: Digest = DIGEST) -> bytes:
    blob = layers.index.find(name, digest).blob
    with closing(layers.read(blob, 0, blob.size)) as reader:
        return reader.read()


def nothing_is_left(blob_directory) -> bool:
    run_due()
    files = [path for path in blob_directory.rglob("*") if path.is_file()]
    return not (files or Upload.objects.exists() or Blob.objects.exists() or PendingDelete.objects.exists())


# --- Bytes that come --------------------------------------------------------------------------------------------------


def test_an_upload_begins_empty(app):
    assert offset(begun()) == 0


@pytest.mark.parametrize("cuts", [[], [0], [1], [63, 64, 65], [2559], [2560], [500, 500, 501, 2000]])
def test_chunks_become_the_blob(app, cuts):
    chunks = [CONTENT[start:stop] for start, stop in itertools.pairwise([0, *cuts, len(CONTENT)])]
    upload_id = begun(*chunks)
    assert offset(upload_id) == len(CONTENT)
    finish(upload_id)
    assert served() == CONTENT


def test_the_last_bytes_may_come_with_the_finish(app):
    finish(begun(CONTENT[:100]), CONTENT[100:])
    assert served() == CONTENT


def test_a_blob_without_bytes(app):
    finish(begun(), digest=Digest.of(b""))
    assert served(digest=Digest.of(b"")) == b""


def test_a_blob_in_one_go(app):
    services.push(app, OPENER, DIGEST, Sent(CONTENT[:7], CONTENT[7:]), None)
    assert served() == CONTENT


def test_a_chunk_that_says_where_it_starts(app):
    upload_id = begun()
    assert append(upload_id, CONTENT[:10], at=0).offset == 10
    assert append(upload_id, CONTENT[10:30], at=10).offset == 30


@pytest.mark.parametrize("at", [0, 9, 11, 2**62])
def test_a_chunk_out_of_order_is_refused_and_changes_nothing(app, at):
    upload_id = begun(CONTENT[:10])
    for change in (append, finish):
        with pytest.raises(ChunkOutOfOrder) as caught:
            change(upload_id, b"other bytes", at=at)
        assert caught.value.detail == {"offset": 10}
    finish(upload_id, CONTENT[10:])
    assert served() == CONTENT


def test_a_body_that_breaks_off_is_kept_and_gone_on_with(app):
    upload_id = begun()
    with pytest.raises(SizeInvalid):
        append(upload_id, CONTENT[:100], CONTENT[100:150], broken="cut")
    assert offset(upload_id) == 150
    with pytest.raises(SizeInvalid):
        finish(upload_id, CONTENT[150:151], broken="cut")
    assert offset(upload_id) == 151
    finish(upload_id, CONTENT[151:], at=151)
    assert served() == CONTENT


def test_a_finish_that_breaks_off_is_not_compared_even_if_the_bytes_would_do(app):
    upload_id = begun()
    with pytest.raises(SizeInvalid):
        finish(upload_id, CONTENT, broken="cut")
    assert not Blob.objects.exists()
    finish(upload_id)


def test_a_push_in_one_go_that_breaks_off_is_over(app, blob_directory):
    with pytest.raises(SizeInvalid):
        services.push(app, OPENER, DIGEST, Sent(CONTENT[:10], broken="cut"), None)
    assert nothing_is_left(blob_directory)


def test_a_push_in_one_go_that_does_not_start_at_the_start_is_over(app, blob_directory):
    with pytest.raises(ChunkOutOfOrder):
        services.push(app, OPENER, DIGEST, Sent(CONTENT), 5)
    assert nothing_is_left(blob_directory)


# --- Digests ----------------------------------------------------------------------------------------------------------


def test_other_bytes_than_promised_are_refused_and_the_upload_is_over(app, blob_directory):
    upload_id = begun(CONTENT[:100])
    with pytest.raises(DigestInvalid):
        finish(upload_id, b"other bytes")
    with pytest.raises(BlobUnknown):
        layers.index.find(NAME, DIGEST)
    with pytest.raises(BlobUploadUnknown):
        offset(upload_id)
    assert nothing_is_left(blob_directory)


def test_a_push_in_one_go_of_other_bytes_leaves_nothing(app, blob_directory):
    with pytest.raises(DigestInvalid):
        services.push(app, OPENER, DIGEST, Sent(b"other bytes"), None)
    assert nothing_is_left(blob_directory)


@pytest.mark.parametrize("announced", ["sha256", "sha512"])
@pytest.mark.parametrize("wanted", ["sha256", "sha512"])
def test_an_algorithm_that_was_not_announced_is_found_out_by_reading_again(app, announced, wanted, monkeypatch):
    reads = []
    driver = type(blobs())
    real = driver.read
    monkeypatch.setattr(driver, "read", lambda *arguments: reads.append(arguments[1:]) or real(*arguments))
    upload_id = begun(CONTENT[:100], algorithm=announced)
    finish(upload_id, CONTENT[100:], digest=Digest.of(CONTENT, wanted))
    assert len(reads) == (announced != wanted)
    assert served(digest=Digest.of(CONTENT, wanted)) == CONTENT


def test_an_algorithm_that_was_not_announced_is_compared_too(app):
    upload_id = begun(CONTENT)
    with pytest.raises(DigestInvalid):
        finish(upload_id, digest=Digest.of(b"other bytes", "sha512"))


def test_an_upload_without_bytes_takes_the_algorithm_of_its_finish(app, monkeypatch):
    monkeypatch.setattr(type(blobs()), "read", lambda *_: pytest.fail("nothing needs to be read again"))
    finish(begun(), CONTENT, digest=Digest.of(CONTENT, "sha512"))


def test_an_unknown_algorithm_begins_no_upload(app, blob_directory):
    with pytest.raises(DigestInvalid):
        services.start(app, OPENER, "md5")
    assert nothing_is_left(blob_directory)


# --- Whose it is ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "opener"), [("team/other", OPENER), (NAME, "user:2"), (NAME, ""), ("team/app/", OPENER), ("", OPENER)]
)
def test_an_upload_is_unknown_to_others_and_in_other_repositories(app, name, opener):
    Repository.objects.create(name="team/other")
    upload_id = begun(CONTENT[:10])
    for ask in (
        lambda: services.find(name, upload_id, opener),
        lambda: services.append(name, upload_id, opener, Sent(b"bytes"), None),
        lambda: services.finish(name, upload_id, opener, DIGEST, Sent(b"bytes"), None),
        lambda: services.cancel(name, upload_id, opener),
    ):
        with pytest.raises(BlobUploadUnknown):
            ask()
    assert offset(upload_id) == 10


@pytest.mark.parametrize("upload_id", ["", "no uuid", "../../etc/passwd", str(uuid.UUID(int=1)), "0" * 10_000, "\x00"])
def test_what_is_no_upload_is_unknown(app, upload_id):
    for ask in (offset, append, finish, lambda upload_id: services.cancel(NAME, upload_id, OPENER)):
        with pytest.raises(BlobUploadUnknown):
            ask(upload_id)


# --- The end ----------------------------------------------------------------------------------------------------------


def test_a_cancelled_upload_leaves_nothing(app, blob_directory):
    upload_id = begun(CONTENT)
    services.cancel(NAME, upload_id, OPENER)
    for ask in (offset, append, finish, lambda upload_id: services.cancel(NAME, upload_id, OPENER)):
        with pytest.raises(BlobUploadUnknown):
            ask(upload_id)
    assert nothing_is_left(blob_directory)


def test_a_finish_may_be_repeated_with_or_without_the_bytes(app):
    upload_id = begun()
    finish(upload_id, CONTENT)
    sent = []
    finish(upload_id, CONTENT, lambda: sent.append("all of it"))
    finish(upload_id)
    assert sent == ["all of it"], "the client was answered before it had sent its body"
    assert Blob.objects.count() == Layer.objects.count() == 1


def test_a_finish_is_not_repeated_with_another_digest(app):
    upload_id = begun()
    finish(upload_id, CONTENT)
    with pytest.raises(BlobUploadUnknown):
        finish(upload_id, digest=Digest.of(b"other bytes"))


def test_a_finish_is_not_repeated_for_a_blob_that_is_gone(app):
    upload_id = begun()
    finish(upload_id, CONTENT)
    layers.unlink(NAME, DIGEST)
    with pytest.raises(BlobUploadUnknown):
        finish(upload_id, CONTENT)


def test_a_finished_upload_takes_no_more_bytes(app):
    upload_id = begun()
    finish(upload_id, CONTENT)
    with pytest.raises(BlobUploadUnknown):
        append(upload_id, b"more")
    with pytest.raises(BlobUploadUnknown):
        services.cancel(NAME, upload_id, OPENER)
    assert served() == CONTENT


def test_the_same_bytes_are_kept_once_in_however_many_repositories(app, blob_directory):
    other = Repository.objects.create(name="team/other")
    for repository in (app, other, app):
        services.push(repository, OPENER, DIGEST, Sent(CONTENT), None)
    run_due()
    assert len([path for path in blob_directory.rglob("*") if path.is_file()]) == 1
    assert served(NAME) == served("team/other") == CONTENT


# --- Expiry -----------------------------------------------------------------------------------------------------------


def pass_by(time: timedelta) -> None:
    for model in (Upload, PendingDelete, Layer):
        model.objects.update(due_at=F("due_at") - time, claimed_until=F("claimed_until") - time)


def test_an_upload_that_nobody_goes_on_with_expires(app, settings, blob_directory):
    begun(CONTENT)
    pass_by(settings.REGISTRY_UPLOAD_EXPIRY - timedelta(minutes=1))
    run_due()
    assert Upload.objects.exists()
    pass_by(timedelta(minutes=2))
    run_due()
    assert nothing_is_left(blob_directory)


@pytest.mark.parametrize("act", [lambda upload_id: append(upload_id, b"x"), lambda upload_id: append(upload_id)])
def test_activity_puts_the_expiry_off(app, settings, act):
    upload_id = begun()
    pass_by(settings.REGISTRY_UPLOAD_EXPIRY - timedelta(minutes=1))
    act(upload_id)
    pass_by(settings.REGISTRY_UPLOAD_EXPIRY - timedelta(minutes=1))
    run_due()
    assert Upload.objects.filter(state=State.OPEN).exists()


def test_asking_how_far_it_is_does_not_put_the_expiry_off(app, settings):
    upload_id = begun()
    before = Upload.objects.get().due_at
    offset(upload_id)
    assert Upload.objects.get().due_at == before


def test_a_finished_upload_is_forgotten_and_its_blob_stays(app, settings):
    settings.REGISTRY_GRACE = 3 * settings.REGISTRY_UPLOAD_EXPIRY
    upload_id = begun()
    finish(upload_id, CONTENT)
    pass_by(settings.REGISTRY_UPLOAD_EXPIRY + timedelta(minutes=1))
    run_due()
    assert not Upload.objects.exists()
    with pytest.raises(BlobUploadUnknown):
        finish(upload_id, CONTENT)
    assert served() == CONTENT


def test_an_upload_whose_file_was_never_made_expires(app, monkeypatch, settings, blob_directory):
    with monkeypatch.context() as patch, suppress(KeyboardInterrupt):
        patch.setattr(FilesystemDriver, "begin", interrupted)
        begun()
    upload = Upload.objects.get()
    with pytest.raises(BlobUploadUnknown):
        append(str(upload.pk), b"bytes")
    pass_by(settings.REGISTRY_UPLOAD_EXPIRY + timedelta(minutes=1))
    run_due()
    assert nothing_is_left(blob_directory)


def test_an_upload_that_is_being_written_to_does_not_expire_under_its_writer(app, settings, monkeypatch):
    monkeypatch.setattr(receiving, "RECORD", 0)
    upload_id = begun()

    def time_goes_by() -> None:
        pass_by(settings.REGISTRY_UPLOAD_EXPIRY - timedelta(minutes=1))
        run_due()

    append(upload_id, b"1", time_goes_by, b"2", time_goes_by, b"3", time_goes_by, b"4")
    assert offset(upload_id) == 4


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


# --- What is recorded, and when ---------------------------------------------------------------------------------------


@pytest.fixture
def events(blob_directory, monkeypatch):
    """Writes, syncs and records, in order."""
    happened: list[tuple[str, int]] = []
    flush, record, end = filesystem.flush, Upload.record, Upload.end

    def flushed(descriptor: int) -> None:
        flush(descriptor)
        happened.append(("synced", os.fstat(descriptor).st_size))

    def recorded(upload: Upload, size: int, hasher: Hasher) -> bool:
        happened.append(("recorded", size))
        return record(upload, size, hasher)

    def ended(upload: Upload, size: int, digest: Digest) -> bool:
        happened.append(("ended", size))
        return end(upload, size, digest)

    monkeypatch.setattr(filesystem, "flush", flushed)
    monkeypatch.setattr(Upload, "record", recorded)
    monkeypatch.setattr(Upload, "end", ended)
    return happened


def test_the_offset_moves_after_the_bytes_are_synced(app, events):
    append(begun(), b"12345")
    assert events == [("synced", 5), ("recorded", 5)]


def test_a_blob_is_one_after_its_bytes_are_synced(app, events):
    finish(begun(), CONTENT)
    assert events == [("synced", len(CONTENT)), ("ended", len(CONTENT))]


def test_a_long_body_is_recorded_on_the_way(app, events, monkeypatch):
    clock = iter(range(0, 1000, 3))
    monkeypatch.setattr(receiving.time, "monotonic", lambda: next(clock))
    append(begun(), b"1", b"2", b"3", b"4", b"5")
    records = [size for event, size in events if event == "recorded"]
    assert records[-1] == 5
    assert len(records) >= 3
    assert all(("synced", size) in events[: events.index(("recorded", size))] for size in records)


def test_a_long_push_in_one_go_is_recorded_on_the_way_too(app, events, monkeypatch):
    monkeypatch.setattr(receiving, "RECORD", 0)
    services.push(app, OPENER, DIGEST, Sent(CONTENT[:100], CONTENT[100:]), None)
    assert [size for event, size in events if event == "recorded"] == [100, len(CONTENT)]


def test_a_body_that_is_soon_over_is_recorded_once(app, events):
    append(begun(), *[b"x"] * 100)
    assert len(events) == 2


def test_what_was_recorded_on_the_way_is_there_after_a_crash(app, monkeypatch):
    monkeypatch.setattr(receiving, "RECORD", 0)
    upload_id = begun()
    with suppress(KeyboardInterrupt):
        append(upload_id, CONTENT[:100], CONTENT[100:200], interrupted)
    assert offset(upload_id) == 200
    monkeypatch.setattr(receiving, "RECORD", 5)
    with suppress(KeyboardInterrupt):
        append(upload_id, b"bytes that are never acknowledged", interrupted)
    assert offset(upload_id) == 200
    finish(upload_id, CONTENT[200:], at=200)
    assert served() == CONTENT


# --- Storage that fails -----------------------------------------------------------------------------------------------


def failing(number: int):
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("change", [append, finish])
@pytest.mark.parametrize("where", ["write", "fdatasync"])
def test_a_full_disk_costs_nothing_that_was_acknowledged_and_is_freed_at_once(
    app, monkeypatch, blob_directory, change, where
):
    upload_id = begun(CONTENT[:100])
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        change(upload_id, CONTENT[100:1000], lambda: patch.setattr(os, where, failing(errno.ENOSPC)), CONTENT[1000:])
    assert offset(upload_id) == 100
    assert (blob_directory / Upload.objects.get().key).stat().st_size == 100
    finish(upload_id, CONTENT[100:], at=100)
    assert served() == CONTENT


def test_a_push_in_one_go_that_finds_the_disk_full_is_over(app, monkeypatch, blob_directory):
    monkeypatch.setattr(os, "fdatasync", failing(errno.ENOSPC))
    with pytest.raises(OSError, match="No space"):
        services.push(app, OPENER, DIGEST, Sent(CONTENT), None)
    assert nothing_is_left(blob_directory)


def test_an_upload_whose_bytes_are_lost_is_over(app, blob_directory):
    upload_id = begun(CONTENT[:100])
    os.truncate(blob_directory / Upload.objects.get().key, 50)
    with pytest.raises(BlobUploadUnknown):
        append(upload_id, CONTENT[100:])
    assert nothing_is_left(blob_directory)


@pytest.mark.parametrize("damage", [lambda path: os.truncate(path, 10), os.remove])
def test_a_blob_whose_object_is_damaged_is_healed_by_the_next_push(app, blob_directory, damage):
    services.push(app, OPENER, DIGEST, Sent(CONTENT), None)
    damage(blob_directory / Blob.objects.get().key)
    with pytest.raises(BlobUnknown):
        served()
    services.push(app, OPENER, DIGEST, Sent(CONTENT), None)
    assert served() == CONTENT
    run_due()
    assert len([path for path in blob_directory.rglob("*") if path.is_file()]) == 1


def test_damage_that_nobody_has_read_yet_is_healed_too(app, blob_directory):
    services.push(app, OPENER, DIGEST, Sent(CONTENT), None)
    os.truncate(blob_directory / Blob.objects.get().key, 10)
    services.push(app, OPENER, DIGEST, Sent(CONTENT), None)
    assert served() == CONTENT


# --- Two writers ------------------------------------------------------------------------------------------------------


@pytest.fixture
def impatient(blob_directory, monkeypatch):
    """Who finds the fence held gives up at once."""
    real = filesystem.fence
    monkeypatch.setattr(filesystem, "fence", lambda descriptor, key, _: real(descriptor, key, 0))


def test_a_newer_writer_supersedes_the_older_one_whose_bytes_do_not_count(app, impatient):
    upload_id = begun(CONTENT[:100])

    def newer() -> None:
        with pytest.raises(UploadBusy):
            append(upload_id, b"the newer one has to wait")

    with pytest.raises(UploadSuperseded):
        append(upload_id, CONTENT[100:200], newer, CONTENT[200:300])
    assert offset(upload_id) == 100
    finish(upload_id, CONTENT[100:], at=100)
    assert served() == CONTENT


def test_a_superseded_finish_makes_no_blob(app, impatient):
    upload_id = begun()

    def newer() -> None:
        with pytest.raises(UploadBusy):
            append(upload_id)

    with pytest.raises(UploadSuperseded):
        finish(upload_id, CONTENT, newer)
    assert not Blob.objects.exists()
    assert not Layer.objects.exists()
    finish(upload_id, CONTENT)


def test_who_was_superseded_while_it_waited_touches_nothing(app, monkeypatch, blob_directory):
    upload_id, real = begun(CONTENT[:100]), filesystem.fence

    def fence_after_another_request(descriptor: int, key: str, patience: float) -> None:
        monkeypatch.setattr(filesystem, "fence", real)
        append(upload_id, CONTENT[100:200])
        real(descriptor, key, patience)

    monkeypatch.setattr(filesystem, "fence", fence_after_another_request)
    with pytest.raises(UploadSuperseded):
        append(upload_id, b"other bytes")
    assert offset(upload_id) == 200
    finish(upload_id, CONTENT[200:])
    assert served() == CONTENT


def test_an_upload_that_was_finished_while_another_waited_takes_no_more_bytes(app, monkeypatch, blob_directory):
    """The one that waited was the last to take the upload, but what it took is a blob by now."""
    upload_id, real = begun(CONTENT), filesystem.fence

    def fence_after_the_end(descriptor: int, key: str, patience: float) -> None:
        monkeypatch.setattr(filesystem, "fence", real)
        generation = Upload.objects.get().generation
        finish(upload_id)
        Upload.objects.update(generation=generation)
        real(descriptor, key, patience)

    monkeypatch.setattr(filesystem, "fence", fence_after_the_end)
    with pytest.raises(BlobUploadUnknown):
        append(upload_id, b"these bytes would end up in a blob")
    assert (blob_directory / Blob.objects.get().key).stat().st_size == len(CONTENT)


def test_an_upload_that_was_cancelled_while_another_waited_is_unknown_to_it(app, monkeypatch, blob_directory):
    upload_id, real = begun(CONTENT), filesystem.fence

    def fence_after_the_end(descriptor: int, key: str, patience: float) -> None:
        monkeypatch.setattr(filesystem, "fence", real)
        services.cancel(NAME, upload_id, OPENER)
        real(descriptor, key, patience)

    monkeypatch.setattr(filesystem, "fence", fence_after_the_end)
    with pytest.raises(BlobUploadUnknown):
        finish(upload_id)
    assert nothing_is_left(blob_directory)


def test_the_generation_of_each_taking_is_another(app):
    upload_id, seen = begun(), set()
    for _ in range(5):
        append(upload_id, b"x")
        seen.add(Upload.objects.get().generation)
    assert len(seen) == 5


def test_an_expiry_that_cannot_get_behind_the_fence_is_tried_again(app, impatient, settings, blob_directory):
    """A writer that has not moved for a day still holds its file."""
    begun(CONTENT[:100])
    upload = Upload.objects.get()
    with blobs().writer(upload.key):
        Upload.objects.update(due_at=now() - timedelta(seconds=1))
        run_due()
    upload.refresh_from_db()
    assert "UploadBusy" in upload.last_error
    Upload.objects.update(due_at=now() - timedelta(seconds=1))
    run_due()
    assert nothing_is_left(blob_directory)
