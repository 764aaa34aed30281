"""The engine that is as fast as hashlib: the SHA-2 functions of the very libcrypto that hashlib has loaded.

hashlib cannot save a hash in mid-stream, but libcrypto's context is a plain struct, which ctypes can read and write.
Whether it is the struct described here is for `oci.hashing` to find out.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from oci.hash_state import SHAPES, Buffer, State


class Context(ctypes.Structure):
    """SHA256_CTX and SHA512_CTX of <openssl/sha.h>; `low` and `high` are the halves of a count of bits.

    `spare` is for a libcrypto whose struct is longer than that one: it must not write over anybody's memory while
    the examination finds it out.
    """

    words: Any
    low: int
    high: int
    block: Any
    fill: int
    digest_size: int


class Sha256Context(Context):
    _fields_ = [
        ("words", ctypes.c_uint32 * 8),
        ("low", ctypes.c_uint32),
        ("high", ctypes.c_uint32),
        ("block", ctypes.c_ubyte * 64),
        ("fill", ctypes.c_uint),
        ("digest_size", ctypes.c_uint),
        ("spare", ctypes.c_ubyte * 512),
    ]


class Sha512Context(Context):
    _fields_ = [
        ("words", ctypes.c_uint64 * 8),
        ("low", ctypes.c_uint64),
        ("high", ctypes.c_uint64),
        ("block", ctypes.c_ubyte * 128),
        ("fill", ctypes.c_uint),
        ("digest_size", ctypes.c_uint),
        ("spare", ctypes.c_ubyte * 512),
    ]


CONTEXTS: dict[str, type[Context]] = {"sha256": Sha256Context, "sha512": Sha512Context}


class Libcrypto:
    """A running hash. The first one raises ImportError, OSError or AttributeError where libcrypto is out of reach."""

    def __init__(self, algorithm: str, state: State | None = None) -> None:
        self.algorithm = algorithm
        self._shape = SHAPES[algorithm]
        self._init, self._update, self._final = functions(algorithm)
        self._context = CONTEXTS[algorithm]()
        self._init(ctypes.byref(self._context))
        if state is not None:
            self._take_up(state)

    def _take_up(self, state: State) -> None:
        context, word_bits = self._context, 8 * self._shape.word_size
        context.words[:] = state.words
        context.high, context.low = divmod(8 * state.count, 1 << word_bits)
        context.block[: len(state.tail)] = state.tail
        context.fill = len(state.tail)

    def update(self, buffer: Buffer) -> None:
        with pinned(buffer) as (address, length):
            self._update(ctypes.byref(self._context), address, length)

    @property
    def state(self) -> State:
        context, word_bits = self._context, 8 * self._shape.word_size
        count = (context.high << word_bits | context.low) // 8
        return State(self.algorithm, tuple(context.words), count, bytes(context.block[: context.fill]))

    def hexdigest(self) -> str:
        copy = type(self._context).from_buffer_copy(self._context)
        digest = ctypes.create_string_buffer(8 * self._shape.word_size)
        self._final(digest, ctypes.byref(copy))
        return digest.raw.hex()


@cache
def functions(algorithm: str) -> tuple[Any, Any, Any]:
    """libcrypto's Init, Update and Final, looked up through hashlib's own module: the copy that Python itself uses.

    What CDLL calls runs without the GIL.
    """
    import _hashlib  # here: a Python may be built without OpenSSL

    library = ctypes.CDLL(getattr(_hashlib, "__file__", None))
    name = algorithm.upper()
    init, update, final = (library[f"{name}_{verb}"] for verb in ("Init", "Update", "Final"))
    init.argtypes = [ctypes.c_void_p]
    update.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
    final.argtypes = [ctypes.c_char_p, ctypes.c_void_p]
    for function in (init, update, final):
        function.errcheck = must_succeed
    return init, update, final


def must_succeed(result: Any, function: Any, arguments: Any) -> Any:
    if result != 1:
        raise RuntimeError(f"libcrypto's {function.__name__} failed")
    return result


class PyBuffer(ctypes.Structure):
    """Py_buffer of Python's stable ABI."""

    _fields_ = [
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.py_object),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("format", ctypes.c_char_p),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("suboffsets", ctypes.c_void_p),
        ("internal", ctypes.c_void_p),
    ]


@contextmanager
def pinned(buffer: Buffer) -> Iterator[tuple[int | None, int]]:
    """Address and length of a buffer's bytes, which stay where they are until the end of the block.

    ctypes' own `from_buffer` refuses read-only buffers, and a copy would be paid for every byte of every layer.
    """
    view = PyBuffer()
    ctypes.pythonapi.PyObject_GetBuffer(ctypes.py_object(buffer), ctypes.byref(view), 0)
    try:
        yield view.buf, view.len
    finally:
        ctypes.pythonapi.PyBuffer_Release(ctypes.byref(view))
