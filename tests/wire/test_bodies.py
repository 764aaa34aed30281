"""Bodies as views see them, the same whether they come from the socket itself or through `wsgi.input`."""

import socket
import threading
import time
from contextlib import suppress
from types import SimpleNamespace

import pytest
from gunicorn.http.body import Body as GunicornBody
from gunicorn.http.body import ChunkedReader, LengthReader
from gunicorn.http.unreader import SocketUnreader

from oci.errors import SizeInvalid
from serving.bodies import SocketBody
from wire.bodies import Body

CONTENT = b"0123456789" * 100_000


class Wire:
    """A client's end of a connection, and the body that arrives at the other end."""

    def __init__(self, way: str) -> None:
        self.client, self.server = socket.socketpair()
        self.way = way

    def send(self, content: bytes, end: bool = True) -> None:
        def sending() -> None:
            with suppress(OSError):  # the server has read enough
                self.client.sendall(content)
                if end:
                    self.client.shutdown(socket.SHUT_WR)

        threading.Thread(target=sending, daemon=True).start()

    def body(self, length: int | None) -> Body:
        environ = {"gunicorn.socket": self.server}
        if length is None:
            environ["HTTP_TRANSFER_ENCODING"] = "chunked"
        else:
            environ["CONTENT_LENGTH"] = str(length)
        unreader = SocketUnreader(self.server)
        reader = (
            ChunkedReader(SimpleNamespace(unreader=unreader), unreader)
            if length is None
            else LengthReader(unreader, length)
        )
        environ["wsgi.input"] = GunicornBody(reader)
        if self.way == "socket":
            environ["layerstore.body"] = SocketBody(self.server, b"", length, give_back=unreader.unread)
        return Body(SimpleNamespace(META=environ))


@pytest.fixture(params=["socket", "wsgi.input"])
def wire(request):
    wire = Wire(request.param)
    with wire.client, wire.server:
        yield wire


def chunked(content: bytes) -> bytes:
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(content), content)


def content_of(body: Body) -> bytes:
    return b"".join(bytes(block) for block in body)


@pytest.mark.parametrize("length", [len(CONTENT), None])
def test_a_whole_body_is_whole(wire, length):
    wire.send(CONTENT if length else chunked(CONTENT))
    body = wire.body(length)
    assert content_of(body) == CONTENT
    assert (body.received, body.broken) == (len(CONTENT), "")


@pytest.mark.parametrize("length", [len(CONTENT) + 1, None])
def test_a_body_that_is_cut_is_broken(wire, length):
    wire.send(CONTENT if length else chunked(CONTENT)[:-9])
    body = wire.body(length)
    assert CONTENT.startswith(content_of(body))
    assert body.broken


def test_a_body_that_is_no_chunked_one_is_broken(wire):
    wire.send(b"5\r\nhello\r\nno size\r\n")
    body = wire.body(None)
    assert b"hello".startswith(content_of(body))
    assert body.broken


def test_a_silent_client_is_not_waited_for_longer_than_the_timeout(wire, settings):
    settings.REGISTRY_BODY_TIMEOUT = 0.2
    wire.send(b"hello", end=False)
    body = wire.body(10)
    assert b"hello".startswith(content_of(body))
    assert body.broken == "nothing came for 0.2 seconds"


def test_a_body_ends_when_another_thread_interrupts_it_and_an_answer_can_be_sent(wire):
    wire.send(b"hello", end=False)
    body = wire.body(10)
    timer = threading.Timer(0.2, body.interrupt)
    timer.start()
    assert b"hello".startswith(content_of(body))
    assert body.broken
    timer.join()
    wire.server.sendall(b"answer")
    assert wire.client.recv(6) == b"answer"


def test_interrupting_a_body_whose_client_is_gone_does_nothing(wire):
    body = wire.body(10)
    wire.server.close()
    body.interrupt()


def test_more_than_was_expected_is_refused(wire):
    wire.send(chunked(CONTENT))
    body = wire.body(None)
    body.expected = len(CONTENT) - 1
    with pytest.raises(SizeInvalid):
        content_of(body)


