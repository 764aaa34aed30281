"""Files with holes in a tar: what GNU tar has come to write for them, in four ways, of which `archive/tar` reads all.

In the old way the map is in the header and in blocks behind it; of those with extended headers 0.0 and 0.1 have it in
the header, 1.0 in front of the content. A hole costs nothing and counts as zeros, be it of 8 EiB: who reads it minds
the time.
"""

from collections.abc import Iterator

from oci.blocks import Blocks
from oci.numbers import LONGEST, Malformed, decimal, number

BLOCK = 512
ENTRY = 24  # bytes: an offset and a length of 12 each
ZEROS = bytes(1 << 18)
PREFIX = b"GNU.sparse."

Regions = list[tuple[int, int]]  # where data are: offset and length, in bytes


def old_map(blocks: Blocks, header: bytes) -> tuple[Regions, int]:
    """The regions, and the size with holes. Raises Malformed."""
    if header[257:265] != b"ustar  \0":
        raise Malformed("a sparse file that is not GNU's")
    regions: Regions = []
    entries, more = header[386:482], header[482]
    for _ in range(LONGEST // BLOCK):
        for start in range(0, len(entries), ENTRY):
            if entries[start] == 0:
                break
            offset, length = entries[start : start + 12], entries[start + 12 : start + 24]
            regions.append((number(offset), number(length)))
        if not more:
            return regions, number(header[483:495])
        block = b"".join(blocks.exactly(BLOCK))
        entries, more = block[:504], block[504]
    raise Malformed("a sparse file's map without end")


def extended_map(blocks: Blocks, records: dict[bytes, bytes], stored: int) -> tuple[Regions, int] | None:
    """The regions, and how much of the `stored` content was the map; None: no sparse file. Raises Malformed."""
    version = records.get(PREFIX + b"major", b""), records.get(PREFIX + b"minor", b"")
    in_header = records.get(PREFIX + b"map", b"")
    if version == (b"1", b"0"):
        return map_before_content(blocks, stored)
    if version in ((b"0", b"0"), (b"0", b"1")) or (version == (b"", b"") and in_header):
        return pairs(decimal(records.get(PREFIX + b"numblocks", b"")), in_header.split(b",") if in_header else []), 0
    return None


def map_before_content(blocks: Blocks, stored: int) -> tuple[Regions, int]:
    text = bytearray()
    lines, wanted, count = 0, 1, -1
    while lines < wanted:
        if len(text) + BLOCK > min(stored, LONGEST):
            raise Malformed("a sparse file's map without end")
        block = b"".join(blocks.exactly(BLOCK))
        text += block
        lines += block.count(b"\n")
        if lines and count < 0:
            count = decimal(bytes(text[: text.index(b"\n")]))
            wanted = 1 + 2 * count
    return pairs(count, bytes(text).split(b"\n")[1:wanted]), len(text)


def pairs(count: int, numbers: list[bytes]) -> Regions:
    if count < 0 or len(numbers) != 2 * count:
        raise Malformed("a sparse file's map is not as long as it says")
    values = list(map(decimal, numbers))
    return list(zip(values[::2], values[1::2], strict=True))


def check(regions: Regions, size: int, stored: int) -> None:
    """In order, within the file, and as many data as there are. Raises Malformed."""
    end = 0
    for offset, length in regions:
        if length < 0 or offset < end:
            raise Malformed("a sparse file's map goes back")
        end = offset + length
    if end > size or size < 0 or sum(length for _, length in regions) != stored:
        raise Malformed("a sparse file's map is not that of its content")


def with_holes(blocks: Blocks, regions: Regions, size: int) -> Iterator[bytes | memoryview]:
    at = 0
    for offset, length in regions:
        yield from zeros(offset - at)
        yield from blocks.exactly(length)
        at = offset + length
    yield from zeros(size - at)


def zeros(size: int) -> Iterator[bytes]:
    while size > 0:
        yield ZEROS[:size]
        size -= len(ZEROS)
