"""The life of an upload: start, append any number of times, then finish or cancel.

Every change begins in `taking.writing`: take the upload, get behind the fence, and read there what is true. No
transaction is open while bytes move. `docs/architecture.md` ("Uploads") tells what each step leaves behind when the
machine dies.
"""

import uuid
from contextlib import suppress

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils.timezone import now

from layers import index
from layers import services as layers
from oci.addresses import Address
from oci.contents import Inside
from oci.digests import Digest, Hasher
from oci.errors import (
    BlobUnknown,
    BlobUploadUnknown,
    ChunkOutOfOrder,
    DigestInvalid,
    NameUnknown,
    SizeInvalid,
    Unavailable,
    UploadSuperseded,
)
from oci.tarsum import TarSum
from repositories.locks import living
from repositories.models import Repository
from storage.driver import ObjectDamaged, ObjectMissing, StorageError, blobs
from uploads import taking
from uploads.models import State, Upload
from uploads.receiving import Body, complain_if_broken, keep, receive
from uploads.taking import belonging, fenced, key_of, writing
from uploads.verifying import Said, verified
from work.loop import duty


def start(repository: Repository, opener: str, algorithm: str = "sha256") -> Upload:
    """Open an upload ("Pushing blobs"). Raises DigestInvalid for an algorithm the registry does not know, and
    NameUnknown where the repository has just been deleted, and is gone for good."""
    Hasher(algorithm)
    upload_id = uuid.uuid4()
    # The row first: a crash in between leaves a row that expires, never a file that nobody knows.
    try:
        upload = Upload.objects.create(
            id=upload_id,
            repository=repository,
            opener=opener,
            key=key_of(upload_id),
            algorithm=algorithm,
            due_at=now() + settings.REGISTRY_UPLOAD_EXPIRY,
        )
    except IntegrityError:
        raise NameUnknown(repository.name) from None
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


def finish(
    name: str,
    upload_id: str,
    opener: str,
    address: Address,
    body: Body,
    at: int | None,
    *,
    tarsum: TarSum | None = None,
    length: int | None = None,
) -> Digest:
    """Add the body, then make the upload a layer of its repository if its bytes are what they are said to be; if not it
    is over. Besides a digest a TarSum may be said too, and the number of bytes.

    Returns the digest of the layer: the one that was said, or else the sha256. May be repeated by a client that lost
    the answer. Raises what `append` raises, and DigestInvalid.
    """
    said = Said.by(address, tarsum, length)
    try:
        with writing(name, upload_id, opener) as (upload, writer):
            hasher = upload.hasher(said.algorithm)
            receive(upload, writer, hasher, body, at)
            if body.broken:
                keep(upload, writer, hasher)
                complain_if_broken(body)
            digest, inside = verified(upload, writer, hasher, said)
            admit(upload, writer.size, digest, inside)
            return digest
    except BlobUploadUnknown:
        before = finished_before(name, upload_id, opener, said)
        if before is None:
            raise
        for _ in body:
            """The client sends again what it sent before, and reads the answer after that."""
        return before


def push(repository: Repository, opener: str, address: Address, body: Body, at: int | None) -> Digest:
    """A whole blob in one request ("POST then PUT" in one). If it breaks off nobody could resume it, so it is over."""
    upload_id = str(start(repository, opener, address.algorithm if isinstance(address, Digest) else "sha256").pk)
    try:
        return finish(repository.name, upload_id, opener, address, body, at)
    except (SizeInvalid, ChunkOutOfOrder, Unavailable, OSError, StorageError):
        cancel(repository.name, upload_id, opener)
        raise


def cancel(name: str, upload_id: str, opener: str) -> None:
    """End an upload and free its bytes. Raises BlobUploadUnknown, UploadBusy, UploadSuperseded."""
    with writing(name, upload_id, opener) as (upload, _):
        taking.drop(upload)


def would_expire(upload: Upload) -> str:
    if upload.state == State.FINISHED:
        return f"forget upload {upload}: it was finished, and its blob stays"
    since = f"{upload.active_at:%Y-%m-%d %H:%M}"
    return f"end upload {upload} and free its {upload.offset:,} bytes: nothing came since {since}"


@duty(Upload, would_expire)
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
                taking.drop(expired)
        except BlobUploadUnknown:  # its process died between the row and the file
            Upload.objects.filter(pk=upload.pk, generation=generation).delete()


# --- Behind the fence -------------------------------------------------------------------------------------------------


def admit(upload: Upload, size: int, digest: Digest, inside: Inside | None) -> None:
    """Verified and durable: one transaction makes it a layer and ends the upload."""
    while True:
        with suppress(layers.BlobDamaged):  # the older object, after it was asked for: this one takes its place
            return end(upload, size, digest, inside)


def end(upload: Upload, size: int, digest: Digest, inside: Inside | None) -> None:
    unsound = layers.unsound(digest)
    with transaction.atomic():
        if not living(upload.repository):
            raise BlobUploadUnknown(str(upload.pk), "its repository has just been deleted")
        layers.admit(upload.repository, digest, upload.key, size, unsound, inside)
        if not upload.end(size, digest):
            raise UploadSuperseded(str(upload.pk))


def finished_before(name: str, upload_id: str, opener: str, said: Said) -> Digest | None:
    """The digest of the layer that this very upload became, if the repository has it still and it is what is said."""
    upload = belonging(name, upload_id, opener).filter(state=State.FINISHED).first()
    if upload is None:
        return None
    try:
        blob = index.find(name, Digest.parse(upload.digest)).blob
        said.require_of(blob)
    except (BlobUnknown, DigestInvalid, SizeInvalid, ObjectMissing, ObjectDamaged):
        return None
    return Digest.parse(blob.digest)