def test_less_than_was_expected_is_broken(wire):
    wire.send(chunked(CONTENT))
    body = wire.body(None)
    body.expected = len(CONTENT) + 1
    assert content_of(body) == CONTENT
    assert body.broken == f"the body ended after {len(CONTENT)} of {len(CONTENT) + 1} bytes"


@pytest.mark.parametrize("length", [len(CONTENT), None])
def test_a_body_is_read_at_once_up_to_a_limit(wire, length):
    wire.send(CONTENT if length else chunked(CONTENT))
    assert wire.body(length).read(len(CONTENT)) == CONTENT


@pytest.mark.parametrize("length", [len(CONTENT), None])
def test_a_body_over_the_limit_is_not_read(wire, length):
    wire.send(CONTENT if length else chunked(CONTENT))
    assert wire.body(length).read(len(CONTENT) - 1) is None


def test_a_cut_body_is_not_taken_for_a_whole_one(wire):
    wire.send(CONTENT)
    with pytest.raises(SizeInvalid):
        wire.body(len(CONTENT) + 1).read(2 * len(CONTENT))


def test_a_body_without_bytes_is_empty(wire):
    assert content_of(wire.body(0)) == b""


@pytest.fixture
def drip(wire):
    """Sends these bytes again and again, a few at a time, until the test ends."""
    ended = threading.Event()
    threads = []

    def begin(content: bytes) -> None:
        def dripping() -> None:
            while not ended.wait(0.02):
                wire.client.sendall(content)

        threads.append(threading.Thread(target=dripping))
        threads[-1].start()

    yield begin
    ended.set()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize(("length", "content"), [(1_000_000, b"x"), (None, b"1\r\nx\r\n")])
def test_a_client_that_drips_is_ended(wire, drip, settings, length, content):
    settings.REGISTRY_BODY_TIMEOUT, settings.REGISTRY_BODY_MIN_RATE = 0.4, 1000
    drip(content)
    body = wire.body(length)
    assert set(content_of(body)) <= {ord("x")}
    assert body.broken == "less than 1000 bytes per second came"


@pytest.mark.parametrize(("length", "content"), [(1_000_000, b"x"), (None, b"1\r\nx\r\n")])
def test_a_body_that_is_read_at_once_may_not_take_longer_than_it_is_given(wire, drip, settings, length, content):
    settings.REGISTRY_BODY_MIN_RATE = 0
    drip(content)
    began = time.monotonic()
    with pytest.raises(SizeInvalid) as refused:
        wire.body(length).read(2_000_000, within=0.4)
    assert refused.value.detail == "the body took longer than 0.4 seconds"
    assert 0.4 <= time.monotonic() - began < 2


@pytest.mark.parametrize("length", [8, None])
def test_a_slow_client_that_keeps_up_is_waited_for_and_the_socket_is_left_as_it_was(wire, drip, settings, length):
    """Its pauses are longer than the ticks in which we wait."""
    settings.REGISTRY_BODY_TIMEOUT, settings.REGISTRY_BODY_MIN_RATE = 0.4, 1
    wire.server.settimeout(7)

    def sending() -> None:
        for piece in (
            [b"12", b"34", b"56", b"78"] if length else [b"4\r\n12", b"34\r\n4\r", b"\n56", b"78\r\n0\r\n\r\n"]
        ):
            time.sleep(0.25)
            wire.client.sendall(piece)

    thread = threading.Thread(target=sending)
    thread.start()
    body = wire.body(length)
    assert content_of(body) == b"12345678"
    assert not body.broken
    assert wire.server.gettimeout() == 7
    thread.join()


def test_a_manifest_may_not_take_longer_than_a_minute(registry, monkeypatch):
    deadlines = []
    monkeypatch.setattr(Body, "read", lambda self, limit, within=None: deadlines.append(within))
    assert registry.put_manifest("a", "latest", {}).status_code == 413
    assert deadlines == [60]
