"""Bodies as views see them, the same whether they come from the socket itself or through `wsgi.input`."""

import socket
import threading
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
        reader = ChunkedReader(SimpleNamespace(), unreader) if length is None else LengthReader(unreader, length)
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


def test_a_client_that_drips_is_ended(settings):
    settings.REGISTRY_BODY_TIMEOUT, settings.REGISTRY_BODY_MIN_RATE = 0.4, 1000
    wire, ended = Wire("socket"), threading.Event()

    def drip() -> None:
        while not ended.wait(0.02):
            wire.client.sendall(b"x")

    dripping = threading.Thread(target=drip)
    dripping.start()
    body = wire.body(1_000_000)
    with wire.client, wire.server:
        assert set(content_of(body)) == {ord("x")}
        ended.set()
        dripping.join()
    assert body.broken == "less than 1000 bytes per second came"
