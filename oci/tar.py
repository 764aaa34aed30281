"""The entries of a tar, as Go's `archive/tar` reads them: that reader decided what TarSum is, and its leniency counts.

Understands ustar, pax, GNU (long names, big numbers), star and the tar of Unix V7. The input is hostile: what is kept
of it at any time is one entry and at most 1 MiB of its extended header.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from oci import sparse
from oci.blocks import Blocks
from oci.numbers import LONGEST, Malformed, decimal, number, octal, seconds, text
from oci.pax import attributes, parse_records

BLOCK = 512
ZEROS = bytes(BLOCK)
REGULAR = frozenset(b"07S")  # also those that are to lie in one piece, and GNU's with holes
HEADER_ONLY = frozenset(b"123456")  # links, devices, directories: what they say of their size is no content
NO_TIME = -62135596800  # what Go takes for the time of an entry that has none: the year 1


@dataclass(slots=True)
class Entry:
    """Names are bytes: nothing makes them UTF-8. `size` is what the entry says, `stored` what follows it."""

    name: bytes
    type: bytes
    mode: int = 0
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime: int = NO_TIME  # in seconds
    linkname: bytes = b""
    uname: bytes = b""
    gname: bytes = b""
    devmajor: int = 0
    devminor: int = 0
    xattrs: dict[bytes, bytes] = field(default_factory=dict)

    @property
    def stored(self) -> int:
        return 0 if self.type[0] in HEADER_ONLY else self.size

    @property
    def is_regular(self) -> bool:
        """A regular file: no directory, no device, and no link to another, be it a symbolic or a hard one."""
        return self.type[0] in REGULAR

    @property
    def is_global(self) -> bool:
        """A header for all that follow: it becomes nothing in a file system."""
        return self.type == b"g"


def entries(blocks: Blocks) -> Iterator[tuple[Entry, Iterator[bytes | memoryview]]]:
    """Each entry and its content, which has to be read before the next is asked for. Raises Malformed, and Truncated
    (`oci.blocks`) where the tar ends within an entry."""
    extended: dict[bytes, bytes] = {}
    long_names: dict[bytes, bytes] = {}
    while header := next_header(blocks):
        entry = parse_header(header)
        if entry.type in b"xgLK":
            special = read_special(blocks, entry)
            if entry.type in b"LK":
                long_names[entry.type] = text(special)
                continue
            extended = parse_records(special)
            if entry.type == b"x":
                continue
            entry = Entry(extended.get(b"path") or entry.name, b"g", xattrs=attributes(extended))
        else:
            extend(entry, extended)
            entry.name = long_names.get(b"L") or entry.name
            entry.linkname = long_names.get(b"K") or entry.linkname
            if entry.type == b"\0":
                entry.type = b"5" if entry.name.endswith(b"/") else b"0"
        stored = 0 if entry.is_global else entry.stored
        yield entry, content(blocks, entry, header, extended)
        extended, long_names = {}, {}
        if not entry.is_global and not skip_padding(blocks, stored):
            return


def content(blocks: Blocks, entry: Entry, header: bytes, records: dict[bytes, bytes]) -> Iterator[bytes | memoryview]:
    """What follows the header; of a sparse file with its holes, which are part of its size then."""
    stored = 0 if entry.is_global else entry.stored
    found: tuple[sparse.Regions, int] | None
    if entry.type == b"S":
        regions, entry.size = sparse.old_map(blocks, header)
    elif found := None if entry.is_global else sparse.extended_map(blocks, records, stored):
        regions, mapped = found
        stored -= mapped
        entry.name = records.get(b"GNU.sparse.name") or entry.name
        size = records.get(b"GNU.sparse.size") or records.get(b"GNU.sparse.realsize")
        entry.size = decimal(size) if size else entry.size
    else:
        return blocks.exactly(stored)
    if entry.type[0] in HEADER_ONLY:
        raise Malformed("a sparse file that is no file")
    sparse.check(regions, entry.size, stored)
    return sparse.with_holes(blocks, regions, entry.size)


def may_begin(block: bytes) -> bool:
    """Whether the first 512 bytes may be a tar's. There is a tar of nothing at all, too."""
    if block in (b"", ZEROS):
        return True
    try:
        check_sum(block)
    except Malformed:
        return False
    return len(block) == BLOCK


