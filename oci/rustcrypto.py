"""The engine that needs nothing but its package: RustCrypto's hashes, at a seventh of hashlib's speed."""

import struct

import rehashes

from oci.hash_state import SHAPES, Buffer, State

COPIED = 1 << 20  # bytes at a time: rehashes takes only `bytes`, so any other buffer has to be copied


class Rehashes:
    """A running hash. It is handed its bytes as `bytes` and holds the GIL."""

    def __init__(self, algorithm: str, state: State | None = None) -> None:
        self.algorithm = algorithm
        self._shape = SHAPES[algorithm]
        # Little-endian words, the count of whole blocks (twice as wide as a word), the tail's length, the tail.
        self._layout = struct.Struct(
            f"<8{self._shape.word_code}{2 * self._shape.word_size}sB{self._shape.block_size - 1}s"
        )
        kind = {"sha256": rehashes.PySha256, "sha512": rehashes.PySha512}[algorithm]
        self._hash = kind() if state is None else kind.deserialize(self._laid_out(state))

    def _laid_out(self, state: State) -> bytes:
        blocks = (state.count // self._shape.block_size).to_bytes(2 * self._shape.word_size, "little")
        return self._layout.pack(*state.words, blocks, len(state.tail), state.tail)

    def update(self, buffer: Buffer) -> None:
        if isinstance(buffer, bytes):
            self._hash.update(buffer)
            return
        with memoryview(buffer) as view, view.cast("B") as octets:
            for start in range(0, len(octets), COPIED):
                self._hash.update(bytes(octets[start : start + COPIED]))

    @property
    def state(self) -> State:
        *words, blocks, fill, tail = self._layout.unpack(self._hash.serialize())
        count = int.from_bytes(blocks, "little") * self._shape.block_size + fill
        return State(self.algorithm, tuple(words), count, tail[:fill])

    def hexdigest(self) -> str:
        return self._hash.finalize()
