"""The ways in which layers are compressed (image-spec, "Image Layer Filesystem Changeset"), undone block by block.

The input is hostile: a few bytes may stand for gigabytes. What is held at any time is bounded by the sizes below.
"""

import zlib
from collections.abc import Iterator

import zstandard

from oci.blocks import Truncated

OUTPUT = 1 << 18  # bytes of one block of what comes out
WINDOW = 1 << 27  # bytes that a zstd frame may have us keep: what `zstd --long` and `--ultra -22` ask for
PIECE = 512  # bytes of zstd given in at a time; each 4 of them may stand for 128 KiB


class Corrupt(Exception):
    """The compressed bytes are not what their beginning promised. The argument says how."""


class TooWide(Exception):
    """Uncompressing needs more memory than there is for it."""


def compression(beginning: bytes) -> str:
    """ "gzip", "zstd" or "none", by the first four bytes."""
    if beginning[:3] == b"\x1f\x8b\x08":
        return "gzip"
    if beginning[:4] == b"\x28\xb5\x2f\xfd" or (beginning[1:4] == b"\x2a\x4d\x18" and beginning[0] >> 4 == 5):
        return "zstd"
    return "none"


def uncompressed(blocks: Iterator[bytes], by: str) -> Iterator[bytes]:
    """Raises Truncated, Corrupt, TooWide."""
    if by == "none":
        return blocks
    return gunzip(blocks) if by == "gzip" else unzstd(blocks)


def gunzip(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """All members (RFC 1952, section 2.2); zeros after a member are padding, as gzip takes them."""
    member = zlib.decompressobj(wbits=31)
    for block in blocks:
        while block:
            if member.eof:
                block = block.lstrip(b"\0")
                if not block:
                    break
                member = zlib.decompressobj(wbits=31)
            yield inflate(member, block)
            block = member.unused_data if member.eof else member.unconsumed_tail
    while not member.eof:
        last = inflate(member, b"")
        if not last:
            raise Truncated("a gzip member")
        yield last


def inflate(member: "zlib._Decompress", block: bytes) -> bytes:
    try:
        return member.decompress(block, OUTPUT)
    except zlib.error as problem:
        raise Corrupt(f"gzip: {problem}") from None


def unzstd(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """All frames; of those that are to be skipped (RFC 8878, section 3.1.2) nothing comes out."""
    decompressor = zstandard.ZstdDecompressor(max_window_size=WINDOW)
    frame = None
    for block in blocks:
        for start in range(0, len(block), PIECE):
            piece = block[start : start + PIECE]
            while piece:
                frame = frame or decompressor.decompressobj()
                yield unpack(frame, piece)
                piece, frame = (frame.unused_data, None) if frame.eof else (b"", frame)
    if frame is not None:
        raise Truncated("a zstd frame")


def unpack(frame: "zstandard.ZstdDecompressionObj", piece: bytes) -> bytes:
    try:
        return frame.decompress(piece)
    except zstandard.ZstdError as problem:
        if "memory" in str(problem):
            raise TooWide(f"zstd: {problem}") from None
        raise Corrupt(f"zstd: {problem}") from None
