"""Content addresses, and the hashers that can be put down and taken up again."""

import hashlib
import re
from dataclasses import dataclass
from typing import Self

from oci import hashing
from oci.errors import DigestInvalid
from oci.hash_state import Buffer, State

ENCODED = {"sha256": re.compile(r"[0-9a-f]{64}"), "sha512": re.compile(r"[0-9a-f]{128}")}
ALGORITHMS = tuple(ENCODED)
SHOWN = 255  # of a refused text, in characters


@dataclass(frozen=True, slots=True)
class Digest:
    """The address of content: an algorithm and the hash in lower-case hex."""

    algorithm: str
    hex: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `algorithm:encoded` (image-spec, "Digests"). Raises DigestInvalid."""
        algorithm, _, encoded = text.partition(":")
        if algorithm not in ENCODED:
            raise DigestInvalid(text[:SHOWN], f"not a digest by {' or '.join(ALGORITHMS)}")
        if not ENCODED[algorithm].fullmatch(encoded):
            raise DigestInvalid(text[:SHOWN], f"malformed {algorithm} digest")
        return cls(algorithm, encoded)

    @classmethod
    def of(cls, content: Buffer, algorithm: str = "sha256") -> Self:
        """The digest of bytes that are all in memory. Raises DigestInvalid for an unknown algorithm."""
        return cls(known(algorithm), hashlib.new(algorithm, content).hexdigest())

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"


class Hasher:
    """A hash whose `state` fits in a database column between two chunks of an upload.

    Any process on any machine takes it up with `Hasher(algorithm, state)`. For one thread at a time.
    """

    def __init__(self, algorithm: str, state: bytes = b"") -> None:
        """Raises DigestInvalid for an unknown algorithm, ValueError for a state that `state` did not give for it."""
        self.algorithm = known(algorithm)
        self._hash = hashing.engine()(algorithm, State.unpack(state, algorithm) if state else None)

    def update(self, buffer: Buffer) -> None:
        """Go on with the bytes of `buffer`, uncopied and without the GIL; it is free again on return."""
        self._hash.update(buffer)

    @property
    def state(self) -> bytes:
        """What has come so far, at most 215 bytes."""
        return self._hash.state.pack()

    @property
    def digest(self) -> Digest:
        """The digest of what has come so far; more may come."""
        return Digest(self.algorithm, self._hash.hexdigest())


def known(algorithm: str) -> str:
    if algorithm not in ENCODED:
        raise DigestInvalid(algorithm[:SHOWN], f"not a digest algorithm; {' and '.join(ALGORITHMS)} are")
    return algorithm
