"""A collector that is always at work while clients push, delete and retag the same images: no push fails, nothing that
was acknowledged is lost, and in the end nothing is left that nobody needs."""

import json
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from tests.faults.conftest import SETTINGS, count, done
from tests.faults.registry import IMAGE, Repository, content_of, digest_of, image_of
from tests.faults.wire import Answer
from tests.server import Server, wait_until

pytestmark = pytest.mark.faults

SECONDS = int(os.environ.get("COLLECTOR_SECONDS") or count(60, 600))
GRACE = 2.0  # seconds; what a HEAD says holds for half of it
CLIENTS = 8
KINDS = ("pushes", "blobs", "indexes", "children", "deletions", "retags", "own", "images found whole")
IMAGES = range(6)  # that are pushed, tagged and deleted
CHILDREN = range(6, 10)  # that are only ever named by indexes, and share layers with those
PAIRS = ((6, 7), (8, 9))  # of children: the indexes
TAGS = ("latest", "stable", "edge")
PATIENCE = 120.0  # seconds
INDEX = "application/vnd.oci.image.index.v1+json"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    impatient = {"DJANGO_SETTINGS_MODULE": "tests.faults.impatient", "REGISTRY_GRACE": f"{GRACE:.0f}"}
    with Server(tmp_path / "data", SETTINGS | impatient) as server:
        yield server


class Late(Exception):
    """What was there is gone, but the client had relied on it for longer than it may: it has to ask again."""


class Client:
    """Pushes as the protocol wants it: ask for each blob and child, push what is missing, then the manifest."""

    def __init__(self, repository: Repository, name: str, chance: random.Random, stop: threading.Event):
        self.repository, self.name, self.chance, self.stop = repository, name, chance, stop
        self.counts: Counter[str] = Counter()
        self.own: list[tuple[bytes, list[bytes]]] = []  # images that nobody else deletes

    def run(self) -> Counter[str]:
        deeds = [self.push_shared] * 5 + [self.push_index] * 2 + [self.delete] * 3 + [self.retag, self.push_own] * 2
        while not self.stop.is_set():
            self.chance.choice(deeds)()
            if self.own:
                self.is_whole(*self.chance.choice(self.own))
        return self.counts

    # --- What it does -------------------------------------------------------------------------------------------------

    def push_shared(self) -> None:
        self.push(*shared(self.chance.choice(IMAGES)), self.chance.choice(TAGS))

    def push_own(self) -> None:
        """Its layers are everybody's."""
        if len(self.own) == 2:
            manifest, _ = self.own.pop(0)
            self.delete_manifest(digest_of(manifest), {202})
        config, layers = f"{self.name} {self.counts['own']}".encode(), shared(self.chance.choice(IMAGES))[1][1:]
        image = image_of(config, layers), [config, *layers]
        self.push(*image, digest_of(image[0]))
        self.own.append(image)
        self.counts["own"] += 1

    def push_index(self) -> None:
        """Of two images, which it pushes only where they are not there. Nobody deletes them but the collector."""
        images = [shared(number) for number in self.chance.choice(PAIRS)]

        def attempt() -> None:
            began = time.monotonic()
            for manifest, blobs in images:
                if self.asked(self.repository.manifest(digest_of(manifest), "HEAD")) == 404:
                    self.push(manifest, blobs, digest_of(manifest))
                    self.counts["children"] += 1
            self.put("all", index_of([manifest for manifest, _ in images]), INDEX, began)

        self.until_in_time(attempt)
        self.counts["indexes"] += 1

    def delete(self) -> None:
        self.delete_manifest(digest_of(self.chance.choice(deletable())), {202, 404})

    def delete_manifest(self, digest: str, expected: set[int]) -> None:
        answer = self.repository.ask("DELETE", self.repository.path("manifests", digest))
        assert answer.status in expected, answer
        self.counts["deletions"] += answer.status == 202

    def retag(self) -> None:
        """Whoever has just read the manifest may push it under another name for as long as its layers have a grace."""

        def attempt() -> None:
            began = time.monotonic()
            answer = self.repository.manifest(self.chance.choice(TAGS))
            assert answer.status in (200, 404), answer
            if answer.status == 200:
                self.put(self.chance.choice(TAGS), answer.body, IMAGE, began)
                self.counts["retags"] += 1

        self.until_in_time(attempt)

    # --- How ----------------------------------------------------------------------------------------------------------

    def push(self, manifest: bytes, blobs: list[bytes], reference: str) -> None:
        def attempt() -> None:
            began = time.monotonic()
            for blob in blobs:
                if self.asked(self.repository.blob(digest_of(blob), "HEAD")) == 404:
                    answer = self.repository.finish(self.repository.open_upload(), digest_of(blob), blob)
                    assert answer.status == 201, answer
                    self.counts["blobs"] += 1
            self.put(reference, manifest, IMAGE, began)

        self.until_in_time(attempt)
        self.counts["pushes"] += 1

    def asked(self, answer: Answer) -> int:
        assert answer.status in (200, 404), answer
        return answer.status

    def put(self, reference: str, manifest: bytes, media_type: str, began: float) -> None:
        path = self.repository.path("manifests", reference)
        answer = self.repository.ask("PUT", path, {"Content-Type": media_type}, manifest)
        if answer.status == 404 and time.monotonic() - began > GRACE / 2:
            raise Late
        assert answer.status == 201, f"{answer} after {time.monotonic() - began:.3f} s"

    def until_in_time(self, attempt: Callable[[], None]) -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                return attempt()
            except Late:
                self.counts["late, and again"] += 1
        raise AssertionError(f"it was never pushed within {GRACE / 2} s")

    def is_whole(self, manifest: bytes, blobs: list[bytes]) -> None:
        answer = self.repository.manifest(digest_of(manifest))
        assert (answer.status, answer.body) == (200, manifest), answer
        for blob in blobs:
            answer = self.repository.blob(digest_of(blob))
            assert (answer.status, answer.body) == (200, blob), answer
        self.counts["images found whole"] += 1


