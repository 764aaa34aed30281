"""The life of an upload: start, append any number of times, then finish or cancel.

Every change begins in `writing`: take the upload, get behind the fence, and read there what is true. No transaction
is open while bytes move. `docs/architecture.md` ("Uploads") tells what each step leaves behind when the machine dies.
"""

import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Protocol

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.utils.timezone import now

from layers import services as layers
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
from repositories.connections import let_go_of_connection
from repositories.models import Repository
from storage.driver import Buffer, ObjectBusy, ObjectDamaged, ObjectMissing, StorageError, Writer, blobs
from uploads.hashing_beside import hashing_beside
from uploads.models import State, Upload
from uploads.superseded import ended_when_superseded
from work.loop import duty

RECORD = 5.0  # seconds between two records of a long body
REREAD = 1024 * 1024  # bytes


class Body(Protocol):
    """Bytes as they come in, in blocks each of which is valid until three more have come.

    After the iteration `broken` says why they ended too early, or is empty.
    """

    broken: str

    def __iter__(self) -> Iterator[Buffer]: ...

    def interrupt(self) -> None: ...


def start(repository: Repository, opener: str, algorithm: str = "sha256") -> Upload:
    """Open an upload ("Pushing blobs"). Raises DigestInvalid for an algorithm the registry does not know."""
    Hasher(algorithm)
    upload_id = uuid.uuid4()
    # The row first: a crash in between leaves a row that expires, never a file that nobody knows.
    upload = Upload.objects.create(
        id=upload_id,
        repository=repository,
        opener=opener,
        key=key_of(upload_id),
        algorithm=algorithm,
        due_at=now() + settings.REGISTRY_UPLOAD_EXPIRY,
    )
    blobs().begin(upload.key)
    return upload


def find(name: str, upload_id: str, opener: str) -> Upload:
    """How far an open upload is. Raises BlobUploadUnknown."""
    upload = belonging(name, upload_id, opener).filter(state=State.OPEN).first()
    if upload is None:
        raise BlobUploadUnknown(upload_id)
    return upload


def append(name: str, upload_id: str, opener: str, body: Body, at: int | None) -> Upload:
    """Add the body at the end, which has to be at `at` where the client says so.

    What came is kept, also when the body breaks off. Raises BlobUploadUnknown, ChunkOutOfOrder, SizeInvalid,
    UploadBusy, UploadSuperseded.
    """
    with writing(name, upload_id, opener) as (upload, writer):
        hasher = upload.hasher()
        receive(upload, writer, hasher, body, at)
        keep(upload, writer, hasher)
        complain_if_broken(body)
    return upload


def finish(name: str, upload_id: str, opener: str, digest: Digest, body: Body, at: int | None) -> None:
    """Add the body, then make the upload a layer of its repository if its bytes have this digest; if not it is over.

    May be repeated by a client that lost the answer. Raises what `append` raises, and DigestInvalid.
    """
    try:
        with writing(name, upload_id, opener) as (upload, writer):
            hasher = upload.hasher(digest.algorithm)
            receive(upload, writer, hasher, body, at)
            if body.broken:
                keep(upload, writer, hasher)
                complain_if_broken(body)
            if received(upload, writer, hasher, digest.algorithm) != digest:
                drop(upload)
                raise DigestInvalid(str(digest))
            writer.complete()
            admit(upload, writer.size, digest)
    except BlobUploadUnknown:
        if not finished_before(name, upload_id, opener, digest):
            raise
        for _ in body:
            """The client sends again what it sent before, and reads the answer after that."""


def push(repository: Repository, opener: str, digest: Digest, body: Body, at: int | None) -> None:
    """A whole blob in one request ("POST then PUT" in one). If it breaks off nobody could resume it, so it is over."""
    upload_id = str(start(repository, opener, digest.algorithm).pk)
    try:
        finish(repository.name, upload_id, opener, digest, body, at)
    except (SizeInvalid, ChunkOutOfOrder, OSError, StorageError):
        cancel(repository.name, upload_id, opener)
        raise


def cancel(name: str, upload_id: str, opener: str) -> None:
    """End an upload and free its bytes. Raises BlobUploadUnknown, UploadBusy, UploadSuperseded."""
    with writing(name, upload_id, opener) as (upload, _):
        drop(upload)


@duty(Upload)
def expire(upload: Upload) -> None:
    """What nobody has written to for long goes, with its bytes; what was finished a while ago is only forgotten."""
    still_due = Upload.objects.filter(pk=upload.pk, due_at__lte=now())
    if upload.state == State.FINISHED:
        still_due.delete()
        return
    generation = uuid.uuid4()
    if still_due.filter(state=State.OPEN).update(generation=generation):
        try:
            with fenced(upload.pk, generation) as (expired, _):
                drop(expired)
        except BlobUploadUnknown:  # its process died between the row and the file
            Upload.objects.filter(pk=upload.pk, generation=generation).delete()


# --- Taking an upload -------------------------------------------------------------------------------------------------


def key_of(upload_id: uuid.UUID) -> str:
    return f"{upload_id.hex[:2]}/{upload_id.hex}"


