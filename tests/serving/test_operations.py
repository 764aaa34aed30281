"""Stopping, reloading and replacing processes without a failed request, and nothing that is left behind."""

import http.client
import random
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.server import wait_until
from tests.serving.client import Client, answers_in, exchange
from tests.serving.echo import pattern
from tests.serving.program import Gunicorn, descriptors, kilobytes, threads

pytestmark = pytest.mark.faults

Start = Callable[..., Gunicorn]
GET = b"GET /echo HTTP/1.1\r\nHost: x\r\nX-Tag: healthy\r\n\r\n"
SHORT = b"GET /short HTTP/1.1\r\nHost: x\r\nX-Tag: healthy\r\n\r\n"


# --- Stopping ---------------------------------------------------------------------------------------------------------


def test_at_a_stop_open_requests_end_and_idle_connections_close(start: Start) -> None:
    server, size = start(), 10_000_000
    with Client(server) as idle, Client(server) as pull, Client(server) as push, Client(server) as between:
        assert idle.send(GET).answer().tag == "healthy"
        assert between.send(SHORT).answer().tag == "healthy"
        pull.send(b"GET /file/%d HTTP/1.1\r\nHost: x\r\n\r\n" % size)
        push.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nX-Tag: push\r\nContent-Length: 100000\r\n\r\nabc")
        received = pull.receive(1000)
        time.sleep(0.2)
        server.signal(signal.SIGTERM)
        time.sleep(0.3)
        (last,) = answers_in(between.send(SHORT).rest())  # it was on its way when the server stopped
        assert (last.tag, last.closes) == ("healthy", True)
        assert idle.closed(within=5)
        push.send(99_997 * b"a")
        (pushed,) = answers_in(push.rest())
        assert (pushed.tag, pushed.said["size"], pushed.closes) == ("push", 100_000, True)
        (pulled,) = answers_in(received + pull.rest())
        assert pulled.body == pattern(size)
        assert server.running.wait(5) == 0


def test_a_stop_with_idle_connections_alone_takes_no_longer_than_they_may_need(start: Start) -> None:
    server = start()
    clients = [Client(server).send(GET if number % 2 else b"GET / HT") for number in range(20)]
    for client in clients[1::2]:
        client.answer()
    began = time.monotonic()
    server.signal(signal.SIGTERM)
    for client in clients[::2]:
        client.end()
    assert server.running.wait(8) == 0
    assert time.monotonic() - began < 5
    for client in clients:
        client.socket.close()


def test_what_does_not_end_is_cut_after_the_grace(start: Start) -> None:
    server = start(settings=("--graceful-timeout", "2"))
    with Client(server, receive_buffer=4096) as pull:
        pull.send(b"GET /file/30000000 HTTP/1.1\r\nHost: x\r\n\r\n")
        pull.receive(100)
        began = time.monotonic()
        assert server.stop(within=8) == 0
        assert time.monotonic() - began > 1.5


# --- Going on ---------------------------------------------------------------------------------------------------------


def failures_under_load(
    server: Gunicorn, seconds: float, meanwhile: Callable[[], object] | None = None
) -> tuple[int, list]:
    """Keep-alive connections that ask again and again; how often they did, and what went wrong."""
    until = time.monotonic() + seconds
    counts, failures = [0] * 6, []

    def ask(number: int) -> None:
        connection = http.client.HTTPConnection(server.host, server.port, timeout=10)
        body = (b"a" * 3000, None)[number % 2]
        while time.monotonic() < until:
            path = random.choice(["/echo", "/short", "/large/30000"])
            try:
                connection.request("POST" if body else "GET", path, body, {"X-Tag": str(number)})
                answer = connection.getresponse()
                content = answer.read()
                if answer.status != 200 or answer.headers["X-Tag"] != str(number) or not content:
                    failures.append((path, answer.status))
                counts[number] += 1
            except (OSError, http.client.HTTPException) as problem:
                failures.append((path, repr(problem)))
                connection.close()
            time.sleep(0.002)
        connection.close()

    asking = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for thread in asking:
        thread.start()
    if meanwhile:
        meanwhile()
    for thread in asking:
        thread.join()
    return sum(counts), failures


