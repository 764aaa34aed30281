"""Request bodies on sockets: what is yielded, what is left for the next request, and what ends a bad sender."""

import itertools
import socket
import struct
import threading
import time
import tracemalloc
from contextlib import suppress

import pytest

from serving.bodies import BLOCK, BUFFERS, SMALL, BodyBroken, SocketBody
from tests.serving.sockets import Pieces, connected, cut

STALL = 0.2  # seconds
NOISE = bytes(range(251)) * 41 * 1024  # about 10 MiB, of a period that no block has


class Reading:
    """A body under way, and what the server gets of it."""

    def __init__(self, sock, length, early=b""):
        self.rest: list[bytes] = []
        self.body = SocketBody(sock, early, length, give_back=self.rest.append)
        self.payload = bytearray()

    def read(self, stall=60.0, rate=0):
        for block in self.body.blocks(stall, rate):
            self.payload += block
        return self

    def read_to_its_break(self, stall=60.0, rate=0) -> str:
        with pytest.raises(BodyBroken) as broken:
            self.read(stall, rate)
        assert self.body.failed
        assert not self.body.finished
        assert self.rest == []
        return str(broken.value)


@pytest.fixture(params=["tcp", "unix"])
def ends(request):
    server, client = connected(request.param)
    server.settimeout(30)
    with server, client:
        yield server, client


@pytest.fixture
def in_thread():
    """Runs something beside the test, which waits for its end."""
    threads = []

    def start(function, *arguments):
        threads.append(threading.Thread(target=function, args=arguments))
        threads[-1].start()

    yield start
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


def in_chunks(payload: bytes, size: int) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in cut(payload, size)) + b"0\r\n\r\n"


# --- What is read -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK + 3])
def test_a_body_with_a_length_ends_there(ends, in_thread, length):
    server, client = ends
    in_thread(client.sendall, NOISE[:length] + b"next")
    reading = Reading(server, length).read()
    assert reading.payload == NOISE[:length]
    assert reading.rest == [b""]
    assert reading.body.finished
    assert not reading.body.failed
    assert server.recv(4) == b"next"


@pytest.mark.parametrize("size", [17, 4096, 32 * 1024, BLOCK, BLOCK + 7, 3 * BLOCK])
def test_a_chunked_body_ends_with_its_last_chunk(ends, in_thread, size):
    server, client = ends
    payload = NOISE if size > 17 else NOISE[: 2 * BLOCK]
    in_thread(client.sendall, in_chunks(payload, size))
    reading = Reading(server, None).read()
    assert reading.payload == payload
    assert reading.rest == [b""]


def test_what_came_with_the_head_comes_first_and_what_is_behind_the_body_is_given_back():
    assert Reading(Pieces([b"lo", b"never read"]), 5, b"hel").read().rest == [b""]
    reading = Reading(Pieces([]), 5, b"helloGET / HTTP").read()
    assert reading.payload == b"hello"
    assert reading.rest == [b"GET / HTTP"]


def test_of_a_chunked_body_the_next_request_is_given_back_whether_it_came_early_or_late():
    stream = in_chunks(b"hello", 2) + b"GET / HTTP"
    assert Reading(Pieces([]), None, stream).read().rest == [b"GET / HTTP"]
    assert Reading(Pieces([stream]), None).read().rest == [b"GET / HTTP"]
    much = in_chunks(b"hello", 2) + NOISE
    assert Reading(Pieces([]), None, much).read().rest == [NOISE]