def belonging(name: str, upload_id: str, opener: str) -> QuerySet[Upload]:
    """The upload of this id, to whoever opened it, under its repository's name; to anybody else: nothing."""
    try:
        parsed = uuid.UUID(upload_id)
    except ValueError:
        return Upload.objects.none()
    return Upload.objects.filter(pk=parsed, repository__name=name, opener=opener)


@contextmanager
def writing(name: str, upload_id: str, opener: str) -> Iterator[tuple[Upload, Writer]]:
    """Take an open upload, from whoever writes to it now. Raises BlobUploadUnknown, UploadBusy, UploadSuperseded."""
    generation, moment = uuid.uuid4(), now()
    taken = belonging(name, upload_id, opener).filter(state=State.OPEN)
    if not taken.update(generation=generation, active_at=moment, due_at=moment + settings.REGISTRY_UPLOAD_EXPIRY):
        raise BlobUploadUnknown(upload_id)
    with fenced(uuid.UUID(upload_id), generation) as held:
        yield held


@contextmanager
def fenced(upload_id: uuid.UUID, generation: uuid.UUID) -> Iterator[tuple[Upload, Writer]]:
    """Wait for the fence, and read behind it what is true: a request that was itself superseded touches nothing."""
    let_go_of_connection()
    try:
        with blobs().writer(key_of(upload_id)) as writer:
            upload = Upload.objects.select_related("repository").filter(pk=upload_id).first()
            if upload is None or upload.state != State.OPEN:
                raise BlobUploadUnknown(str(upload_id))
            if upload.generation != generation:
                raise UploadSuperseded(str(upload_id))
            yield upload, writer
    except ObjectBusy:
        raise UploadBusy(str(upload_id)) from None
    except ObjectMissing:
        raise BlobUploadUnknown(str(upload_id)) from None


# --- Behind the fence -------------------------------------------------------------------------------------------------


def receive(upload: Upload, writer: Writer, hasher: Hasher, body: Body, at: int | None) -> None:
    """Store and hash the body after the bytes that count; record on the way. All that came is durable on return."""
    if at is not None and at != upload.offset:
        raise ChunkOutOfOrder({"offset": upload.offset})
    try:
        writer.resume(upload.offset)
    except ObjectDamaged as problem:
        drop(upload)
        raise BlobUploadUnknown(str(upload.pk), "storage has lost bytes of this upload: start again") from problem
    let_go_of_connection()
    try:
        with ended_when_superseded(upload, body.interrupt):
            store(upload, writer, hasher, body)
        writer.sync()
    except OSError:
        writer.resume(upload.offset)  # or a full disk would stay full of bytes that do not count
        raise


def store(upload: Upload, writer: Writer, hasher: Hasher, body: Body) -> None:
    recorded = time.monotonic()
    with hashing_beside(hasher) as hashing:
        for block in body:
            hashing.update(block)
            writer.append(block)
            if time.monotonic() - recorded >= RECORD:
                writer.sync()
                hashing.settle()
                keep(upload, writer, hasher)
                let_go_of_connection()
                recorded = time.monotonic()


def keep(upload: Upload, writer: Writer, hasher: Hasher) -> None:
    """The offset moves over what was synced; a superseded writer's bytes do not exist."""
    if not upload.record(writer.size, hasher):
        raise UploadSuperseded(str(upload.pk))


def complain_if_broken(body: Body) -> None:
    if body.broken:
        raise SizeInvalid(body.broken, "the body ended too early; what came is kept, go on from there")


def received(upload: Upload, writer: Writer, hasher: Hasher, algorithm: str) -> Digest:
    """The digest of all bytes; an algorithm that nobody announced is the one case that reads them again.

    Raises UploadSuperseded as soon as that is known: of a large upload the reading takes minutes.
    """
    if hasher.algorithm == algorithm:
        return hasher.digest
    again, superseded = Hasher(algorithm), threading.Event()
    with (
        closing(blobs().read(writer.key, 0, writer.size)) as reader,
        ended_when_superseded(upload, superseded.set),
    ):
        while block := reader.read(REREAD):
            if superseded.is_set():
                raise UploadSuperseded(str(upload.pk))
            again.update(block)
    return again.digest


def admit(upload: Upload, size: int, digest: Digest) -> None:
    """Verified and durable: one transaction makes it a layer and ends the upload."""
    unsound = layers.unsound(digest)
    with transaction.atomic():
        layers.admit(upload.repository, digest, upload.key, size, unsound)
        if not upload.end(size, digest):
            raise UploadSuperseded(str(upload.pk))


def drop(upload: Upload) -> None:
    """The upload is over without a blob."""
    with transaction.atomic():
        if not upload.mine().delete()[0]:
            raise UploadSuperseded(str(upload.pk))
        layers.discard(upload.key)


def finished_before(name: str, upload_id: str, opener: str, digest: Digest) -> bool:
    """Whether this very upload became this very layer, and the repository has it still."""
    if not belonging(name, upload_id, opener).filter(state=State.FINISHED, digest=str(digest)).exists():
        return False
    try:
        return bool(layers.find(name, digest))
    except BlobUnknown:
        return False