def next_header(blocks: Blocks) -> bytes:
    """The block of the next header, or nothing where the tar ends: two blocks of zeros, or no bytes any more."""
    block = blocks.take(BLOCK)
    if block == ZEROS:
        block = blocks.take(BLOCK)
        if block == ZEROS:
            blocks.ended = True
            return b""
        if block:
            raise Malformed("one block of zeros, and then something else")
    if 0 < len(block) < BLOCK:
        raise Malformed("the last block is no whole one")
    return block


def skip_padding(blocks: Blocks, size: int) -> bool:
    """False where the tar ends before the padding does, which is no error."""
    padding = -size % BLOCK
    return len(blocks.take(padding)) == padding


def read_special(blocks: Blocks, entry: Entry) -> bytes:
    if not 0 <= entry.size <= LONGEST:
        raise Malformed(f"an extended header of {entry.size} bytes")
    content = b"".join(blocks.exactly(entry.size))
    skip_padding(blocks, entry.size)
    return content


def parse_header(block: bytes) -> Entry:
    """Raises Malformed."""
    check_sum(block)
    entry = Entry(
        name=text(block[:100]),
        type=block[156:157],
        mode=number(block[100:108]),
        uid=number(block[108:116]),
        gid=number(block[116:124]),
        size=number(block[124:136]),
        mtime=number(block[136:148]),
        linkname=text(block[157:257]),
    )
    magic = block[257:265]
    if not magic.startswith(b"ustar\0") and magic != b"ustar  \0":  # Unix V7: no more than that
        return entry
    entry.uname, entry.gname = text(block[265:297]), text(block[297:329])
    entry.devmajor, entry.devminor = number(block[329:337]), number(block[337:345])
    if directory := prefix(block, magic):
        entry.name = directory + b"/" + entry.name
    if entry.stored < 0:
        raise Malformed("a negative size")
    return entry


def check_sum(block: bytes) -> None:
    """Over the header with spaces for the sum itself; there were tars that took bytes for signed ones."""
    expected = octal(block[148:156])
    unsigned = sum(block) - sum(block[148:156]) + 8 * 0x20
    if expected != unsigned:
        signed = unsigned - 256 * sum(byte > 127 for byte in block[:148] + block[156:])
        if expected != signed:
            raise Malformed("a header's checksum is wrong")


def prefix(block: bytes, magic: bytes) -> bytes:
    """The directory of a name too long for its field. GNU's headers have times in that place; Go wrote names there all
    the same until 2017, and with it Docker, so what is no time and is ASCII is one of those."""
    if magic.startswith(b"ustar\0"):
        if block[508:] != b"tar\0":
            return text(block[345:500])
        number(block[476:488]), number(block[488:500])  # star's times, which have to be numbers
        return text(block[345:476])
    try:
        for field_ in (block[345:357], block[357:369]):
            if field_[0]:
                number(field_)
    except Malformed:
        misplaced = text(block[345:500])
        return misplaced if misplaced.isascii() else b""
    return b""


def extend(entry: Entry, records: dict[bytes, bytes]) -> None:
    """What the extended header says counts for more; a value that is empty says nothing. Raises Malformed."""
    if not records:
        return
    entry.name = records.get(b"path") or entry.name
    entry.linkname = records.get(b"linkpath") or entry.linkname
    entry.uname = records.get(b"uname") or entry.uname
    entry.gname = records.get(b"gname") or entry.gname
    for key in ("uid", "gid", "size"):
        if value := records.get(key.encode()):
            setattr(entry, key, decimal(value))
    times = {key: seconds(value) for key in (b"atime", b"ctime", b"mtime") if (value := records.get(key))}
    entry.mtime = times.get(b"mtime", entry.mtime)
    entry.xattrs = attributes(records)
    if entry.stored < 0:
        raise Malformed("a negative size")
