"""What is inside a stored layer, found out by a process of its own that is held to limits (`layers/looking.py`)."""

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import IO, cast

from layers.looking import CUT_OFF
from oci.contents import BROKEN, OTHER, TAR, TOO_MUCH, Inside
from oci.digests import Digest
from oci.errors import DigestInvalid
from oci.tarsum import TarSum
from storage.driver import ObjectDamaged, Reader, blobs, descriptor_of

# What may be computed: enough for the smallest bomb to show itself, and for a layer of any size to be read.
SECONDS = 30
BYTES_PER_SECOND = 8 << 20  # as stored
WAITING = 10  # how many times as long the clock may run: the process gives way to all others

ROOT = Path(__file__).resolve().parent.parent
BLOCK = 1 << 16
PAUSE = 0.5  # seconds between two looks whether the answer is wanted still
ANSWER = 4096  # bytes of an answer, at most
REMARK = 500  # characters
CRASHES = {-signal.SIGSEGV, -signal.SIGBUS, -signal.SIGFPE, -signal.SIGILL, -signal.SIGABRT}


class LookFailed(Exception):
    """What is inside was not found out, and the layer is not to blame: try again later."""


def look_inside(key: str, size: int, version: int = 1, unwanted: threading.Event | None = None) -> Inside:
    """Read the object, which has `size` bytes, once, and say what it holds; `version` is that of the TarSum.

    Takes as long as a layer of that size may take, and next to nothing of this process. Raises LookFailed, soon after
    it has become `unwanted` too, and what the driver raises.
    """
    seconds = SECONDS + size // BYTES_PER_SECOND
    with closing(blobs().read(key, 0, size)) as stored, standard_input(stored) as source:
        answer, status = ask(source, size, seconds, version, unwanted or threading.Event())
    if status == CUT_OFF:
        raise ObjectDamaged(key)
    if status == -signal.SIGXCPU:
        return Inside(TOO_MUCH, f"more than {seconds} seconds of computing")
    if status in CRASHES:
        return Inside(BROKEN, f"whoever looks into it crashes: {signal.Signals(-status).name}")
    if status:
        raise LookFailed(f"looking into {key} ended with status {status}")
    return validated(answer, version)


@contextmanager
def standard_input(stored: Reader) -> Iterator[int]:
    """A descriptor from which a process can read: the file itself, or a pipe that a thread fills."""
    descriptor = descriptor_of(stored)
    if descriptor is not None:
        yield descriptor
        return
    source, sink = os.pipe()
    with ThreadPoolExecutor(1) as pool:
        try:
            filled = pool.submit(fill, sink, stored)
            yield source
        finally:
            os.close(source)  # where it was not read to its end, that ends the thread
        filled.result()


def fill(sink: int, stored: Reader) -> None:
    with open(sink, "wb", buffering=0) as pipe, suppress(BrokenPipeError):
        while block := stored.read(BLOCK):
            left = memoryview(block)
            while left:
                left = left[pipe.write(left) :]


def ask(source: int, size: int, seconds: int, version: int, unwanted: threading.Event) -> tuple[bytes, int]:
    """What a new process answers, and its exit status. Of our environment it gets nothing: that has secrets."""
    numbers = (size, seconds, version, os.getpid())
    command = [sys.executable, "-B", "-s", "-m", "layers.looking", *map(str, numbers)]
    process = subprocess.Popen(  # noqa: S603 - nothing in the command comes from anybody
        command, stdin=source, stdout=subprocess.PIPE, cwd=ROOT, env={}, start_new_session=True
    )
    with process:
        try:
            pipe = cast(IO[bytes], process.stdout)
            answer = read_answer(pipe.fileno(), time.monotonic() + WAITING * seconds, unwanted)
            return answer, process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            raise LookFailed("it answered and did not end") from None
        finally:
            process.kill()  # unless it has ended


def read_answer(descriptor: int, deadline: float, unwanted: threading.Event) -> bytes:
    answer = b""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    while len(answer) <= ANSWER:
        while not poll.poll(PAUSE * 1000):
            if unwanted.is_set():
                raise LookFailed("nobody wants the answer any more")
            if time.monotonic() > deadline:
                raise LookFailed("no answer in time: this machine, or its storage, is too busy")
        block = os.read(descriptor, BLOCK)
        if not block:
            return answer
        answer += block
    raise LookFailed("the answer never ends")


def validated(answer: bytes, version: int) -> Inside:
    """The process that answers has had hostile bytes before it. Raises LookFailed for what cannot be meant."""
    try:
        found = Inside(**json.loads(answer))
        sound = found.contents in (TAR, OTHER, BROKEN, TOO_MUCH) and found.compression in ("", "none", "gzip", "zstd")
        sound &= is_count(found.files) and is_count(found.uncompressed_size)
        sound &= isinstance(found.remark, str) and found.remark.isprintable() and len(found.remark) <= REMARK
        sound &= not found.diff_id or Digest.parse(found.diff_id).algorithm == "sha256"
        sound &= not found.tarsum or TarSum.parse(found.tarsum).version == version
    except (ValueError, TypeError, AttributeError, RecursionError, DigestInvalid):
        sound = False
    if not sound:
        raise LookFailed("the answer makes no sense")
    return found


def is_count(number: object) -> bool:
    return number is None or (type(number) is int and 0 <= number < 1 << 63)