TRICKY = [
    (b"0\r\n\r\n", b""),
    (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
    (b"0005\r\nhello\r\n000\r\n\r\n", b"hello"),
    (b"2\r\n\r\n\r\n4\r\n0\r\n\r\r\n0\r\n\r\n", b"\r\n0\r\n\r"),  # payload that looks like frames
    (b'a;q="\\"\r";b\r\n0123456789\r\n0\r\n\r\n'.replace(b'\r"', b'"'), b"0123456789"),
    (b"1;a=b;c\r\nx\r\nA\r\n0123456789\r\n0;last\r\nDigest: x\r\nEmpty:\r\n\r\n", b"x0123456789"),
]


@pytest.mark.parametrize(("stream", "payload"), TRICKY)
def test_it_does_not_matter_where_a_chunked_body_is_split(stream, payload):
    for first in range(len(stream) + 1):
        for second in range(first, len(stream) + 1):
            pieces = [stream[first:second], stream[second:] + b"next"]
            reading = Reading(Pieces(pieces), None, stream[:first]).read()
            assert reading.payload == payload
            assert reading.rest in ([b"next"], [b""])


MALFORMED = [
    b"\r\n",
    b"g\r\n",
    b"-1\r\n",
    b"+1\r\n",
    b"0x1\r\n",
    b"1_0\r\n",
    b" 1\r\n",
    b"1 \r\n",
    b"1 ;a\r\n",
    b"1;\r\n",
    b"1;a=\r\n",
    b'1;a="\r\n',
    b"1;a\rb\r\n",
    b"1\n",
    b"1\r\r\n",
    b"1" * 16 + b"\r\n",
    b"1;" + b"a" * 2000,
    "\uff11\r\n".encode(),
    b"1\r\nx\n0\r\n",
    b"1\r\nxy\r\n",
    b"1\r\nx0\r\n\r\n",
    b"0\r\n\n",
    b"0\r\na: b\n\r\n",
    b"0\r\na: b\r\n c\r\n\r\n",
    b"0\r\nno colon\r\n\r\n",
    b"0\r\na : b\r\n\r\n",
    b"0\r\na: \0\r\n\r\n",
]


@pytest.mark.parametrize("wrong", MALFORMED)
def test_a_malformed_chunk_breaks_the_body_after_what_was_complete(wrong):
    for size in (1, 3, 10_000):
        reading = Reading(Pieces(cut(b"5\r\nhello\r\n" + wrong, size)), None)
        assert reading.read_to_its_break().startswith("malformed")
        assert reading.payload.removesuffix(b"x") == b"hello"


# --- Buffers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [len(NOISE), None])
def test_a_block_stays_as_it_is_until_three_more_have_come(length):
    stream = NOISE if length else in_chunks(NOISE, 30_000)
    valid: list[tuple[memoryview, bytes]] = []
    for block in SocketBody(Pieces(cut(stream, 77_777)), b"", length, give_back=len).blocks(60):
        valid = [*valid[-3:], (block, bytes(block))]
        for seen, content in valid:
            assert seen == content


def test_waiting_in_vain_uses_no_buffers_up(ends, monkeypatch):
    monkeypatch.setattr("serving.bodies.TICK", 0.02)
    server, client = ends
    client.sendall(b"a")
    blocks = Reading(server, 2).body.blocks(stall=10)
    first = next(blocks)
    timer = threading.Timer(0.02 * 3 * BUFFERS, client.sendall, [b"b"])
    timer.start()
    assert next(blocks) == b"b"
    assert first == b"a"
    timer.join()


@pytest.mark.parametrize("length", [64 * BLOCK, None])
def test_a_long_body_takes_the_memory_of_four_blocks(length):
    piece = NOISE[:BLOCK] if length else b"100000\r\n" + NOISE[:BLOCK] + b"\r\n"
    pieces = itertools.chain(itertools.repeat(piece, 64), [b"0\r\n\r\n"])
    body = SocketBody(Pieces(pieces), b"", length, give_back=len)
    buffers = {}
    tracemalloc.start()
    try:
        for block in body.blocks(60):
            buffers[id(block.obj)] = block.obj
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sorted(map(len, buffers.values()))[-BUFFERS:] == [BLOCK] * BUFFERS
    assert sum(map(len, buffers.values())) <= BUFFERS * BLOCK + SMALL
    assert peak < SMALL + 64 * 1024  # all there is besides


@pytest.mark.parametrize("length", [1000, None])
def test_a_short_body_takes_little_memory(length):
    body = SocketBody(Pieces([NOISE[:1000] if length else in_chunks(NOISE[:1000], 1000)]), b"", length, give_back=len)
    tracemalloc.start()
    try:
        assert sum(len(block) for block in body.blocks(60)) == 1000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < (32 * 1024 if length else SMALL + 32 * 1024)


# --- Bad senders ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("length", "sent"), [(10, b"hello"), (None, b"7\r\nhello"), (None, b"5\r\nhello\r\n0\r\nx: y\r\n")]
)
class TestASenderThatStops:
    def test_in_the_middle_has_sent_what_came(self, ends, length, sent):
        server, client = ends
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        reading = Reading(server, length)
        assert reading.read_to_its_break() == "the connection was closed"
        assert reading.payload == b"hello"

    def test_sending_is_ended_after_a_while(self, ends, length, sent):
        server, client = ends
        client.sendall(sent)
        reading, began = Reading(server, length), time.monotonic()
        assert reading.read_to_its_break(STALL) == f"nothing came for {STALL} seconds"
        assert STALL <= time.monotonic() - began < STALL + 2
        assert reading.payload == b"hello"

    def test_is_seen_by_one_who_waits_when_another_thread_interrupts(self, ends, length, sent):
        server, client = ends
        client.sendall(sent)
        reading = Reading(server, length)
        timer = threading.Timer(STALL, reading.body.interrupt)
        timer.start()
        assert reading.read_to_its_break() == "interrupted"
        timer.join()
        server.sendall(b"answer")
        assert client.recv(6) == b"answer"


