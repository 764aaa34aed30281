"""A client that pushes images until it is told to stop, survives a server that dies, and journals all it learns."""

import http.client
import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from tests.faults.journal import Journal, Thing
from tests.faults.registry import Repository, content_of, digest_of, image_of
from tests.faults.wire import STREAMED, Answer, chunked, part

T = TypeVar("T")

BROKEN = (OSError, http.client.HTTPException)  # what is left of a connection whose server died
PATIENCE = 60.0  # seconds until the server has to be there again
SHARED = range(1, 40)  # seeds of layers that every pusher pushes now and then


class UploadLost(AssertionError):
    """The registry does not know an upload of which it has acknowledged no byte."""


class Pusher:
    """`push_images` runs in a thread. Any answer that should not be raises AssertionError there."""

    def __init__(self, repository: Repository, journal: Journal, name: str, chance: random.Random):
        self.repository, self.journal, self.name, self.chance = repository, journal, name, chance
        self.stop = threading.Event()
        self.images = 0

    def push_images(self) -> int:
        """Returns how many it has pushed."""
        while not self.stop.is_set():
            if self.chance.random() < 0.1:
                self.claim_a_wrong_digest()
            self.push_image()
        return self.images

    def push_image(self) -> None:
        blobs: list[bytes] = []
        for size in self.sizes():
            if (blob := self.push_blob(self.seed(), size)) is None:
                return
            blobs.append(blob)
        manifest = image_of(blobs[0], blobs[1:])
        for tag in (f"{self.name}-{self.images}", self.name):
            self.push_manifest(tag, manifest)
        self.images += 1

    def seed(self) -> int:
        return self.chance.choice(SHARED) if self.chance.random() < 0.3 else self.chance.randrange(10**12)

    def sizes(self) -> list[int]:
        return [self.chance.choice((0, 1, 700, 50_000, 300_000, 1_000_000)) for _ in range(self.chance.randint(2, 4))]

    # --- One thing after the other ------------------------------------------------------------------------------------

    def push_blob(self, seed: int, size: int) -> bytes | None:
        """The blob, or None where it was told to stop in between: then an upload stays open."""
        while True:
            try:
                return self.push_upload(seed, content_of(seed, size))
            except UploadLost:
                if not self.repository.may_forget_empty_uploads:
                    raise

    def push_upload(self, seed: int, content: bytes) -> bytes | None:
        upload = Thing(self.repository.name, self.patiently(self.repository.open_upload))
        known = {"seed": seed, "size": len(content)}
        self.journal.acknowledged("upload", upload, **known)
        at = 0
        while at < len(content):
            if self.stop.is_set() and self.chance.random() < 0.3:
                return None
            at = self.push_piece(upload.name, content, at)
            self.journal.acknowledged("upload", upload, **known, stored=at)
        blob = Thing(self.repository.name, digest_of(content))
        self.journal.asked("upload", upload, **known, ending=True)
        self.journal.asked("blob", blob)
        self.accepted(lambda: self.repository.finish(upload.name, blob.name), 201, empty=not content)
        self.journal.acknowledged("blob", blob)
        return content

    def push_piece(self, location: str, content: bytes, at: int) -> int:
        """The bytes that are stored after it; fewer than before never."""
        piece = content[at : at + self.chance.randint(1, 400_000)]
        streamed = self.chance.random() < 0.5
        headers, body = (STREAMED, chunked(piece)) if streamed else ({}, piece)
        try:
            answer = self.repository.ask("PATCH", location, part(at, piece) | headers, body)
        except BROKEN:
            answer = self.patiently(lambda: self.repository.ask("GET", location))
        if answer.status == 404 and at == 0:
            raise UploadLost(answer)
        # 409 and 416: the request that broke begins only now, or was still ending when the registry was asked.
        assert answer.status in (202, 204, 409, 416), answer
        assert max(answer.stored, 1) >= at, f"{at} bytes were acknowledged, and now: {answer}"
        return max(answer.stored, 1 if answer.status in (202, 416) else at)  # what "0-0" means then

    def push_manifest(self, tag: str, manifest: bytes) -> None:
        thing, digest = Thing(self.repository.name, tag), digest_of(manifest)
        self.journal.asked("manifest", Thing(thing.repository, digest))
        self.journal.asked("tag", thing, digest=digest)
        self.accepted(lambda: self.repository.push_manifest(tag, manifest), 201)
        self.journal.acknowledged("manifest", Thing(thing.repository, digest))
        self.journal.acknowledged("tag", thing, digest=digest)

    def claim_a_wrong_digest(self) -> None:
        """A push whose bytes do not have their digest; nobody ever pushes what has it."""
        claimed = digest_of(b"never" + self.chance.randbytes(20))
        self.journal.asked("wrong", Thing(self.repository.name, claimed))
        path = self.repository.path("blobs", f"uploads/?digest={claimed}")
        self.accepted(lambda: self.repository.ask("POST", path, body=self.chance.randbytes(100_000)), 400)

    # --- While servers die --------------------------------------------------------------------------------------------

    def accepted(self, request: Callable[[], Answer], status: int, empty: bool = False) -> None:
        """Repeat what may be repeated until it is answered; 409 means that a try that broke begins only now."""
        while (answer := self.patiently(request)).status == 409:
            time.sleep(0.1)
        if answer.status == 404 and empty:
            raise UploadLost(answer)
        assert answer.status == status, f"{status} was due, came: {answer}"

    def patiently(self, request: Callable[[], T]) -> T:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return request()
            except BROKEN:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.1)
