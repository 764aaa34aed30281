"""What the registry asks of the place where blob bytes live. Knows keys and bytes: no OCI, HTTP or database.

An object is named once (its key), written once and never renamed; a key is never used again. So a late delete can
never meet a live blob. Whether an object is a blob, and how much of it counts, is known to the database alone.
"""

from contextlib import AbstractContextManager
from typing import IO, Protocol, cast

from django.core.files.storage import storages

Buffer = bytes | bytearray | memoryview


class StorageError(Exception):
    """What a driver reports besides the operating system's own errors. The argument is the key."""


class StorageAway(StorageError):
    """The place of the bytes is not there now, a disk that is not mounted: it tells nothing about the object."""


class ObjectMissing(StorageError):
    """There is no object under this key."""


class ObjectDamaged(StorageError):
    """The object holds fewer bytes than were stored."""


class ObjectBusy(StorageError):
    """Another writer holds the object and did not let go in time."""


class Writer(Protocol):
    """An object being written, by one writer at a time: holding a Writer is holding the fence."""

    key: str
    size: int  # bytes that count: what `resume` was told and what was appended since

    def resume(self, size: int) -> None:
        """Go on after the first `size` bytes; what a dead writer left beyond them is gone. Raises ObjectDamaged."""

    def append(self, block: Buffer) -> None: ...

    def sync(self) -> None:
        """Return when everything appended is on stable storage."""

    def complete(self) -> None:
        """Make the object readable, durably. Repeatable."""


class Reader(Protocol):
    """A part of an object. One that is a plain file also has `fileno()`, which stands where the part begins, so that a
    server can use sendfile; any other has none, or one that raises OSError, as those of `io` do."""

    def read(self, size: int = -1, /) -> bytes: ...

    def close(self) -> None: ...


def descriptor_of(reader: Reader) -> int | None:
    """Of a reader that is a plain file. `serving.files` asks the same way."""
    try:
        return int(cast(IO[bytes], reader).fileno())
    except (AttributeError, OSError):
        return None


class StorageDriver(Protocol):
    """Every method may raise StorageAway, which a driver must tell from an absent object, and OSError."""

    def prepare(self) -> None:
        """Make the place where bytes will live, durably and recognizably. Repeatable; never while it is away."""

    def begin(self, key: str) -> None:
        """Create an empty object. The only call that creates; raises FileExistsError for a key used before."""

    def writer(self, key: str, patience: float = 10) -> AbstractContextManager[Writer]:
        """The one writer of an unfinished object. Waits `patience` seconds for another to end; a dead one has ended
        already. Raises ObjectMissing, ObjectBusy."""

    def read(self, key: str, start: int, stop: int) -> Reader:
        """Bytes `start` to `stop` (excluded). Raises ObjectMissing, ObjectDamaged where `stop` lies beyond the end."""

    def holds(self, key: str, size: int) -> bool:
        """Whether an object of exactly this size is there."""

    def redirect(self, key: str) -> str | None:
        """A URL from which a client may fetch the object itself, or None where the server has to send it."""

    def delete(self, key: str) -> None:
        """Free the bytes, also of an unfinished object. Nothing there is success; any other failure raises."""


def blobs() -> StorageDriver:
    return cast(StorageDriver, storages["blobs"])
