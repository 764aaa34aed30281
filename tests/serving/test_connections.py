"""Whatever a client does with its connection, it ends in time, and until then it costs the others nothing."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from tests.server import wait_until
from tests.serving.client import Client, answers_in, exchange
from tests.serving.echo import pattern
from tests.serving.program import Gunicorn, descriptors

pytestmark = pytest.mark.faults

Start = Callable[..., Gunicorn]
GET = b"GET /echo HTTP/1.1\r\nHost: x\r\nX-Tag: healthy\r\n\r\n"
SHORT = b"GET /short HTTP/1.1\r\nHost: x\r\nX-Tag: healthy\r\n\r\n"
SOON = 0.7  # seconds, on a machine that does other things too


@contextmanager
def clients(server: Gunicorn, number: int, *sent: bytes, **options: Any) -> Iterator[list[Client]]:
    with ExitStack() as stack:
        yield [stack.enter_context(Client(server, **options)).send(*sent) for _ in range(number)]


def is_answered_soon(server: Gunicorn, request: bytes = GET) -> None:
    began = time.monotonic()
    (answer,) = exchange(server, [request])
    assert answer.tag == "healthy"
    assert time.monotonic() - began < SOON


# --- How long a client may take ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET / HT",
        b"GET / HTTP/1.1\r\nHost: x\r\nX-A: ",
        b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\nhel",
        b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 0000000500\r\n\r\nhel",
        GET + b"GET / HTT",
        SHORT + b"GET / HTT",
    ],
)
def test_a_request_that_drips_ends_however_steadily_it_drips(start: Start, sent: bytes) -> None:
    server = start(limits={"head": 1, "small_body": 2})
    with Client(server) as client:
        client.send(sent)
        began = time.monotonic()
        client.socket.settimeout(0.2)
        while True:
            assert time.monotonic() - began < 6
            client.send(b"a" if sent else b"")
            try:
                if not client.receive():
                    break
            except TimeoutError:
                continue
        assert time.monotonic() - began > 0.8
    is_answered_soon(server)


def test_an_idle_connection_ends_after_the_time_to_keep_it_alive(start: Start) -> None:
    server = start(settings=("--keep-alive", "1"))
    for request in (GET, SHORT):
        with Client(server) as client:
            assert client.send(request).answer().tag == "healthy"
            began = time.monotonic()
            assert client.closed(within=5)
            assert 0.8 < time.monotonic() - began < 3.5


def test_a_reader_that_takes_nothing_is_ended(start: Start) -> None:
    server = start(limits={"stall": 1})
    is_answered_soon(server)
    (pid,) = server.workers
    before = descriptors(pid)
    for path in (b"/file/30000000", b"/memory/30000000", b"/large/30000000"):
        with clients(server, 5, b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % path, receive_buffer=4096):
            wait_until(lambda: descriptors(pid) >= before + 5)
            wait_until(lambda: descriptors(pid) == before)


def test_a_slow_reader_gets_every_byte(start: Start) -> None:
    server = start(limits={"stall": 1})
    size = 20_000_000
    for path in (b"/file", b"/memory", b"/large"):
        with Client(server, receive_buffer=65536) as client:
            client.send(b"GET %b/%d HTTP/1.1\r\nHost: x\r\n\r\n" % (path, size))
            received = b""
            for _ in range(12):  # longer than the server waits for one that takes nothing
                received += client.receive(2048)
                time.sleep(0.2)
            while len(received) < size:
                received += client.receive(1 << 20)
            (answer,) = answers_in(received)
            assert answer.body == pattern(size)


@pytest.mark.parametrize("path", [b"/cut_file", b"/cut_memory"])
def test_an_answer_that_ends_before_its_length_ends_the_connection(start: Start, path: bytes) -> None:
    """With nothing after its last byte that could be taken for the rest."""
    server = start()
    with Client(server) as client:
        client.send(b"GET %b/700000 HTTP/1.1\r\nHost: x\r\n\r\n" % path)
        assert client.rest().partition(b"\r\n\r\n")[2] == pattern(700_000)
    is_answered_soon(server)
    assert "Traceback" not in server.log


# --- What it may hold meanwhile ---------------------------------------------------------------------------------------

HELD = {
    "connections that say nothing": b"",
    "heads that do not end": b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X-A: aaaaaaaaaaaaaa\r\n" * 100,
    "bodies that do not end, small": b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\nhel",
    "bodies that do not end": b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 500000\r\n\r\nhel",
    "chunks that do not end": b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nhel",
    "expectations": b"POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 500\r\n\r\n",
    "refused requests": b"GET / HTTP/3.0\r\n\r\n",
    "last requests": b"GET /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "refused bodies": b"POST /ignore HTTP/1.1\r\nHost: x\r\nContent-Length: 500000\r\n\r\nhel",
    "files that nobody reads": b"GET /file/30000000 HTTP/1.1\r\nHost: x\r\n\r\n",
    "objects that nobody reads": b"GET /memory/30000000 HTTP/1.1\r\nHost: x\r\n\r\n",
    "answers that nobody reads": b"GET /large/30000000 HTTP/1.1\r\nHost: x\r\n\r\n",
    "small answers that nobody reads": b"GET /large/16000 HTTP/1.1\r\nHost: x\r\n\r\n" * 400,
    "answers of the loop that nobody reads": b"GET /short HTTP/1.1\r\nHost: x\r\n\r\n" * 3000,
    "middling answers that nobody reads": b"GET /large/60000 HTTP/1.1\r\nHost: x\r\n\r\n" * 150,
}


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    """Few threads: two for bodies, two for the rest."""
    with Gunicorn(tmp_path_factory.mktemp("narrow") / "log", threads=4) as server:
        for path in (b"file", b"large"):  # which the echo has to make first
            exchange(server, [b"HEAD /%b/30000000 HTTP/1.1\r\nHost: x\r\n\r\n" % path])
        yield server


@pytest.mark.parametrize("name", HELD)
def test_twenty_of_them_hold_no_thread_that_others_need(narrow: Gunicorn, name: str) -> None:
    with clients(narrow, 20, receive_buffer=4096) as held:
        for client in held:
            client.socket.setblocking(False)  # what the server does not take is not sent
            with_all_it_takes(client, HELD[name])
        time.sleep(0.3)
        for _ in range(3):
            is_answered_soon(narrow)
            is_answered_soon(narrow, SHORT)


def with_all_it_takes(client: Client, content: bytes) -> None:
    try:
        client.socket.send(content)
    except BlockingIOError:
        """It takes nothing more."""


def test_heads_of_64_kilobytes_without_an_end_are_refused_at_once(narrow: Gunicorn) -> None:
    endless = b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X-A: aaaaaaaaaaaaaaaa\r\n" * 3_500
    with clients(narrow, 6, endless) as held:
        for client in held:
            assert client.answer().status == 431
        is_answered_soon(narrow)


def test_dripping_a_long_head_costs_no_more_than_its_bytes(narrow: Gunicorn) -> None:
    (pid,) = narrow.workers
    with Client(narrow) as client:
        client.send(b"GET / HTTP/1.1\r\nX-A: " + 60_000 * b"a")
        time.sleep(0.1)
        before = cpu(pid)
        for _ in range(500):
            client.send(b"a")
            time.sleep(0.001)  # for each to come alone
        assert cpu(pid) - before < 0.4  # 0.1 s of it for reading


def cpu(pid: int) -> float:
    """Seconds that the process has computed."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_clients_that_leave_are_no_news(start: Start) -> None:
    server = start()
    for path in (b"/stream/2000", b"/large/10000", b"/file/3000000", b"/short"):
        for _ in range(20):
            client = Client(server).send(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % path)
            client.reset()
    is_answered_soon(server)
    assert "Traceback" not in server.log