def test_shutting_the_socket_down_for_reading_ends_the_body_too(ends):
    server, client = ends
    client.sendall(b"hello")
    timer = threading.Timer(STALL, server.shutdown, [socket.SHUT_RD])
    timer.start()
    assert Reading(server, 10).read_to_its_break() == "the connection was closed"
    timer.join()


def test_a_connection_that_is_reset_breaks_the_body():
    server, client = connected("tcp")
    with server:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        assert "reset" in Reading(server, 10).read_to_its_break()


def test_a_sender_that_never_pauses_is_interrupted_all_the_same(ends, in_thread):
    server, client = ends

    def send_for_ever():
        with suppress(OSError):  # the server has had enough
            while True:
                client.sendall(NOISE[:BLOCK])

    in_thread(send_for_ever)
    reading = Reading(server, 1 << 50)
    for number, _ in enumerate(blocks := reading.body.blocks(60)):
        if number == 5:
            reading.body.interrupt()
            break
    with pytest.raises(BodyBroken, match="interrupted"):
        assert sum(1 for _ in blocks) <= 1
    server.close()


def drip(client: socket.socket, content: bytes, pause: float) -> None:
    with suppress(OSError):  # the server has had enough
        for byte in content:
            client.sendall(bytes([byte]))
            time.sleep(pause)


@pytest.mark.parametrize(("length", "sent"), [(1000, NOISE[:100]), (None, b"3e8\r\n" + NOISE[:100])])
def test_a_sender_that_drips_is_ended_and_what_came_is_there(ends, in_thread, length, sent):
    server, client = ends
    in_thread(drip, client, sent, 0.02)
    reading = Reading(server, length)
    assert reading.read_to_its_break(stall=0.4, rate=1000) == "less than 1000 bytes per second came"
    server.close()
    assert 5 < len(reading.payload) < 100
    assert sent.endswith(NOISE[:100])
    assert NOISE.startswith(reading.payload)


def test_a_sender_that_drips_may_where_no_rate_is_asked_for(ends, in_thread):
    server, client = ends
    in_thread(drip, client, NOISE[:50], 0.02)
    assert Reading(server, 50).read(stall=0.4).payload == NOISE[:50]


def test_a_slow_sender_that_keeps_the_rate_is_not_ended(ends, in_thread):
    server, client = ends
    in_thread(drip, client, NOISE[:75], 0.02)
    assert Reading(server, 75).read(stall=0.4, rate=10).payload == NOISE[:75]


def test_time_in_which_the_sender_waits_for_us_is_not_held_against_it(ends, in_thread):
    server, client = ends
    in_thread(client.sendall, NOISE[: 6 * BLOCK])
    for _ in Reading(server, 6 * BLOCK).body.blocks(stall=0.1, rate=100 * BLOCK):
        time.sleep(0.2)


def test_a_block_is_handed_on_when_the_sender_pauses(ends):
    server, client = ends
    client.sendall(b"5\r\nhello\r\n5")
    blocks = Reading(server, None).body.blocks(stall=2)
    began = time.monotonic()
    assert next(blocks) == b"hello"
    assert time.monotonic() - began < 1.9


# --- Afterwards -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [3 * BLOCK, None])
def test_reading_goes_on_where_it_was_left(length):
    payload = NOISE[: 3 * BLOCK]
    reading = Reading(Pieces(cut(payload if length else in_chunks(payload, 30_000), 10_000)), length)
    reading.payload += next(reading.body.blocks(60))
    assert not reading.body.finished
    assert not reading.body.failed
    assert reading.read().payload == payload
    assert reading.body.finished


def test_the_socket_is_left_as_it_was(ends):
    server, client = ends
    limit = struct.pack("@ll", 7, 0)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
    client.sendall(b"hello" * 3)
    Reading(server, 5).read()
    Reading(server, 6).body.blocks(STALL).close()
    assert next(Reading(server, 6).body.blocks(STALL)) == b"hellohe"[:6]
    Reading(server, 9).read_to_its_break(STALL)
    assert server.gettimeout() == 30
    assert server.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, len(limit)) == limit