def shared(number: int) -> tuple[bytes, list[bytes]]:
    """One of the images that everybody pushes, and its blobs."""
    layers = [content_of(number + which, 2_000 + which) for which in (0, 1, 3)]
    config = b'{"image":%d}' % number
    return image_of(config, layers), [config, *layers]


def index_of(manifests: list[bytes]) -> bytes:
    described = [{"mediaType": IMAGE, "digest": digest_of(each), "size": len(each)} for each in manifests]
    return json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": described}).encode()


def deletable() -> list[bytes]:
    indexes = [index_of([shared(number)[0] for number in pair]) for pair in PAIRS]
    return [shared(number)[0] for number in IMAGES] + indexes * 2


def test_no_push_fails_and_nothing_is_lost_or_leaked_while_all_is_collected(server, chance):
    repository, stop = Repository(server, "faults/collector"), threading.Event()
    clients = [
        Client(repository, f"client {number}", random.Random(chance.random()), stop) for number in range(CLIENTS)
    ]
    with ThreadPoolExecutor(CLIENTS) as pool:
        running = [pool.submit(client.run) for client in clients]
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline and not any(future.done() for future in running):
            time.sleep(0.5)
        stop.set()
    counts = sum((future.result() for future in running), Counter())
    print(counts)
    assert all(counts[what] for what in KINDS)
    wait_until(lambda: stored(server) == needed(repository, clients), within=PATIENCE)
    for image in [image for client in clients for image in client.own]:
        clients[0].is_whole(*image)
        clients[0].delete_manifest(digest_of(image[0]), {202})
    for manifest in deletable():
        clients[0].delete_manifest(digest_of(manifest), {202, 404})
    wait_until(lambda: stored(server) == [], within=PATIENCE)
    assert not any(repository.manifest(digest_of(shared(child)[0])).status == 200 for child in CHILDREN)
    assert "Traceback" not in server.log
    for what, times in counts.items():
        done(f"{what} beside a collector", times)


def stored(server: Server) -> list[str]:
    """The digests of all objects."""
    digests = []
    for path in (server.data / "blobs").glob("??/*"):
        with suppress(FileNotFoundError):  # deleted in this very moment
            digests.append(digest_of(path.read_bytes()))
    return sorted(digests)


def needed(repository: Repository, clients: list[Client]) -> list[str]:
    """The blobs of every image that is there."""
    images = [shared(number) for number in (*IMAGES, *CHILDREN)]
    images = [image for image in images if repository.manifest(digest_of(image[0])).status == 200]
    images += [image for client in clients for image in client.own]
    return sorted({digest_of(blob) for _, blobs in images for blob in blobs})