# --- When there are too many ------------------------------------------------------------------------------------------


def test_at_the_limit_whoever_has_been_idle_for_longest_gives_way(start: Start) -> None:
    server = start(settings=("--worker-connections", "5"))
    with clients(server, 5) as idle:
        for client in idle:  # one after the other, so that the first is the one that waits for longest
            assert client.send(GET).answer().tag == "healthy"
            time.sleep(0.05)
        with Client(server) as late:
            time.sleep(1.5)  # it does not hurry, and is not the one to go
            assert late.send(GET).answer().tag == "healthy"
        assert idle[0].closed(within=2)
        assert idle[-1].send(GET).answer().tag == "healthy"


def test_at_the_limit_with_nobody_idle_new_connections_wait(start: Start) -> None:
    server = start(settings=("--worker-connections", "5"), limits={"head": 2})
    with clients(server, 5, b"GET / HT"), Client(server) as late:
        time.sleep(0.2)
        began = time.monotonic()
        assert late.send(GET).answer().tag == "healthy"
        assert 1 < time.monotonic() - began < 6


def test_an_address_with_too_many_connections_is_told_so(start: Start) -> None:
    server = start(limits={"per_address": 5})
    with clients(server, 5, GET) as allowed:
        for client in allowed:
            assert client.answer().tag == "healthy"
        for request in (b"", GET, b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n" + 900_000 * b"a"):
            with Client(server) as refused:
                (answer,) = answers_in(refused.send(request).rest())
                assert (answer.status, answer.tag) == (503, "busy")
        assert allowed[0].send(GET).answer().tag == "healthy"
    time.sleep(0.3)
    is_answered_soon(server)


@pytest.mark.parametrize("body", [b"", b"Content-Length: 3\r\n\r\nhel", b"Transfer-Encoding: chunked\r\n\r\n3\r\nhel"])
def test_a_request_that_no_thread_takes_is_told_so(start: Start, body: bytes) -> None:
    server = start(threads=2, limits={"queue": 1})
    sleep = b"POST /sleep/5 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    with (
        clients(server, 1, sleep),
        clients(server, 1, b"GET /sleep/5 HTTP/1.1\r\nHost: x\r\n\r\n"),
        Client(server) as late,
    ):
        time.sleep(0.2)
        began = time.monotonic()
        (answer,) = answers_in(late.send(b"POST /echo HTTP/1.1\r\nHost: x\r\n" + (body or b"\r\n")).rest())
        assert (answer.status, answer.tag) == (503, "busy")
        assert 0.8 < time.monotonic() - began < 3.5
        is_answered_soon(server, SHORT)


def test_bodies_take_at_most_half_of_the_threads(start: Start) -> None:
    server = start(threads=4)
    with clients(server, 20, b"POST /sleep/3 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"):
        time.sleep(0.2)
        is_answered_soon(server)


def test_at_the_limit_under_load_the_worker_goes_on(start: Start) -> None:
    """Connections change hands between loop and threads while the loop looks for idle ones to end."""
    server = start(settings=("--worker-connections", "4"))
    workers, until = server.workers, time.monotonic() + 3
    answered: list[int] = []

    def ask() -> None:
        while time.monotonic() < until:
            with Client(server) as client:
                try:
                    for _ in range(3):
                        answered.append(client.send(GET).answer().status)
                except AssertionError:
                    """It gave way while it was idle."""

    asking = [threading.Thread(target=ask) for _ in range(12)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    assert server.workers == workers
    assert "Traceback" not in server.log
    assert answered.count(200) > 50
