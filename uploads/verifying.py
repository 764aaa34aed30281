"""Whether the bytes of an upload are what they are said to be, which is known before anybody can see them."""

import threading
from dataclasses import dataclass
from typing import Self

from layers.contents import LookFailed, look_inside
from layers.models import Blob, Contents
from oci.addresses import Address
from oci.contents import Inside
from oci.digests import Digest, Hasher
from oci.errors import BlobUploadUnknown, DigestInvalid, SizeInvalid, Unavailable, UploadSuperseded
from oci.tarsum import TarSum
from repositories.connections import let_go_of_connection
from storage.driver import ObjectDamaged, ObjectMissing, Writer
from uploads import taking
from uploads.models import Upload
from uploads.receiving import keep, received
from uploads.superseded import ended_when_superseded

INDEXED = 1  # the version of TarSum that the layer index holds
AT_ONCE = 2  # looks of this process: each may take a core, and as much memory as a look is given
PATIENCE = 5.0  # seconds that a request waits for its look to begin

_looks = threading.BoundedSemaphore(AT_ONCE)


@dataclass(frozen=True, slots=True)
class Said:
    """A digest, a TarSum or both, and perhaps a number of bytes: all of it has to be true."""

    digest: Digest | None
    tarsum: TarSum | None
    length: int | None

    @classmethod
    def by(cls, address: Address, tarsum: TarSum | None, length: int | None) -> Self:
        if isinstance(address, Digest):
            return cls(address, tarsum, length)
        return cls(None, tarsum or address, length)

    @property
    def algorithm(self) -> str:
        """Of the digest that the blob is to have: no TarSum is an address of bytes."""
        return self.digest.algorithm if self.digest else "sha256"

    def require(self, size: int, digest: Digest) -> None:
        """Raises SizeInvalid, DigestInvalid."""
        if self.length not in (None, size):
            raise SizeInvalid({"length": self.length, "received": size})
        if self.digest not in (None, digest):
            raise DigestInvalid(str(self.digest))

    def require_of(self, blob: Blob) -> None:
        """The same of a blob that the upload has become, and its TarSum too."""
        self.require(blob.size, Digest.parse(blob.digest))
        if self.tarsum and blob.tarsum != str(self.tarsum):
            require_tarsum(self.tarsum, blob.key, blob.size)


def verified(upload: Upload, writer: Writer, hasher: Hasher, said: Said) -> tuple[Digest, Inside | None]:
    """The digest, and what was found inside if that had to be looked at; the object is complete then.

    Raises SizeInvalid or DigestInvalid, or BlobUploadUnknown where storage has lost bytes, and then the upload is over;
    UploadSuperseded; and Unavailable.
    """
    try:
        digest = received(upload, writer, hasher, said.algorithm)
        said.require(writer.size, digest)
        if said.tarsum is None:
            writer.complete()
            return digest, None
        keep(upload, writer, hasher)  # what came is durable, and looking takes long
        writer.complete()
        superseded = threading.Event()
        with ended_when_superseded(upload, superseded.set):
            return digest, require_tarsum(said.tarsum, writer.key, writer.size, superseded)
    except (DigestInvalid, SizeInvalid):
        taking.drop(upload)
        raise
    except (ObjectMissing, ObjectDamaged) as problem:
        taking.drop(upload)
        raise BlobUploadUnknown(str(upload.pk), "storage has lost bytes of this upload: start again") from problem


def require_tarsum(tarsum: TarSum, key: str, size: int, superseded: threading.Event | None = None) -> Inside | None:
    """Read the object for what is inside, which is returned if the layer index holds TarSums of this version.

    Raises DigestInvalid, UploadSuperseded, Unavailable, and what the driver raises.
    """
    let_go_of_connection()
    if not _looks.acquire(timeout=PATIENCE):
        raise Unavailable(message="too many blobs are being looked into: try again later")
    try:
        inside = look_inside(key, size, tarsum.version, superseded)
    except LookFailed as problem:
        if superseded and superseded.is_set():
            raise UploadSuperseded from problem
        raise Unavailable(message="what the blob holds could not be found out now") from problem
    finally:
        _looks.release()
    if inside.tarsum != str(tarsum):
        found = inside.tarsum or inside.remark or Contents(inside.contents).label
        raise DigestInvalid(str(tarsum), f"provided TarSum did not match, this is {found}")
    return inside if tarsum.version == INDEXED else None
