"""Byte ranges: HTTP's (`bytes=0-9`, when pulling) and the spec's own (`0-9`, when pushing)."""

import re

from oci.errors import BlobUploadInvalid, RangeUnsatisfiable, SizeInvalid
from wire.bodies import Body

DIGITS = 19  # as many as 2**63 has


def chunk_start(header: str | None, body: Body) -> int | None:
    """Where the sent chunk begins, or None when the client streams without a Content-Range ("Pushing a blob in
    chunks"). The body is told how long it has to be. Raises BlobUploadInvalid, SizeInvalid.
    """
    if header is None:
        return None
    match = re.fullmatch(rf"([0-9]{{1,{DIGITS}}})-([0-9]{{1,{DIGITS}}})", header)
    if match is None:
        raise BlobUploadInvalid("Content-Range has to be <first byte>-<last byte>", "malformed Content-Range")
    start, length = int(match[1]), int(match[2]) - int(match[1]) + 1
    if length < 0 or body.length not in (None, length):
        raise SizeInvalid(f"Content-Range {header} does not have {body.length} bytes")
    body.expected = length
    return start


def requested(header: str | None, size: int) -> slice | None:
    """The asked part of an object of `size` bytes, or None for all of it (RFC 9110, 14.2).

    Another unit, a malformed range and several ranges all mean the whole object: an answer that no client misreads.
    Raises RangeUnsatisfiable when the part begins beyond the end.
    """
    match = re.fullmatch(r"bytes=([0-9]*)-([0-9]*)", (header or "").strip(), re.IGNORECASE)
    if match is None or match[1] == match[2] == "":
        return None
    first, last = (bounded(number, size) for number in match.groups())
    if first is None:
        start, stop = max(size - (last or 0), 0), size
    else:
        start, stop = first, size if last is None else min(last + 1, size)
    if start >= stop:
        raise RangeUnsatisfiable({"size": size})
    return slice(start, stop)


def bounded(digits: str, size: int) -> int | None:
    """The number, but `size` for one too long to be a position: int() would take its time, or refuse."""
    if not digits:
        return None
    digits = digits.lstrip("0") or "0"
    return int(digits) if len(digits) <= DIGITS else size