def test_processes_are_replaced_after_so_many_requests_and_none_fails(start: Start) -> None:
    server = start(settings=("--workers", "2", "--max-requests", "150", "--max-requests-jitter", "50"))
    before = set(server.workers)
    asked, failures = failures_under_load(server, 5)
    assert failures == []
    assert asked > 300
    assert not before & set(server.workers)
    assert "Traceback" not in server.log


def test_a_reload_replaces_the_processes_and_no_request_fails(start: Start) -> None:
    server = start(settings=("--workers", "2"))
    before = set(server.workers)

    def reload() -> None:
        time.sleep(0.5)
        server.signal(signal.SIGHUP)

    _, failures = failures_under_load(server, 6, reload)
    assert failures == []
    wait_until(lambda: len(server.workers) == 2 and not before & set(server.workers), 15)
    assert "Traceback" not in server.log


def test_a_process_whose_parent_was_killed_answers_what_is_open_and_ends(start: Start) -> None:
    server = start()
    (pid,) = server.workers
    with Client(server) as open_request:
        open_request.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nX-Tag: open\r\nContent-Length: 100000\r\n\r\nabc")
        time.sleep(0.2)
        server.running.kill()
        server.running.wait()
        time.sleep(1.5)
        (answer,) = answers_in(open_request.send(99_997 * b"a").end().rest())
        assert (answer.tag, answer.said["size"]) == ("open", 100_000)
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), 5)


def test_a_unix_socket_is_served(start: Start, tmp_path: Path) -> None:
    import socket

    server = start(bind=f"unix:{tmp_path}/socket")
    for request in (GET, SHORT, b"POST /echo HTTP/1.1\r\nHost: x\r\nX-Tag: healthy\r\nContent-Length: 3\r\n\r\nabc"):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5)
            client.connect(f"{tmp_path}/socket")
            client.sendall(request)
            client.shutdown(socket.SHUT_WR)
            (answer,) = answers_in(b"".join(iter(lambda: client.recv(65536), b"")))
            assert (answer.status, answer.tag) == (200, "healthy")
    assert server.port == 0


# --- Leaving nothing --------------------------------------------------------------------------------------------------

KINDS = [
    GET,
    SHORT,
    GET * 3,
    SHORT * 3,
    b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + 100_000 * b"a",
    b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"POST /ignore HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n" + 1000 * b"a",
    b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"GET /file/500000 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /large/500000 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"HEAD /file/500000 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /stream/50 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /fail HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/3.0\r\n\r\n",
    b"GET /echo HT",
    b"",
]


def one_client(server: Gunicorn, chance: random.Random) -> None:
    with Client(server, receive_buffer=chance.choice([0, 4096])) as client:
        client.send(chance.choice(KINDS))
        ending = chance.randrange(4)
        if ending == 0:
            client.reset()
        elif ending == 1:
            client.socket.settimeout(0.02)
            try:
                client.receive(chance.choice([10, 100_000]))
            except TimeoutError:
                """It leaves without an answer."""
        elif ending == 2:
            client.end().rest()


def test_thousands_of_clients_of_all_kinds_leave_nothing_behind(start: Start) -> None:
    server = start(limits={"head": 1, "stall": 2, "linger": 1}, environment={"ECHO_BODY_TIMEOUT": "1"})
    (pid,) = server.workers
    for kind in KINDS:
        exchange(server, [kind])
    time.sleep(2)  # for the last of these to have ended
    before = descriptors(pid), threads(pid)
    memory = kilobytes(pid)

    def many(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(400):
            one_client(server, chance)

    asking = [threading.Thread(target=many, args=(seed,)) for seed in range(6)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    wait_until(lambda: descriptors(pid) <= before[0], 15)
    assert (descriptors(pid), threads(pid)) == before
    assert server.workers == [pid]
    assert kilobytes(pid) - memory < 60_000
    assert [answer.tag for answer in exchange(server, [GET + SHORT])] == ["healthy", "healthy"]
    assert "An answer broke off" not in server.log
    assert "A connection is lost" not in server.log
