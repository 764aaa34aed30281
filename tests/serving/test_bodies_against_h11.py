"""The chunk reader and h11, given the same bytes: the same payload, or both refuse. Where ours alone refuses, the line
it refused must be of one of the kinds in STRICTER."""

import re
from bisect import bisect_left
from dataclasses import dataclass

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.bodies import BodyBroken, SocketBody
from serving.chunks import LINE, TRAILERS
from tests.serving.sockets import Pieces, cut

pytestmark = pytest.mark.fuzzed

HEAD = b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"

# What h11 lets pass and we do not, because another reader of the same bytes might see another request in them.
STRICTER = {
    "whitespace after a size (not in the RFC)": re.compile(rb"[0-9a-fA-F]+[ \t]+\r\n"),
    "an extension that is not ;name or ;name=value (h11 takes anything)": re.compile(rb"(?s)[0-9a-fA-F]+;.*\n"),
    "a size of more than 15 digits (nobody sends 2**60 bytes)": re.compile(rb"(?s)[0-9a-fA-F]{16,}.*\n"),
    "a trailer folded over two lines (obsolete)": re.compile(rb"[ \t].*\r\n"),
    "a trailer that ends with a bare LF": re.compile(rb"[^\r\n]*\n"),
    "a control character in a trailer": re.compile(rb"(?s)[^:]+:.*[\x01-\x08\x0b-\x1f\x7f].*\r\n"),
    "a line that is too long, the CRLF before it counted": re.compile(rb"(?s).{%d,}" % (LINE - 2)),
}


@dataclass
class Outcome:
    payload: bytes = b""
    rest: bytes | None = None  # None: the body was refused or cut
    problem: str = ""


def ours(pieces: list[bytes], early: bytes = b"") -> Outcome:
    outcome = Outcome()
    body = SocketBody(Pieces(pieces), early, None, give_back=lambda rest: setattr(outcome, "rest", rest))
    try:
        for block in body.blocks(60):
            outcome.payload += block
    except BodyBroken as broken:
        outcome.problem = str(broken)
    assert body.finished is (outcome.rest is not None) is not body.failed
    return outcome


def of_h11(stream: bytes) -> Outcome:
    connection, outcome = h11.Connection(h11.SERVER), Outcome()
    connection.receive_data(HEAD)
    connection.next_event()
    connection.receive_data(stream)
    try:
        while True:
            match connection.next_event():
                case h11.Data() as part:
                    outcome.payload += part.data
                case h11.EndOfMessage():
                    outcome.rest, _ = connection.trailing_data
                    return outcome
                case h11.NEED_DATA:
                    connection.receive_data(b"")
    except h11.RemoteProtocolError as refused:
        outcome.problem = str(refused)
    return outcome


def refused_line(stream: bytes) -> bytes:
    """As much of the line that our reader refuses as it has to see for that."""
    end = bisect_left(range(len(stream)), True, key=lambda size: ours([stream[:size]]).problem.startswith("malformed"))
    return stream[stream.rfind(b"\n", 0, end - 1) + 1 : end]


TOKEN = st.text("abcXYZ019!#$%&'*+-.^_`|~", min_size=1, max_size=6).map(str.encode)
QUOTED = st.text('ab;=, \t\\"é', max_size=6).map(lambda text: re.sub(rb'(["\\])', rb"\\\1", text.encode("latin-1")))
VALUE = st.just(b"") | TOKEN.map(b"=%b".__mod__) | QUOTED.map(b'="%b"'.__mod__)
EXTENSION = st.tuples(TOKEN, VALUE).map(b";%b%b".__mod__)
TRAILER = st.tuples(TOKEN, st.sampled_from([b"", b" v", b"a: b", b"\xe9"])).map(b"%b:%b\r\n".__mod__)
WORDS = [b"\r\n", b"\n\n", b"\r\n ", b"\r\n\r\n", b"0x", b"5\r\n", b"0\r\n\r\n", b"0" * 16, b"a" * LINE]
SNIPPETS = st.sampled_from('\r\n0fg;=" \t-+_:\0\x0b\x7fé').map(lambda char: char.encode("latin-1")) | st.sampled_from(
    WORDS
)


@st.composite
def chunk(draw: st.DrawFn, payload: bytes) -> bytes:
    size = draw(st.sampled_from([b"%x", b"%X", b"%05x"])) % len(payload)
    extensions = b"".join(draw(st.lists(EXTENSION, max_size=2)))
    return size + extensions + b"\r\n" + payload + (b"\r\n" if payload else b"")


@st.composite
def chunked(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A well-formed chunked body, and its payload."""
    payloads = draw(st.lists(st.binary(min_size=1, max_size=40), max_size=5))
    frames = [draw(chunk(payload)) for payload in [*payloads, b""]]
    trailers = b"".join(draw(st.lists(TRAILER, max_size=2)))
    return b"".join(frames) + trailers + b"\r\n", b"".join(payloads)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Something that was a chunked body once, or nearly."""
    stream = bytearray(draw(chunked())[0])
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(stream)))
        stop = min(len(stream), start + draw(st.sampled_from([0, 0, 1, 2, 5])))
        stream[start:stop] = draw(st.just(b"") | SNIPPETS | st.binary(max_size=3))
    return bytes(stream)


@given(body=chunked(), rest=st.binary(max_size=20), size=st.integers(1, 100), early=st.integers(0, 100))
def test_a_well_formed_body_is_read_however_it_is_split(body, rest, size, early):
    stream, payload = body[0] + rest, body[1]
    received = ours(cut(stream[early:], size), stream[:early])
    assert received.payload == payload
    assert received.rest is not None
    assert rest.startswith(received.rest)  # the rest of which has not been received yet
    assert of_h11(stream) == Outcome(payload, rest)


@settings(max_examples=15 * settings.default.max_examples, deadline=None)  # 1500, unless a profile asks for more
@given(stream=mutated(), size=st.integers(1, 100), early=st.integers(0, 100))
def test_other_bytes_mean_to_us_what_they_mean_to_h11_or_are_refused(stream, size, early):
    received, expected = ours(cut(stream[early:], size), stream[:early]), of_h11(stream)
    if received.rest is not None:
        assert expected.payload == received.payload
        assert expected.rest is not None
        assert expected.rest.startswith(received.rest)
    elif received.problem.startswith(("malformed", "trailers")) and expected.rest is not None:
        assert expected.payload.startswith(received.payload)
        line = refused_line(stream)
        assert [kind for kind, pattern in STRICTER.items() if pattern.fullmatch(line)], line
    else:
        assert expected.rest is None
        assert expected.payload.startswith(received.payload)


@given(stream=mutated(), size=st.integers(1, 100))
def test_a_split_changes_nothing(stream, size):
    whole, split = ours([stream]), ours(cut(stream, size))
    assert (split.payload, split.rest is None) == (whole.payload, whole.rest is None)


def test_trailers_without_end_are_refused():
    stream = b"0\r\n" + b"a: b\r\n" * (TRAILERS // 6 + 1)
    assert ours(cut(stream, 1000)).problem == f"trailers of more than {TRAILERS} bytes"
