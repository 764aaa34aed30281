"""No client stops another: idle ones, dripping ones and crawling ones, all at once, and how each of them ends."""

import hashlib
import json
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.faults import slow_clients
from tests.faults.conftest import count
from tests.faults.registry import Repository, closing, content_of, digest_of, image_of, token_for
from tests.faults.wire import Answer, Exchange, part
from tests.server import ROOT, Server, wait_until

pytestmark = pytest.mark.faults

NAME = "faults/slow"
MIB = 1024 * 1024
GIB = 1024 * MIB
SECONDS = 20
DRIP = b"POST /token HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n\r\n"


def numbered(size: int) -> Iterator[bytes]:
    """Blocks of a MiB of which no two are alike."""
    noise = random.Random(0).randbytes(MIB - 8)
    return (number.to_bytes(8, "big") + noise for number in range(size // MIB))


def push_large(repository: Repository, size: int) -> str:
    whole = hashlib.sha256()
    for block in numbered(size):
        whole.update(block)
    digest = f"sha256:{whole.hexdigest()}"
    location = closing(repository.open_upload(), digest)
    with Exchange(repository.server, repository.token, "PUT", location, {"Content-Length": str(size)}) as exchange:
        for block in numbered(size):
            exchange.send(block)
        assert exchange.answer(120).status == 201
    return digest


def push_small(repository: Repository, content: bytes) -> None:
    """A healthy client's: POST, PATCH, PUT."""
    location = repository.open_upload()
    appended = repository.append(location, content, 0)
    assert appended.status == 202, appended
    assert repository.finish(appended.headers["Location"], digest_of(content)).status == 201


@dataclass
class Healthy:
    """Seconds that each took."""

    gets: list[float] = field(default_factory=list)
    pushes: list[float] = field(default_factory=list)


def healthy(repository: Repository, tag: str, seconds: float) -> Healthy:
    found, until = Healthy(), time.monotonic() + seconds
    for number in range(10**9):
        content = content_of(number, MIB) if number % 8 == 0 else b""
        began = time.monotonic()
        if began > until:
            return found
        if content:
            push_small(repository, content)
            found.pushes.append(time.monotonic() - began)
        else:
            assert repository.manifest(tag).status == 200
            found.gets.append(time.monotonic() - began)
        time.sleep(0.05)
    return found


FORM = (  # with a cookie: without one it is refused before Django looks for the token in it
    b"POST /admin/login/ HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    b"Cookie: csrftoken=" + 32 * b"a" + b"\r\n"
)
FORMS = [
    FORM + b"Content-Length: 100000\r\n\r\n",
    FORM + b"Content-Length: 00000000100\r\n\r\n",
    FORM + b"Content-Length: 100\r\nExpect: 100-continue\r\n\r\n",
    FORM + b"Transfer-Encoding: chunked\r\n\r\nffff\r\n",
]


@contextmanager
def dripping_forms(server: Server, count: int) -> Iterator[None]:
    """So many at any time: whoever is ended begins again. All of them are there when this returns."""

    def begun(number: int) -> socket.socket:
        client = socket.create_connection((server.host, server.port))
        client.sendall(FORMS[number % len(FORMS)])
        return client

    clients, ended = [begun(number) for number in range(count)], threading.Event()

    def drip() -> None:
        while not ended.wait(0.3):
            for number, client in enumerate(clients):
                try:
                    client.send(b"a")
                except OSError:
                    client.close()
                    clients[number] = begun(number)

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        for client in clients:
            client.close()


def test_a_healthy_push_among_160_forms_that_drip_waits_for_none_of_them(tmp_path: Path) -> None:
    with Server(tmp_path / "data", {"REGISTRY_TOKEN_LIFETIME": "86400"}) as server:
        repository = Repository(server, NAME)
        push_small(repository, b"config")
        assert repository.push_manifest("healthy", image_of(b"config", [])).status == 201
        with dripping_forms(server, 160):
            time.sleep(1)
            found = healthy(repository, "healthy", 5)
        assert max(found.pushes) < 2
        assert max(found.gets) < 2


@contextmanager
def crowd(server: Server, digest: str, size: int, token: str) -> Iterator[subprocess.Popen[str]]:
    arguments = [str(server.port), NAME, digest, str(size), token]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.slow_clients", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_healthy_client_among_330_slow_ones_waits_for_none_of_them(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    with Server(tmp_path / "data", {"REGISTRY_TOKEN_LIFETIME": "86400"}) as server:  # else as the README starts it
        repository = Repository(server, NAME)
        blob = content_of(1, 5000)
        push_small(repository, blob)
        assert repository.push_manifest("healthy", image_of(blob, [])).status == 201
        digest = push_large(repository, GIB)
        healthy(repository, "healthy", 2)
        with crowd(server, digest, GIB, repository.token) as slow:
            time.sleep(4)  # until all are there
            found = healthy(repository, "healthy", count(SECONDS, 120))
            assert slow.poll() is None
            report = json.loads(slow.communicate("enough\n", timeout=120)[0])
        print(f"GET max {max(found.gets):.3f} s, push max {max(found.pushes):.3f} s, {report['counts']}")
        record_property("get_max", max(found.gets))
        record_property("push_max", max(found.pushes))
        counts = report["counts"]
        assert counts["Idle began"] >= slow_clients.IDLE
        assert counts["Head began"] >= 2 * slow_clients.HEADS - 5, "heads that drip end after ten seconds"
        assert counts["Body began"] >= slow_clients.BODIES
        assert counts["Reader began"] == slow_clients.READERS, "a slow reader was cut"
        start = hashlib.sha256(next(numbered(MIB))[:65536]).hexdigest()
        assert [first for _, first, size in report["slow"] if size == 65536] == [start] * slow_clients.READERS
        assert all(50_000 < size < 600_000 for size, _, _ in report["slow"])
        assert [reader["digest"] for reader in report["hurried"]] == [digest] * slow_clients.HURRIED
        assert max(found.gets) < 0.1
        assert max(found.pushes) < 0.5


# --- How each of them ends --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One process, with little patience."""
    settings: dict[str, str | None] = {
        "REGISTRY_WORKERS": "1",
        "REGISTRY_THREADS": "8",
        "REGISTRY_HEAD_TIMEOUT": "2",
        "REGISTRY_BODY_TIMEOUT": "4",
        "REGISTRY_STALL_TIMEOUT": "3",
        "REGISTRY_QUEUE_TIMEOUT": "2",
        "REGISTRY_CONNECTIONS": "40",
        "REGISTRY_CONNECTIONS_PER_ADDRESS": "30",
        "REGISTRY_TOKEN_LIFETIME": "86400",
    }
    with Server(tmp_path_factory.mktemp("strict") / "data", settings) as server:
        yield server


@pytest.fixture
def repository(strict: Server) -> Repository:
    wait_until(strict.ready)
    return Repository(strict, NAME, token_for(strict, NAME))


def refused(answer: Answer, status: int) -> bool:
    """In the envelope, so that a client knows what to do."""
    assert answer.status == status, answer
    assert answer.codes, answer
    return answer.headers["Content-Type"] == "application/json"


def test_a_body_that_drips_is_answered_when_it_has_been_too_slow_for_too_long(repository: Repository) -> None:
    location = repository.open_upload()
    with Exchange(repository.server, repository.token, "PATCH", location, {"Content-Length": "1000000"}) as exchange:
        began = time.monotonic()
        exchange.socket.setblocking(False)
        while time.monotonic() - began < 15:
            exchange.socket.send(b"a")
            time.sleep(0.2)
            try:
                exchange.socket.recv(1, socket.MSG_PEEK)
                break
            except BlockingIOError:
                continue
        assert refused(exchange.answer(5), 400)
        assert 3 < time.monotonic() - began < 12
    assert repository.stored(location) >= 10, "what came is kept"


def test_a_reader_that_takes_nothing_is_ended(repository: Repository) -> None:
    digest = push_large(repository, 64 * MIB)
    (pid,) = repository.server.pids("worker")

    def held() -> int:
        return sum(
            str(link.readlink()).find("/blobs/") > 0 for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()
        )

    with ExitStack() as stack:
        path = repository.path("blobs", digest)
        for _ in range(10):
            stack.enter_context(Exchange(repository.server, repository.token, "GET", path))
        wait_until(lambda: held() == 10)
        wait_until(lambda: held() == 0, 12)


def test_an_address_with_too_many_connections_gets_503_in_the_envelope(strict: Server, repository: Repository) -> None:
    with ExitStack() as stack:
        for _ in range(30):
            stack.enter_context(socket.create_connection((strict.host, strict.port)))
        wait_until(lambda: strict.get("/healthz") == 503, 2)
        answer = repository.ask("GET", "/v2/")
        assert refused(answer, 503)
        assert answer.codes == ["UNAVAILABLE"]
        assert answer.headers["Retry-After"]
    wait_until(lambda: strict.get("/healthz") == 200)


def test_a_request_that_no_thread_takes_gets_503_in_the_envelope(repository: Repository) -> None:
    with ExitStack() as stack:
        for _ in range(4):  # half of the threads
            location = repository.open_upload()
            length = {"Content-Length": "1000000"}
            stack.enter_context(Exchange(repository.server, repository.token, "PATCH", location, length)).send(b"a")
        time.sleep(0.3)
        location, began = repository.open_upload(), time.monotonic()
        with Exchange(
            repository.server,
            repository.token,
            "PATCH",
            location,
            {"Content-Length": "1000000", **part(0, b"a" * 10**6)},
        ) as exchange:
            assert refused(exchange.answer(15), 503)
        assert 1 < time.monotonic() - began < 6
        assert repository.ask("GET", "/v2/").status == 200, "what has no body does not wait"


def test_over_the_limit_those_who_are_idle_give_way(tmp_path: Path) -> None:
    settings: dict[str, str | None] = {"REGISTRY_WORKERS": "1", "REGISTRY_CONNECTIONS": "20"}
    with Server(tmp_path / "data", settings) as server, ExitStack() as stack:
        idle = []
        for _ in range(60):
            connection = stack.enter_context(socket.create_connection((server.host, server.port), timeout=5))
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            answer = b""
            while not answer.endswith(b"}"):
                answer += connection.recv(4096)
            assert answer.startswith(b"HTTP/1.1 200")
            idle.append(connection)
        assert server.get("/healthz", timeout=3) == 200
        assert idle[0].recv(1) == b""
