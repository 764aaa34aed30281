"""What the bytes of a layer hold: how they are compressed, and the tar that comes out."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

from oci.blocks import Blocks, Truncated
from oci.compression import Corrupt, TooWide, compression, uncompressed
from oci.numbers import Malformed
from oci.tar import BLOCK, entries, may_begin
from oci.tarsum import Sums

Piece = TypeVar("Piece", bound=bytes | memoryview)

STORED = 1 << 16  # bytes that are read at a time
TAR, OTHER, BROKEN, TOO_MUCH = "tar", "other", "broken", "too much"


class TooMuch(Exception):
    """Looking on would cost more than it may. The argument says what there is too much of."""


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Inside:
    """`contents` is "tar", "other" (no tar), "broken" (ends early, or is malformed) or "too much" (more than may be
    looked into); `remark` says what was seen where it is not simply a tar.

    Sums and numbers are those of the whole, so they are there only where all of it was read and understood: of a tar
    all of them; of something else, if it is compressed, the diffID and the size.
    """

    contents: str
    remark: str = ""
    compression: str = ""  # "none", "gzip", "zstd"
    diff_id: str = ""  # digest of the uncompressed bytes
    tarsum: str = ""  # of the version that was asked for
    files: int | None = None  # regular ones: no directories, no links; whiteouts (`.wh.…`) are files in a tar
    uncompressed_size: int | None = None  # bytes


def inside(stream: Readable, version: int = 1, patience: Callable[[], None] = lambda: None) -> Inside:
    """Read the stream once, to its end; or less where its beginning is neither compressed nor a tar.

    `version` is the TarSum's. `patience` is called again and again and may end it all by TooMuch. Whatever the bytes
    are, the answer is an Inside; only what the stream and `patience` raise besides is raised.
    """
    look = Look(stream, version, patience)
    try:
        return look.at_all()
    except Truncated as where:
        return look.so_far(BROKEN, f"ends within {where}")
    except (Malformed, Corrupt) as what:
        return look.so_far(BROKEN, str(what))
    except (TooMuch, TooWide) as what:
        return look.so_far(TOO_MUCH, str(what))
    except MemoryError:
        return look.so_far(TOO_MUCH, "more than fits into memory")


class Look:
    """One reading of a stream, and what was seen until now."""

    def __init__(self, stream: Readable, version: int, patience: Callable[[], None]) -> None:
        self._stream, self._patience = stream, patience
        self._stored = self._files = 0
        self._sums = Sums(version)
        self._first = stream.read(STORED)
        self._compression = compression(self._first)
        self._blocks = Blocks(self._patiently(uncompressed(self._read(), self._compression)))

    def at_all(self) -> Inside:
        if not may_begin(self._blocks.peek(BLOCK)):
            return self._no_tar()
        for entry, content in entries(self._blocks):
            self._sums.add(entry, self._patiently(content))
            self._files += entry.is_regular
        marked = self._blocks.ended
        for piece in self._blocks.rest():
            if not self._sums and piece.tobytes().strip(b"\0"):
                return self._no_tar()  # a disk image, say: it begins as an empty tar does
        return Inside(
            contents=TAR,
            remark="" if marked else "the two blocks of zeros that end a tar are missing",
            compression=self._compression,
            diff_id=self._blocks.digest,
            tarsum=str(self._sums.tarsum),
            files=self._files,
            uncompressed_size=self._blocks.size,
        )

    def _no_tar(self) -> Inside:
        """What is stored uncompressed is not read to its end: the digest of its bytes is known."""
        if self._compression == "none":
            return Inside(OTHER, compression="none")
        for _ in self._blocks.rest():
            pass
        return Inside(
            OTHER,
            compression=self._compression,
            diff_id=self._blocks.digest,
            uncompressed_size=self._blocks.size,
        )

    def so_far(self, contents: str, why: str) -> Inside:
        came_out = f"of {self._stored:,} bytes that were read {self._blocks.size:,} came out"
        return Inside(contents, f"{why}, after {len(self._sums):,} entries; {came_out}", self._compression)

    def _read(self) -> Iterator[bytes]:
        block = self._first
        while block:
            self._stored += len(block)
            self._patience()
            yield block
            block = self._stream.read(STORED)

    def _patiently(self, blocks: Iterator[Piece]) -> Iterator[Piece]:
        for block in blocks:
            self._patience()
            yield block
