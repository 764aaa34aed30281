"""What is pushed: bytes that cannot be compressed, never the same twice, and made before the clock starts.

One block of random bytes is sent again and again; only the last chunk is new each time. So the digest of all that comes
before it is computed once, and a push costs its client nothing but the sending.
"""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

MIB = 1024 * 1024
CHUNK = 32 * 1024  # bytes; docker reads and sends a layer in pieces of this length
BLOCK = 8 * MIB
Buffer = bytes | memoryview


@dataclass(frozen=True)
class Content:
    """`blocks` times BLOCK bytes, of which the last CHUNK is `tail`."""

    blocks: int
    tail: bytes
    digest: str

    @property
    def size(self) -> int:
        return self.blocks * BLOCK

    def pieces(self) -> Iterator[Buffer]:
        """The bytes as they are, in few large pieces."""
        return self._repeated(_block(), len(self.tail), self.tail)

    def chunked(self) -> Iterator[Buffer]:
        """The same bytes as chunked transfer coding, in chunks of CHUNK bytes (RFC 9112, section 7.1)."""
        yield from self._repeated(_framed_block(), len(_frame(self.tail)), _frame(self.tail))
        yield b"0\r\n\r\n"

    def _repeated(self, block: bytes, left_out: int, tail: bytes) -> Iterator[Buffer]:
        for _ in range(self.blocks - 1):
            yield block
        yield memoryview(block)[:-left_out]
        yield tail


def fresh(size: int) -> Content:
    """New content of `size` bytes, a multiple of BLOCK."""
    blocks = size // BLOCK
    tail = os.urandom(CHUNK)
    hasher = _hash_before_tail(blocks).copy()
    hasher.update(tail)
    return Content(blocks, tail, f"sha256:{hasher.hexdigest()}")


@cache
def _block() -> bytes:
    return os.urandom(BLOCK)


@cache
def _framed_block() -> bytes:
    block = _block()
    return b"".join(_frame(block[start : start + CHUNK]) for start in range(0, BLOCK, CHUNK))


@cache
def _hash_before_tail(blocks: int) -> "hashlib._Hash":
    hasher = hashlib.sha256()
    for _ in range(blocks - 1):
        hasher.update(_block())
    hasher.update(memoryview(_block())[:-CHUNK])
    return hasher


def _frame(chunk: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(chunk), chunk)
