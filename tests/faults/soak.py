"""Clients of every kind, all at once, for as long as they are told: who pushes, who pulls, and who is slow about it.

Each is a function that does its thing once; `keep_busy` lets many threads do theirs again and again. What a client is
answered and did not expect is an AssertionError.
"""

import random
import select
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing as closed_in_the_end
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.faults.forms import Form, begun
from tests.faults.registry import ACCEPT, Repository, digest_of, image_of
from tests.faults.wire import STREAMED, Answer, Cut, Exchange
from tests.server import Server

SIZES = (700, 20_000, 100_000, 100_000, 300_000, 300_000, 1_500_000)  # an hour of them is 10 GB
KEPT = 60  # blobs that are there at any time; with one more, the oldest is deleted
TAGS = 20
DRIP = 0.5  # seconds between bytes
PATIENCE = 300  # seconds a client waits for anything: others may come first on a machine that is busy
# Without a range, and with other requests to follow, what is cut might begin after them and be one more chunk.
CUTS = [
    *((form, cut) for form in (Form.RANGE, Form.STREAMED_RANGE, Form.SINGLE) for cut in Cut),
    *((form, Cut.HALF_CLOSE) for form in (Form.STREAM, Form.CLOSE)),
]


@dataclass(eq=False)
class Blob:
    content: bytes
    digest: str
    readers: int = 0


class Shelf:
    """The blobs that are there. Who reads one keeps it from being deleted."""

    def __init__(self) -> None:
        self._blobs: list[Blob] = []
        self._lock = threading.Lock()

    def put(self, content: bytes) -> list[Blob]:
        """Those that have to be deleted for it; nobody else gets them any more."""
        with self._lock:
            self._blobs.append(Blob(content, digest_of(content)))
            old = [blob for blob in self._blobs if not blob.readers][: max(0, len(self._blobs) - KEPT)]
            for blob in old:
                self._blobs.remove(blob)
            return old

    @contextmanager
    def borrowed(self, chance: random.Random, least: int = 1) -> Iterator[Blob]:
        """One of `least` bytes or more; the largest where there is none."""
        with self._lock:
            large = [blob for blob in self._blobs if len(blob.content) >= least]
            blob = chance.choice(large) if large else max(self._blobs, key=lambda blob: len(blob.content))
            blob.readers += 1
        try:
            yield blob
        finally:
            with self._lock:
                blob.readers -= 1


@dataclass
class Client:
    repository: Repository
    shelf: Shelf
    over: threading.Event
    chance: random.Random
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def server(self) -> Server:
        return self.repository.server

    def content(self) -> bytes:
        return self.chance.randbytes(self.chance.choice(SIZES))

    def get(self, digest: str) -> tuple[str, str, dict[str, str]]:
        return "GET", self.repository.path("blobs", digest), {"Authorization": f"Bearer {self.repository.token}"}

    def done(self, what: str, size: int = 0, way: str = "") -> None:
        self.counts[what] += 1
        if way:
            self.counts[f"MB {way}"] += size / 1e6  # type: ignore[assignment]


# --- Who pushes -------------------------------------------------------------------------------------------------------


def push(client: Client) -> None:
    form, content, repository = client.chance.choice([*Form]), client.content(), client.repository
    location = "" if form is Form.SINGLE else repository.open_upload()
    exchange, body = begun(repository, form, location, content)
    with exchange:
        exchange.send(body)
        answer = exchange.answer()
    if form not in (Form.CLOSE, Form.SINGLE):
        assert (answer.status, answer.stored) == (202, len(content)), answer
        answer = repository.finish(answer.headers["Location"], digest_of(content))
    assert answer.status == 201, answer
    client.done(f"blobs pushed by {form}", len(content), "pushed")
    shelve(client, content)


def push_on_after_a_cut(client: Client) -> None:
    (form, cut), content, repository = client.chance.choice(CUTS), client.content(), client.repository
    location = repository.open_upload()
    exchange, body = begun(repository, form, location, content)
    with exchange:
        exchange.send(body[: client.chance.randrange(len(body))])
        exchange.leave(cut)
        if cut is Cut.HALF_CLOSE:
            answer = exchange.answer()
            assert (answer.status, answer.codes) == (400, ["SIZE_INVALID"]), answer
        repository.go_on(location, content, repository.stored(location))
        while (answer := repository.finish(location, digest_of(content))).status == 409:
            """What was cut has begun only now, and once; it is out of date from now on."""
        assert answer.status == 201, answer
    client.done(f"blobs pushed on after a cut by {cut}", len(content), "pushed")
    shelve(client, content)


def shelve(client: Client, content: bytes) -> None:
    for old in client.shelf.put(content):
        answer = client.repository.ask("DELETE", client.repository.path("blobs", old.digest))
        assert answer.status == 202, answer
        client.done("blobs deleted")


def push_and_pull_an_image(client: Client) -> None:
    """As docker does it: each blob streamed in one PATCH, then the manifest; nobody else has this one's tags."""
    repository, blobs = client.repository, [client.chance.randbytes(size) for size in (700, 60_000)]
    for content in blobs:
        location = repository.open_upload()
        exchange, body = begun(repository, Form.STREAM, location, content)
        with exchange:
            exchange.send(body)
            assert exchange.answer().status == 202
        assert repository.finish(location, digest_of(content)).status == 201
    tag, manifest = f"tag-{client.chance.randrange(TAGS)}", image_of(blobs[0], blobs[1:])
    assert repository.push_manifest(tag, manifest).status == 201
    assert_served(repository.manifest(tag), manifest)
    for content in blobs:
        assert_served(repository.blob(digest_of(content)), content)
    client.done("images pushed and pulled")


