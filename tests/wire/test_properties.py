"""Ranges and bodies for whatever input there may be."""

import io
import re

import pytest
from django.test import RequestFactory
from gunicorn.http.errors import ChunkMissingTerminator, InvalidChunkSize, NoMoreData
from hypothesis import given
from hypothesis import strategies as st

from oci.errors import BlobUploadInvalid, RangeUnsatisfiable, RequestInvalid, SizeInvalid
from serving.inputs import BLOCK
from wire.bodies import Body
from wire.ranges import chunk_start, requested

sizes = st.integers(0, 2**63 - 1)
positions = st.integers(0, 2**64) | st.integers(10**4990, 10**5000)
headers = st.text(alphabet="0123456789-,=bytes \t\0x+\u0661\u00b2", max_size=40) | st.text(max_size=40)


def text(number):
    """Decimal digits, also where int() and str() refuse so many of them."""
    return str(number) if number < 10**100 else "1" + "0" * 4995


def body(length=None):
    request = RequestFactory().generic("PATCH", "/")
    request.META |= {"CONTENT_LENGTH": str(length)} if length is not None else {"HTTP_TRANSFER_ENCODING": "chunked"}
    return Body(request)


# --- Ranges of a blob -------------------------------------------------------------------------------------------------


@given(header=headers | st.none(), size=sizes)
def test_any_header_gives_a_part_of_the_blob_or_all_of_it_or_416(header, size):
    try:
        part = requested(header, size)
    except RangeUnsatisfiable:
        assert re.fullmatch(r"\s*bytes=[0-9]*-[0-9]*\s*", header, re.IGNORECASE)
        return
    if part is not None:
        assert 0 <= part.start < part.stop <= size


@given(first=positions, last=positions, size=sizes)
def test_a_range_of_two_positions_is_cut_at_the_end(first, last, size):
    header = f"bytes={text(first)}-{text(last)}"
    if first >= size or last < first:
        with pytest.raises(RangeUnsatisfiable):
            requested(header, size)
    else:
        assert requested(header, size) == slice(first, min(last + 1, size))


@given(first=positions, size=sizes)
def test_an_open_range_goes_to_the_end(first, size):
    if first >= size:
        with pytest.raises(RangeUnsatisfiable):
            requested(f"bytes={text(first)}-", size)
    else:
        assert requested(f"bytes={text(first)}-", size) == slice(first, size)


@given(count=positions, size=sizes)
def test_a_suffix_range_is_as_much_of_the_end_as_there_is(count, size):
    if count == 0 or size == 0:
        with pytest.raises(RangeUnsatisfiable):
            requested(f"bytes=-{text(count)}", size)
    else:
        assert requested(f"bytes=-{text(count)}", size) == slice(max(size - count, 0), size)


# --- Content-Range of a chunk -----------------------------------------------------------------------------------------


@given(start=st.integers(0, 2**62), length=st.integers(1, 2**61), announced=st.booleans())
def test_a_content_range_gives_its_start_and_the_length_that_has_to_come(start, length, announced):
    chunk = body(length if announced else None)
    assert chunk_start(f"{start}-{start + length - 1}", chunk) == start
    assert chunk.expected == length


@given(start=st.integers(0, 2**62), length=st.integers(0, 2**61), announced=st.integers(0, 2**61))
def test_a_content_range_has_to_have_the_length_of_the_body(start, length, announced):
    chunk = body(announced)
    header = f"{start}-{start + length - 1}"
    if length == announced and start + length > 0:
        assert chunk_start(header, chunk) == start
    else:
        with pytest.raises((SizeInvalid, BlobUploadInvalid)):
            chunk_start(header, chunk)


@given(header=headers, length=st.none() | sizes)
def test_any_other_content_range_is_refused(header, length):
    try:
        start = chunk_start(header, body(length))
    except (SizeInvalid, BlobUploadInvalid):
        return
    assert re.fullmatch(r"[0-9]{1,19}-[0-9]{1,19}", header)
    assert start == int(header.partition("-")[0])


