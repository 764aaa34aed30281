"""A body becomes bytes of an upload that its request has taken: stored, hashed, and recorded on the way."""

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Protocol

from oci.digests import Digest, Hasher
from oci.errors import BlobUploadUnknown, ChunkOutOfOrder, SizeInvalid, UploadSuperseded
from repositories.connections import let_go_of_connection
from storage.driver import Buffer, ObjectDamaged, Writer, blobs
from uploads import taking
from uploads.hashing_beside import hashing_beside
from uploads.models import Upload
from uploads.superseded import ended_when_superseded

RECORD = 5.0  # seconds between two records of a long body
REREAD = 1024 * 1024  # bytes


class Body(Protocol):
    """Bytes as they come in, in blocks each of which is valid until three more have come.

    After the iteration `broken` says why they ended too early, or is empty.
    """

    broken: str

    def __iter__(self) -> Iterator[Buffer]: ...

    def interrupt(self) -> None: ...


def receive(upload: Upload, writer: Writer, hasher: Hasher, body: Body, at: int | None) -> None:
    """Store and hash the body after the bytes that count; record on the way. All that came is durable on return."""
    if at is not None and at != upload.offset:
        raise ChunkOutOfOrder({"offset": upload.offset})
    try:
        writer.resume(upload.offset)
    except ObjectDamaged as problem:
        taking.drop(upload)
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