def assert_served(answer: Answer, content: bytes) -> None:
    assert answer.status == 200, answer
    assert answer.body == content, "wrong bytes"


# --- Who pulls --------------------------------------------------------------------------------------------------------


def pull(client: Client) -> None:
    """Several blobs and manifests on one connection, whole or in part."""
    with closed_in_the_end(client.server.connection(timeout=PATIENCE)) as connection:
        for _ in range(client.chance.randint(1, 6)):
            with client.shelf.borrowed(client.chance) as blob:
                start, stop = sorted(client.chance.choices(range(len(blob.content) + 1), k=2))
                partial = start < stop and client.chance.random() < 0.5
                method, path, headers = client.get(blob.digest)
                wanted = {"Range": f"bytes={start}-{stop - 1}"} if partial else {}
                connection.request(method, path, headers=headers | ACCEPT | wanted)
                answer = connection.getresponse()
                body = answer.read()
                assert answer.status == (206 if partial else 200), answer.status
                assert body == blob.content[start:stop] if partial else digest_of(body) == blob.digest, "wrong bytes"
            client.done("ranges pulled" if partial else "blobs pulled whole", len(body), "pulled")


def pull_by_eight(client: Client) -> None:
    with client.shelf.borrowed(client.chance, least=200_000) as blob, ThreadPoolExecutor(8) as eight:
        for answer in eight.map(lambda _: client.repository.blob(blob.digest), range(8)):
            assert answer.status == 200, answer
            assert digest_of(answer.body) == blob.digest, "wrong bytes"
            client.done("blobs pulled by eight at once", len(answer.body), "pulled")


# --- Who is slow ------------------------------------------------------------------------------------------------------


def idle(client: Client) -> None:
    """With or without a request before."""
    with socket.create_connection((client.server.host, client.server.port), timeout=PATIENCE) as connection:
        if client.chance.random() < 0.5:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert connection.recv(12) == b"HTTP/1.1 200"
        client.over.wait(client.chance.uniform(1, 100))
    client.done("connections that were idle")


def drip_a_head(client: Client) -> None:
    with socket.create_connection((client.server.host, client.server.port), timeout=PATIENCE) as connection:
        connection.sendall(b"GET /v2/ HTTP/1.1\r\nX-A: ")
        if dripped(client, connection, b"a"):
            client.done("heads that dripped and were ended")


def drip_a_body(client: Client) -> None:
    location, chunked = client.repository.open_upload(), client.chance.random() < 0.5
    headers, piece = (STREAMED, b"1\r\na\r\n") if chunked else ({"Content-Length": "1000000"}, b"a")
    with Exchange(client.server, client.repository.token, "PATCH", location, headers) as exchange:
        if dripped(client, exchange.socket, piece):
            client.done("bodies that dripped and were ended")
    answer = client.repository.ask("DELETE", location)
    assert answer.status == 204, answer


def dripped(client: Client, connection: socket.socket, piece: bytes) -> bool:
    """Whether the server has ended it; False where all is over before that."""
    for _ in range(int(PATIENCE / DRIP)):
        if select.select([connection], [], [], 0)[0]:
            return True
        try:
            connection.sendall(piece)
        except ConnectionError:
            return True
        if client.over.wait(DRIP):
            return False
    raise AssertionError(f"who drips is not ended within {PATIENCE} s")


def read_slowly(client: Client) -> None:
    """130 KB/s, so that the server has to wait; when all is over, the rest as fast as it comes."""
    with client.shelf.borrowed(client.chance, least=1_000_000) as blob:
        method, path, headers = client.get(blob.digest)
        with closed_in_the_end(client.server.connection(timeout=PATIENCE)) as connection:
            connection.connect()
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 * 1024)
            connection.request(method, path, headers=headers)
            answer, body = connection.getresponse(), bytearray()
            while piece := answer.read(32 * 1024):
                body += piece
                client.over.wait(0.25)
        assert digest_of(bytes(body)) == blob.digest, "wrong bytes"
    client.done("blobs pulled slowly", len(body), "pulled")


# --- All of them ------------------------------------------------------------------------------------------------------

CROWD: dict[Callable[[Client], None], tuple[int, float]] = {  # how many, and seconds each pauses on average
    push: (2, 0.6),
    push_on_after_a_cut: (2, 0.8),
    push_and_pull_an_image: (1, 1.0),
    pull: (3, 0.5),
    pull_by_eight: (1, 2.0),
    idle: (10, 1.0),
    drip_a_head: (8, 1.0),
    drip_a_body: (6, 1.0),
    read_slowly: (6, 1.0),
}


def keep_busy(repository: Repository, shelf: Shelf, seconds: float, chance: random.Random) -> Counter[str]:
    """How often who did what in that time. The first who meets something wrong ends it for all."""
    over = threading.Event()

    def again_and_again(act: Callable[[Client], None], pause: float, seed: float) -> Counter[str]:
        client = Client(repository, shelf, over, random.Random(seed))
        try:
            while not over.wait(client.chance.uniform(0, 2 * pause)):
                act(client)
        finally:
            over.set()
        return client.counts

    with ThreadPoolExecutor(sum(number for number, _ in CROWD.values())) as clients:
        running = [
            clients.submit(again_and_again, act, pause, chance.random())
            for act, (number, pause) in CROWD.items()
            for _ in range(number)
        ]
        over.wait(seconds)
        over.set()
    return sum((each.result() for each in running), Counter())
