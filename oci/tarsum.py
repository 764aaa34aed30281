"""TarSum: a fingerprint of what a tar holds, whatever the order of its entries and however it was compressed.

Docker's first registries named layers by it. Here it is no address: bytes are found under their digest, and the layer
index finds them by TarSum as well.
"""

import hashlib
import posixpath
import re
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

from oci.digests import SHOWN
from oci.errors import DigestInvalid
from oci.tar import Entry

LABELS = {0: "tarsum", 1: "tarsum.v1"}
FORM = re.compile(r"(tarsum|tarsum\.v1)\+sha256:([0-9a-f]{64})")
SUM = 32  # bytes of an entry's sum


@dataclass(frozen=True, slots=True)
class TarSum:
    """`tarsum.v1+sha256:…` is version 1: times do not count, extended attributes do. `tarsum+sha256:…` is version 0:
    the other way round.

    The index holds version 1 only. One of version 0 can be held against bytes while they are read (`Sums`), but finds
    nothing: for that every layer's sum of that version would have to be known too, for clients that ended in 2014.
    """

    version: int
    hex: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises DigestInvalid."""
        form = FORM.fullmatch(text)
        if form is None:
            raise DigestInvalid(text[:SHOWN], "malformed TarSum")
        return cls(0 if form[1] == LABELS[0] else 1, form[2])

    def __str__(self) -> str:
        return f"{LABELS[self.version]}+sha256:{self.hex}"


def is_tarsum(text: str) -> bool:
    """Whether this means to be a TarSum, well-formed or not: no digest begins so."""
    return text.startswith("tarsum")


class Sums:
    """The TarSum of entries that come one after another. Keeps 40 bytes of each."""

    def __init__(self, version: int = 1) -> None:
        self._version = version
        self._sums = bytearray()
        self._paths = array("q")  # a hash of each entry's path

    def __len__(self) -> int:
        return len(self._paths)

    def add(self, entry: Entry, content: Iterable[bytes | memoryview]) -> None:
        """Reads all of the content."""
        hasher = hashlib.sha256(self._header(entry))
        for piece in content:
            hasher.update(piece)
        self._sums += hasher.digest()
        self._paths.append(hash(posixpath.normpath(b"/" + entry.name.lstrip(b"/"))))

    def _header(self, entry: Entry) -> bytes:
        time = b"" if self._version else b"mtime%d" % entry.mtime
        attributes = sorted(entry.xattrs.items()) if self._version else ()
        return b"name%bmode%duid%dgid%dsize%d%btypeflag%blinkname%buname%bgname%bdevmajor%ddevminor%d%b" % (
            entry.name,
            entry.mode,
            entry.uid,
            entry.gid,
            entry.size,
            time,
            entry.type,
            entry.linkname,
            entry.uname,
            entry.gname,
            entry.devmajor,
            entry.devminor,
            b"".join(key + value for key, value in attributes),
        )

    @property
    def tarsum(self) -> TarSum:
        """The sums of the entries, sorted, are hashed again: their order in the tar does not count.

        Only for a path that comes several times does it: of the places that its sums have among the others, the first
        is taken by the one that came first, for the last is what the path is when all is unpacked.
        """
        ordered = sorted(range(len(self._paths)), key=self._sum)
        self._in_order_of_coming(ordered)
        hasher = hashlib.sha256()
        for entry in ordered:
            hasher.update(self._sum(entry).hex().encode())
        return TarSum(self._version, hasher.hexdigest())

    def _sum(self, entry: int) -> bytes:
        return bytes(self._sums[entry * SUM : (entry + 1) * SUM])

    def _in_order_of_coming(self, ordered: list[int]) -> None:
        several = {first for first, second in pairwise(sorted(self._paths)) if first == second}
        if not several:
            return
        places: dict[int, list[int]] = {}
        for place, entry in enumerate(ordered):
            if self._paths[entry] in several:
                places.setdefault(self._paths[entry], []).append(place)
        for taken in places.values():
            for place, entry in zip(taken, sorted(ordered[place] for place in taken), strict=True):
                ordered[place] = entry
