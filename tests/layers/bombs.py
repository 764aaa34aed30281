"""Layers that are made to hurt whoever looks into them. Each is at most 10 MB."""

import tarfile
import zlib
from collections.abc import Iterable, Iterator

import zstandard

from oci.contents import BROKEN, TAR, TOO_MUCH

TEN_GIB = 10 << 30
END = bytes(1024)


def gzipped(parts: Iterable[bytes], level: int = 9) -> bytes:
    writer = zlib.compressobj(level, wbits=31)
    return b"".join([*map(writer.compress, parts), writer.flush()])


def header(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0) -> bytes:
    member = tarfile.TarInfo(name)
    member.type, member.size = kind, size
    return member.tobuf(tarfile.USTAR_FORMAT)


def extended(records: bytes) -> bytes:
    return header("extended", b"x", len(records)) + records + bytes(-len(records) % 512)


def record(key: bytes, value: bytes) -> bytes:
    length = len(key) + len(value) + 3
    length += len(str(length + len(str(length))))
    return b"%d %s=%s\n" % (length, key, value)


def zeros_in_gzip() -> bytes:
    member = gzipped([bytes(32 << 20)])
    return member * (TEN_GIB >> 25)


def zeros_in_zstd() -> bytes:
    return zstandard.compress(bytes(128 << 20)) * (TEN_GIB >> 27)


def a_million_empty_files() -> bytes:
    def headers() -> Iterator[bytes]:
        made = bytearray(header("0" * 16))
        for number in range(10**6):
            made[:16] = b"%016d" % number
            made[148:156] = b" " * 8
            made[148:156] = b"%06o\0 " % sum(made)
            yield bytes(made)
        yield END

    return gzipped(headers(), level=1)


def long_names() -> bytes:
    def entries() -> Iterator[bytes]:
        for number in range(20_000):
            yield extended(record(b"path", b"%05d/" % number + b"n/" * 32765)) + header("short")
        yield END

    return gzipped(entries())


def endless_extended_headers() -> bytes:
    """Of which each replaces the one before, and none describes anything."""
    full = extended(record(b"a", b"b") * 170_000)
    member = gzipped([full] * 4)
    return member * ((10 << 20) // len(member))


def one_extended_header_without_end() -> bytes:
    return gzipped([header("extended", b"x", 4 << 30), *([bytes(1 << 20)] * 1024)])


def empty_members() -> bytes:
    return gzipped([]) * 500_000


def empty_frames() -> bytes:
    return zstandard.compress(b"") * 1_000_000


def skipped_frames() -> bytes:
    return b"\x50\x2a\x4d\x18\0\0\0\0" * 1_250_000


def a_wide_window() -> bytes:
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=27)
    writer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    block = bytes(range(256)) * 4096
    parts = [header("wide", size=300 << 20), *([block] * 300), END]
    return b"".join([*map(writer.compress, parts), writer.flush()])


# What each of them is found to be: some are harmless once one looks, and some take more time than there is.
BOMBS = {
    zeros_in_gzip: (TAR, TOO_MUCH),
    zeros_in_zstd: (TAR, TOO_MUCH),
    a_million_empty_files: (TAR,),
    long_names: (TAR, TOO_MUCH),
    endless_extended_headers: (TAR, TOO_MUCH),
    one_extended_header_without_end: (BROKEN,),
    empty_members: (TAR,),
    empty_frames: (TAR,),
    skipped_frames: (TAR,),
    a_wide_window: (TAR,),
}
