"""A hash in mid-stream as bytes that any process on any machine, with any engine, can go on from."""

import struct
import zlib
from dataclasses import dataclass
from typing import Self

Buffer = bytes | bytearray | memoryview

VERSION = 1
COUNT_LIMIT = 1 << 61  # bytes; from there on SHA-256's own count of bits overflows


@dataclass(frozen=True, slots=True)
class Shape:
    """How an algorithm of the SHA-2 family keeps its state: eight words, and blocks of sixteen words."""

    number: int
    word_code: str  # as in `struct`
    word_size: int  # bytes

    @property
    def block_size(self) -> int:
        return 16 * self.word_size

    @property
    def head(self) -> struct.Struct:
        return struct.Struct(f">BB8{self.word_code}Q")


SHAPES = {"sha256": Shape(1, "I", 4), "sha512": Shape(2, "Q", 8)}


@dataclass(frozen=True, slots=True)
class State:
    """The eight words, how many bytes have come so far, and those of them that do not fill a block yet (the tail).

    Packed, big-endian: version and number of the algorithm (a byte each) · words · count (8 bytes) · tail
    (`count % block_size` bytes) · CRC-32 of all before. A state has one packed form only.
    """

    algorithm: str
    words: tuple[int, ...]
    count: int
    tail: bytes

    def pack(self) -> bytes:
        shape = SHAPES[self.algorithm]
        return sealed(shape.head.pack(VERSION, shape.number, *self.words, self.count) + self.tail)

    @classmethod
    def unpack(cls, packed: bytes, algorithm: str) -> Self:
        """Raises ValueError for whatever `pack` did not write for this algorithm."""
        shape = SHAPES[algorithm]
        body = packed[:-4]
        if len(body) < shape.head.size or sealed(body) != packed:
            raise ValueError(f"not an undamaged hash state of {algorithm}")
        version, number, *words, count = shape.head.unpack_from(body)
        tail = body[shape.head.size :]
        if (version, number) != (VERSION, shape.number):
            raise ValueError(f"not a hash state of {algorithm} in version {VERSION}")
        if count >= COUNT_LIMIT or len(tail) != count % shape.block_size:
            raise ValueError(f"impossible hash state of {algorithm}")
        return cls(algorithm, tuple(words), count, tail)


def sealed(body: bytes) -> bytes:
    return body + zlib.crc32(body).to_bytes(4, "big")
