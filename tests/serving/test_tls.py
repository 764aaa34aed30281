"""With TLS nothing is different: handshakes wait in the loop, and slow readers hold no thread."""

import os
import shutil
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.processes.test_serving import certificate_in
from tests.server import wait_until
from tests.serving.client import Client, answers_in
from tests.serving.echo import pattern
from tests.serving.program import Gunicorn, descriptors, threads

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(
        shutil.which("openssl") is None and "CI" not in os.environ, reason="the certificate is made with openssl"
    ),
]

GET = b"GET /echo HTTP/1.1\r\nHost: x\r\nX-Tag: healthy\r\n\r\n"
SHORT = GET.replace(b"/echo", b"/short")
BODY = 200_000 * b"a"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return certificate_in(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def begin(start: Callable[..., Gunicorn], certificate: tuple[Path, Path]) -> Callable[..., Gunicorn]:
    def with_tls(**options: Any) -> Gunicorn:
        tls = ("--certfile", str(certificate[0]), "--keyfile", str(certificate[1]))
        return start(settings=(*tls, *options.pop("settings", ())), **options)

    return with_tls


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, certificate: tuple[Path, Path]) -> Iterator[Gunicorn]:
    tls = ("--certfile", str(certificate[0]), "--keyfile", str(certificate[1]))
    log, limits = tmp_path_factory.mktemp("tls") / "log", {"head": 2, "stall": 2}
    with Gunicorn(log, threads=4, limits=limits, settings=tls) as server:
        yield server


def context() -> ssl.SSLContext:
    ours = ssl.create_default_context()
    ours.check_hostname, ours.verify_mode = False, ssl.CERT_NONE
    return ours


def secure(server: Gunicorn, **options: Any) -> Client:
    return Client(server, context=context(), **options)


def is_answered_soon(server: Gunicorn) -> None:
    began = time.monotonic()
    with secure(server) as client:
        answer = client.send(GET).answer()
        assert answer.tag == "healthy"
        assert answer.said["scheme"] == "https"
    assert time.monotonic() - began < 1


def test_requests_of_all_kinds_are_answered(server: Gunicorn) -> None:
    length = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
    chunked = b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (
        len(BODY),
        BODY,
    )
    small = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
    expects = small.replace(b"Content", b"Expect: 100-continue\r\nContent")
    with secure(server) as client:
        for request, size in (
            (GET, 0),
            (SHORT, 0),
            (length, len(BODY)),
            (chunked, len(BODY)),
            (small, 5),
            (expects, 5),
        ):
            answer = client.send(request).answer()
            assert (answer.status, answer.said["size"]) == (200, size)
        for path in (b"/file/3000000", b"/memory/3000000", b"/large/3000000", b"/large/10"):
            answer = client.send(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % path).answer()
            assert answer.body == pattern(int(path.split(b"/")[2]))


@pytest.mark.parametrize("size", [5, 70_000, 8192, 16384 * 5, 65_537])
def test_a_request_in_the_record_of_the_one_before_is_answered(server: Gunicorn, size: int) -> None:
    """The bytes are within OpenSSL then, where no epoll sees them."""
    body = size * b"a"
    first = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size
    following = GET * 3 + GET.replace(b"X-Tag", b"X-Long: " + 9_000 * b"b" + b"\r\nX-Tag")
    with secure(server) as client:
        client.send(first, body[:-3], body[-3:] + following, pause=0.05)
        received = b""
        while len(answers_in(received)) < 5 or not answers_in(received)[-1].whole:
            received += client.receive()
        assert [answer.tag for answer in answers_in(received)[1:]] == ["healthy"] * 4


@pytest.mark.parametrize("path", [b"/cut_file", b"/cut_memory"])
def test_an_answer_that_ends_before_its_length_ends_the_connection(server: Gunicorn, path: bytes) -> None:
    with secure(server) as client:
        client.send(b"GET %b/700000 HTTP/1.1\r\nHost: x\r\n\r\n" % path)
        assert client.rest().partition(b"\r\n\r\n")[2] == pattern(700_000)
    is_answered_soon(server)


