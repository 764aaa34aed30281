"""A stream of bytes that comes in blocks of any size, taken in pieces of the size that is needed."""

import hashlib
from collections.abc import Iterator


class Truncated(Exception):
    """The stream ends where more has to come. The argument says in what."""


class Blocks:
    """Holds one block at a time. `size` and `digest` are of all that came so far."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self.size = 0
        self.ended = False  # whether a tar's end was marked: anything may follow
        self._blocks = blocks
        self._block = memoryview(b"")
        self._at = 0
        self._hash = hashlib.sha256()

    @property
    def position(self) -> int:
        """Bytes that were taken."""
        return self.size - len(self._block) + self._at

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"

    def take(self, size: int) -> bytes:
        """The next `size` bytes, or what is left."""
        end = self._at + size
        if end <= len(self._block):
            part = bytes(self._block[self._at : end])
            self._at = end
            return part
        return b"".join(self.pieces(size))

    def peek(self, size: int) -> bytes:
        """The same, and they are still to come."""
        part = self.take(size)
        self._block, self._at = memoryview(part + self._block[self._at :]), 0
        return part

    def pieces(self, size: int) -> Iterator[memoryview]:
        """The same, uncopied and piece by piece."""
        while size > 0 and (self._at < len(self._block) or self._next()):
            piece = self._block[self._at : self._at + size]
            self._at += len(piece)
            size -= len(piece)
            yield piece

    def exactly(self, size: int) -> Iterator[memoryview]:
        """Raises Truncated where fewer bytes are left."""
        for piece in self.pieces(size):
            size -= len(piece)
            yield piece
        if size:
            raise Truncated("an entry")

    def rest(self) -> Iterator[memoryview]:
        while self._at < len(self._block) or self._next():
            piece, self._at = self._block[self._at :], len(self._block)
            yield piece

    def _next(self) -> bool:
        self._block = memoryview(b"")
        for block in self._blocks:
            if not block:  # hostile streams have millions of these
                continue
            self.size += len(block)
            self._hash.update(block)
            self._block, self._at = memoryview(block), 0
            return True
        self._at = 0
        return False
