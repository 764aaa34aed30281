"""What clients asked for and what was acknowledged, in a file that the server knows nothing of.

A line is written before each request and after each answer that a client has read. What a server has to hold follows
from the file alone.
"""

import json
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple


class Thing(NamedTuple):
    """A blob or manifest by its digest, a tag by its name, an upload by its location."""

    repository: str
    name: str


@dataclass
class Part:
    """How much of which content an upload holds, as far as its client was told."""

    seed: int
    size: int  # of the whole content, bytes
    stored: int = 0
    ending: bool = False  # a request that ends it was sent


@dataclass
class Expected:
    """True: acknowledged, has to be there. False: asked for, may be there, whole. For a tag: what it may point to."""

    blobs: dict[Thing, bool] = field(default_factory=dict)
    manifests: dict[Thing, bool] = field(default_factory=dict)
    tags: dict[Thing, set[str | None]] = field(default_factory=dict)
    uploads: dict[Thing, Part] = field(default_factory=dict)
    wrong: set[Thing] = field(default_factory=set)  # digests that were claimed for other bytes

    def read(self, what: str, thing: Thing, acknowledged: bool, facts: dict[str, Any]) -> None:
        if what in ("blob", "manifest"):
            known = self.blobs if what == "blob" else self.manifests
            known[thing] = known.get(thing, False) or acknowledged
        elif what == "tag":
            before = set() if acknowledged else self.tags.get(thing, {None})
            self.tags[thing] = before | {facts["digest"]}
        elif what == "upload":
            part = self.uploads.setdefault(thing, Part(facts["seed"], facts["size"]))
            part.stored = max(part.stored, facts.get("stored", 0))
            part.ending = part.ending or facts.get("ending", False)
        else:
            self.wrong.add(thing)

    @property
    def acknowledgements(self) -> int:
        """Of blobs, manifests and tags."""
        tags = sum(None not in allowed for allowed in self.tags.values())
        return sum(self.blobs.values()) + sum(self.manifests.values()) + tags


class Journal:
    """Any number of clients write to it at once."""

    def __init__(self, path: Path):
        self.path = path
        self._lock = threading.Lock()

    def asked(self, what: str, thing: Thing, **facts: Any) -> None:
        self._write(what, thing, False, facts)

    def acknowledged(self, what: str, thing: Thing, **facts: Any) -> None:
        self._write(what, thing, True, facts)

    def expected(self) -> Expected:
        expected = Expected()
        for line in self.path.read_text().splitlines():
            what, thing, acknowledged, facts = json.loads(line)
            expected.read(what, Thing(*thing), acknowledged, facts)
        return expected

    def _write(self, what: str, thing: Thing, acknowledged: bool, facts: dict[str, Any]) -> None:
        with self._lock, self.path.open("a") as file:
            file.write(json.dumps([what, thing, acknowledged, facts]) + "\n")
