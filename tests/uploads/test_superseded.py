"""The thread that ends writers whose uploads a newer request has taken: real threads, real transactions."""

import os
import threading
import time
import uuid

import pytest
from django.db import OperationalError

from layers import contents
from oci.digests import Digest
from oci.errors import BlobUploadUnknown, SizeInvalid, UploadSuperseded
from oci.tarsum import TarSum
from repositories.models import Repository
from storage.filesystem import FilePart
from tests.server import wait_until
from tests.tars import LAYER, TARSUM
from tests.threads import Request
from tests.uploads.bodies import Sent, Silent
from uploads import receiving, services, superseded
from uploads.models import Upload

pytestmark = pytest.mark.django_db(transaction=True)

NAME, OPENER = "team/app", "user:1"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(superseded, "PAUSE", 0.02)
    yield
    wait_until(lambda: not superseded._watching)


@pytest.fixture
def upload_id() -> str:
    return str(services.start(Repository.objects.create(name=NAME), OPENER).pk)


def written_to(upload_id: str, body: Sent) -> Request:
    """A request that writes, once it is registered with the watcher."""
    request = Request(services.append, NAME, upload_id, OPENER, body, None)
    wait_until(lambda: any(str(upload) == upload_id for upload, _ in superseded._writers.values()))
    return request


def test_a_writer_that_waits_for_its_client_is_ended_by_a_newer_one(upload_id):
    body = Silent(b"dead")
    older = written_to(upload_id, body)
    started = time.monotonic()
    newer = Request(services.append, NAME, upload_id, OPENER, Sent(b"alive"), 0)
    assert newer.answer().offset == 5
    assert time.monotonic() - started < 5
    assert isinstance(older.answer(), UploadSuperseded)
    assert services.find(NAME, upload_id, OPENER).offset == 5


def test_three_writers_of_which_two_are_dead(upload_id):
    first = written_to(upload_id, Silent(b"dead"))
    before = Upload.objects.get().generation
    second = Request(services.append, NAME, upload_id, OPENER, Silent(b"dead too"), None)
    wait_until(lambda: Upload.objects.get().generation != before)
    third = Request(services.finish, NAME, upload_id, OPENER, Digest.of(b"alive"), Sent(b"alive"), None)
    assert third.answer() == Digest.of(b"alive")
    for dead in (first, second):
        assert isinstance(dead.answer(), (UploadSuperseded, BlobUploadUnknown)), "it was answered as if it had won"


def test_a_cancelled_upload_ends_its_writer(upload_id):
    older = written_to(upload_id, Silent(b"dead"))
    Request(services.cancel, NAME, upload_id, OPENER).answer()
    assert isinstance(older.answer(), UploadSuperseded)
    assert not Upload.objects.exists()


def test_a_writer_that_nobody_superseded_is_left_alone(upload_id):
    body = Silent(b"slow")
    writer = written_to(upload_id, body)
    assert not body.interrupted.wait(0.3)
    body.interrupt()
    assert isinstance(writer.answer(), SizeInvalid)
    assert services.find(NAME, upload_id, OPENER).offset == 4


def test_a_body_that_cannot_be_interrupted_does_not_stop_the_watch(upload_id):
    """The client of the first has hung up in this moment; the second still waits for its own."""

    class HungUp(Silent):
        def interrupt(self) -> None:
            super().interrupt()
            raise OSError("transport endpoint is not connected")

    first = written_to(upload_id, HungUp(b"dead"))
    Request(services.append, NAME, upload_id, OPENER, Sent(b"alive"), None).answer()
    first.answer()
    second = written_to(upload_id, Silent(b"dead"))
    assert Request(services.append, NAME, upload_id, OPENER, Sent(b"alive"), None).answer().offset == 10
    assert isinstance(second.answer(), UploadSuperseded)


def test_a_database_that_is_away_ends_nobody_and_the_watch_goes_on(upload_id, monkeypatch, caplog):
    body = Silent(b"dead")
    older = written_to(upload_id, body)
    with monkeypatch.context() as patch:

        def away(*_: object, **__: object) -> None:
            raise OperationalError("gone")

        patch.setattr(superseded.Upload.objects, "filter", away, raising=False)
        wait_until(lambda: "a look for superseded writers failed" in caplog.text)
        assert not body.interrupted.is_set()
    assert Request(services.append, NAME, upload_id, OPENER, Sent(b"alive"), None).answer().offset == 5
    assert isinstance(older.answer(), UploadSuperseded)


def test_a_writer_that_has_ended_is_not_interrupted(upload_id):
    """Its connection may carry the next request by now."""
    body = Sent(b"done")
    services.append(NAME, upload_id, OPENER, body, None)
    superseded.look({uuid.uuid4(): (uuid.UUID(upload_id), body.interrupt)})
    assert not body.interrupted.is_set()


def test_the_thread_ends_with_the_last_writer_and_comes_back_with_the_next(upload_id):
    for content in (b"one", b"other"):
        body = Silent(content)
        writer = written_to(upload_id, body)
        assert "superseded-writers" in [thread.name for thread in threading.enumerate()]
        body.interrupt()
        writer.answer()
        wait_until(lambda: "superseded-writers" not in [thread.name for thread in threading.enumerate()])


def test_a_look_for_a_tarsum_is_ended_by_a_newer_writer(upload_id, monkeypatch):
    """One that takes as long as it is wanted, as it does where a process looks into many GiB."""

    def look(_source, _size, _seconds, _version, unwanted):
        reading, writing = os.pipe()
        with open(reading), open(writing, "w"):
            return contents.read_answer(reading, time.monotonic() + 30, unwanted), 0

    monkeypatch.setattr(contents, "ask", look)
    monkeypatch.setattr(contents, "PAUSE", 0.02)
    older = Request(services.finish, NAME, upload_id, OPENER, TarSum.parse(TARSUM), Sent(LAYER), None)
    wait_until(lambda: Upload.objects.get().offset == len(LAYER))
    newer = Request(services.finish, NAME, upload_id, OPENER, Digest.of(LAYER), Sent(), None)
    assert newer.answer() == Digest.of(LAYER)
    assert isinstance(older.answer(), UploadSuperseded)


@pytest.mark.usefixtures("blob_directory")
def test_a_writer_that_reads_a_large_upload_again_is_ended_by_a_newer_one(upload_id, monkeypatch):
    real = FilePart.read

    def slow(part: FilePart, size: int = -1) -> bytes:
        time.sleep(0.02)
        return real(part, size)

    monkeypatch.setattr(FilePart, "read", slow)
    monkeypatch.setattr(receiving, "REREAD", 1)
    content = bytes(5000)
    services.append(NAME, upload_id, OPENER, Sent(content), None)
    older = Request(services.finish, NAME, upload_id, OPENER, Digest.of(content, "sha512"), Sent(), None)
    wait_until(lambda: any(str(upload) == upload_id for upload, _ in superseded._writers.values()))
    started = time.monotonic()
    assert Request(services.append, NAME, upload_id, OPENER, Sent(b"more"), 5000).answer().offset == 5004
    assert time.monotonic() - started < 5
    assert isinstance(older.answer(), UploadSuperseded)