@given(first=positions, last=positions)
def test_numbers_of_any_length_are_looked_at_in_no_time(first, last):
    try:
        start = chunk_start(f"{text(first)}-{text(last)}", body())
    except (SizeInvalid, BlobUploadInvalid):
        return
    assert start == first


def test_without_a_content_range_nothing_is_known():
    assert chunk_start(None, body(5)) is None
    assert chunk_start(None, body()) is None


# --- Bodies -----------------------------------------------------------------------------------------------------------


class Arriving:
    """Stands for `wsgi.input`: gives the pieces, at most as much as asked for, then ends or fails."""

    def __init__(self, pieces, failure=None):
        self.pieces, self.failure, self.asked = list(pieces), failure, []

    def read(self, size):
        assert size > 0
        self.asked.append(size)
        if not self.pieces:
            if self.failure:
                raise self.failure
            return b""
        piece = self.pieces.pop(0)
        if len(piece) > size:
            self.pieces.insert(0, piece[size:])
        return piece[:size]


pieces = st.lists(st.binary(min_size=1, max_size=50), max_size=8)
failures = st.sampled_from(
    [None, TimeoutError(), OSError("cut"), NoMoreData(), InvalidChunkSize(b"x"), ChunkMissingTerminator(b"")]
)


def arriving(source, length=None):
    chunk = body(length)
    chunk._source._input = source
    return chunk


@given(pieces=pieces, failure=failures)
def test_a_body_in_chunks_gives_all_that_came_and_says_how_it_ended(pieces, failure):
    chunk = arriving(Arriving(pieces, failure))
    assert b"".join(chunk) == b"".join(pieces)
    assert chunk.received == sum(map(len, pieces))
    assert bool(chunk.broken) == (failure is not None)


@given(pieces=pieces, failure=failures, length=st.integers(0, 500))
def test_a_body_of_known_length_is_never_read_beyond_it(pieces, failure, length):
    sent = b"".join(pieces)
    source = Arriving(pieces, failure)
    chunk = arriving(source, length)
    assert b"".join(chunk) == sent[:length]
    assert bool(chunk.broken) == (len(sent) < length)
    assert max(source.asked, default=0) <= BLOCK


@given(pieces=pieces, failure=failures, expected=st.integers(0, 500))
def test_a_body_in_chunks_that_announced_its_length_has_to_keep_it(pieces, failure, expected):
    sent = b"".join(pieces)
    chunk = arriving(Arriving(pieces, failure))
    chunk.expected = expected
    if len(sent) > expected:
        with pytest.raises(SizeInvalid):
            list(chunk)
    else:
        assert b"".join(chunk) == sent
        assert bool(chunk.broken) == (len(sent) < expected or failure is not None)


@given(pieces=pieces, failure=failures, limit=st.integers(0, 300), length=st.none() | st.integers(0, 400))
def test_a_whole_body_is_read_whole_or_not_at_all(pieces, failure, limit, length):
    sent = b"".join(pieces)
    chunk = arriving(Arriving(pieces, failure), length)
    whole = sent if length is None else sent[:length]
    cut = failure is not None if length is None else len(sent) < length
    if (length is not None and length > limit) or len(whole) > limit:
        assert chunk.read(limit) is None
    elif cut:
        with pytest.raises(SizeInvalid):
            chunk.read(limit)
    else:
        assert chunk.read(limit) == whole


@given(
    coding=st.sampled_from(["gzip, chunked", "gzip", "identity", "chunked, chunked"]) | st.text("abc,; ", min_size=1)
)
def test_another_transfer_coding_than_chunks_is_refused(coding):
    request = RequestFactory().generic("PATCH", "/")
    request.META |= {"HTTP_TRANSFER_ENCODING": coding, "wsgi.input": io.BytesIO(b"x")}
    if coding.strip() == "":
        assert Body(request).length == 0
        return
    with pytest.raises(RequestInvalid):
        Body(request)