def test_a_request_that_comes_byte_by_byte_is_answered(server: Gunicorn) -> None:
    with secure(server) as client:
        answer = client.send(*(GET[at : at + 1] for at in range(len(GET))), pause=0.001).answer()
        assert answer.tag == "healthy"


def test_a_slow_reader_gets_every_byte(server: Gunicorn) -> None:
    size = 6_000_000
    for path in (b"/file", b"/memory", b"/large"):
        with secure(server, receive_buffer=65536) as client:
            client.send(b"GET %b/%d HTTP/1.1\r\nHost: x\r\n\r\n" % (path, size))
            received = b""
            for _ in range(12):
                received += client.receive(2048)
                time.sleep(0.25)
            while len(received) < size:
                received += client.receive(1 << 20)
            (answer,) = answers_in(received)
            assert answer.body == pattern(size)


HELD = {
    "nothing": [b""],
    "half a handshake": [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100)],
    "garbage": [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"],
    "more garbage": [bytes(range(256)) * 40],
}


@pytest.mark.parametrize("name", HELD)
def test_handshakes_that_do_not_end_hold_no_thread_and_end_in_time(server: Gunicorn, name: str) -> None:
    (pid,) = server.workers
    is_answered_soon(server)
    before, running = descriptors(pid), threads(pid)
    with ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(Client(server)).send(*HELD[name])
        time.sleep(0.2)
        is_answered_soon(server)
        wait_until(lambda: descriptors(pid) <= before, 8)
    assert (server.workers, threads(pid)) == ([pid], running)
    assert "Traceback" not in server.log


def test_clients_that_reset_before_they_are_accepted_end_nothing(server: Gunicorn) -> None:
    workers = server.workers
    for _ in range(200):
        Client(server).reset()
        Client(server).send(b"\x16\x03\x01").reset()
    is_answered_soon(server)
    assert server.workers == workers
    assert "Traceback" not in server.log


@pytest.mark.parametrize("path", [b"/file/30000000", b"/large/30000000", b"/large/15000"])
def test_readers_that_take_nothing_hold_no_thread(server: Gunicorn, path: bytes) -> None:
    (pid,) = server.workers
    with secure(server) as client:  # which the echo has to make first
        client.send(b"HEAD %b HTTP/1.1\r\nHost: x\r\n\r\n" % path).answer()
    is_answered_soon(server)
    before = descriptors(pid)
    with ExitStack() as stack:
        for _ in range(10):
            client = stack.enter_context(secure(server, receive_buffer=4096))
            client.socket.setblocking(False)
            try:
                for _ in range(300):
                    client.send(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % path)
            except ssl.SSLWantWriteError:
                """The server takes no more, as it should."""
        time.sleep(0.5)
        is_answered_soon(server)
        wait_until(lambda: descriptors(pid) <= before, 25)


def test_whoever_is_turned_away_learns_why(begin: Callable[..., Gunicorn]) -> None:
    server = begin(limits={"per_address": 2})
    with secure(server) as one, secure(server) as two:
        assert one.send(GET).answer().tag == two.send(GET).answer().tag == "healthy"
        for _ in range(3):
            with pytest.raises(OSError, match=r"EOF|reset|closed|eof"):  # before a handshake nothing can be said
                secure(server)
        assert one.send(GET).answer().tag == "healthy"
    assert "Traceback" not in server.log


def test_a_request_that_no_thread_takes_is_told_so(begin: Callable[..., Gunicorn]) -> None:
    server = begin(threads=2, limits={"queue": 1})
    with secure(server) as busy, secure(server) as late:
        busy.send(b"GET /sleep/5 HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(0.2)
        (answer,) = answers_in(late.send(GET).rest())
        assert (answer.status, answer.tag) == (503, "busy")
