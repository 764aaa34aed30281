"""The layer service for Python: what `/v2/` does for clients, without HTTP, by the same functions. Explained, with an
example, in docs/layer-service.md.

Layers are addressed by digest or TarSum, as text or as values of `oci`. Who may do what is for the caller to decide.
"""

import io
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import BinaryIO, cast

from layers import index
from layers import services as layers
from layers.models import Layer
from oci.addresses import Address, parse_address
from oci.digests import Digest
from oci.errors import BlobUnknown, DigestInvalid, SizeInvalid
from oci.names import parse_name
from oci.tarsum import TarSum
from repositories.models import Repository
from storage.driver import Buffer, Reader
from uploads import services
from uploads.models import Upload

BLOCK = 1024 * 1024  # bytes


def exists(repository: str, address: str | Address) -> bool:
    """Whether the repository of this name has the layer. Raises NameInvalid, DigestInvalid."""
    try:
        return bool(index.find(parse_name(repository), parse_address(str(address))))
    except BlobUnknown:
        return False


def fetch(repository: str, address: str | Address) -> "LayerReader":
    """The layer's bytes, and what is known of it. Raises BlobUnknown, NameInvalid, DigestInvalid."""
    return LayerReader(index.find(parse_name(repository), parse_address(str(address))))


def upload(repository: str, who: str, algorithm: str = "sha256") -> "LayerUpload":
    """Open an upload that only `who` (a name of at most 255 characters) may go on with; the repository need not exist.

    `algorithm` is that of the digest it will have. Raises NameInvalid, DigestInvalid.
    """
    opened = services.start(Repository.objects.for_push(parse_name(repository)), who, algorithm)
    return LayerUpload(repository, opened)


def resume(repository: str, upload_id: str, who: str) -> "LayerUpload":
    """An upload that is open, wherever it was begun and whatever became of that process. Raises BlobUploadUnknown,
    NameInvalid."""
    return LayerUpload(repository, services.find(parse_name(repository), upload_id, who))


class LayerReader(io.BufferedReader):
    """A layer's bytes as a binary file that can be read from any place, until it is closed.

    `size` is in bytes; `media_type` is what the newest manifest calls it; `came_at` is when it came to the repository.
    Reading raises BlobUnknown where storage turns out to have lost bytes; the blob is then quarantined.
    """

    def __init__(self, layer: Layer) -> None:
        super().__init__(StoredBytes(layer), BLOCK)
        self.size: int = layer.blob.size
        self.digest = Digest.parse(layer.blob.digest)
        self.media_type = index.media_type(layer)
        self.came_at: datetime = layer.linked_at


class LayerUpload:
    """An upload under way. The registry knows it by `id`, and takes more of it from nobody but `who`.

    `offset` is how many bytes are on stable storage, as far as this object knows: where somebody else wrote meanwhile,
    writing and finishing raise ChunkOutOfOrder, and `resume` tells how far it is now.
    """

    def __init__(self, repository: str, opened: Upload) -> None:
        self.repository = repository
        self.id = str(opened.pk)
        self.who: str = opened.opener
        self.started_at: datetime = opened.started_at
        self.offset: int = opened.offset

    def write(self, content: Buffer | BinaryIO | Iterable[Buffer]) -> int:
        """Add bytes, or all that a binary file or an iterable of bytes gives. They are durable on return.

        Returns the new offset. What a file or iterable raises is raised here, after what came before it was kept.
        Raises BlobUploadUnknown, ChunkOutOfOrder, UploadBusy, UploadSuperseded.
        """
        body = Given(content)
        try:
            self.offset = services.append(self.repository, self.id, self.who, body, self.offset).offset
        except SizeInvalid as broken:
            self.offset = resume(self.repository, self.id, self.who).offset
            raise body.problem or broken from None
        return self.offset

    def finish(self, length: int, digest: str | Digest | None = None, tarsum: str | TarSum | None = None) -> Digest:
        """Make it a layer of its repository, if it has this many bytes, this digest and this TarSum, of which one is
        enough; if not, it is over. May be repeated.

        Returns the digest by which the layer is known from now on. Raises SizeInvalid, DigestInvalid, and what `write`
        raises.
        """
        summed = None if tarsum is None else TarSum.parse(str(tarsum))
        address = summed if digest is None else Digest.parse(str(digest))
        if address is None:
            raise DigestInvalid(message="a digest or a TarSum has to be given")
        return services.finish(
            self.repository, self.id, self.who, address, Given(b""), self.offset, tarsum=summed, length=length
        )

    def cancel(self) -> None:
        """End it, and free its bytes. Raises BlobUploadUnknown, UploadBusy, UploadSuperseded."""
        services.cancel(self.repository, self.id, self.who)


class Given:
    """What a caller hands over, as a body (`uploads.receiving.Body`)."""

    def __init__(self, content: Buffer | BinaryIO | Iterable[Buffer]) -> None:
        self.content = content
        self.broken = ""
        self.problem: Exception | None = None
        self._interrupted = False

    def __iter__(self) -> Iterator[Buffer]:
        try:
            for block in blocks(self.content):
                yield block
                if self._interrupted:
                    self.broken = "somebody else writes to this upload now"
                    return
        except Exception as problem:  # noqa: BLE001 - the caller's own, who gets it back
            self.broken, self.problem = repr(problem), problem

    def interrupt(self) -> None:
        """Called from another thread; counts from the next block on."""
        self._interrupted = True


def blocks(content: Buffer | BinaryIO | Iterable[Buffer]) -> Iterator[Buffer]:
    """In pieces that stay as they are: an iterable may use its buffers again."""
    if isinstance(content, Buffer):
        view = memoryview(content).cast("B")
        yield from (view[start : start + BLOCK] for start in range(0, len(view), BLOCK))
    elif hasattr(content, "read"):
        while block := cast(BinaryIO, content).read(BLOCK):
            yield from blocks(block)
    else:
        yield from (memoryview(block).tobytes() for block in content)


class StoredBytes(io.RawIOBase):
    """A blob's object, opened anew wherever reading goes on after a seek."""

    def __init__(self, layer: Layer) -> None:
        self._blob = layer.blob
        self._position = 0
        self._reader: Reader | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._blob.size}[whence]
        if start + offset < 0:
            raise ValueError(f"position {start + offset} is before the first byte")
        if self._position != start + offset:
            self._let_go()
        self._position = start + offset
        return self._position

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        if self.closed:
            raise ValueError("the layer is closed")
        if self._position >= self._blob.size:
            return 0
        block = self._open().read(len(buffer))
        if not block:  # shorter than it was when it was opened, so that opening it again says that it is damaged
            self._let_go()
            block = self._open().read(len(buffer))
        buffer[: len(block)] = block
        self._position += len(block)
        return len(block)

    def close(self) -> None:
        self._let_go()
        super().close()

    def _open(self) -> Reader:
        if self._reader is None:
            self._reader = layers.read(self._blob, self._position, self._blob.size)
        return self._reader

    def _let_go(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None
