"""Hashing beside writing: while one thread writes a block, another one hashes it, on another core.

Hashing is most of what a push costs, and neither hashing nor writing holds the GIL.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from oci.digests import Hasher
from storage.driver import Buffer

UNFINISHED = 3  # blocks: one that is being hashed and two that wait; as many as a body keeps valid


class HashingBeside:
    """Takes blocks for a hasher, which is the caller's again after `settle`."""

    def __init__(self, hasher: Hasher, pool: ThreadPoolExecutor) -> None:
        self._hasher, self._pool = hasher, pool
        self._first = True
        self._unfinished: deque[Future[None]] = deque()

    def update(self, block: Buffer) -> None:
        """Have the block hashed; it must stay as it is until `update` has returned for the third block after it.

        Raises what went wrong with an earlier one.
        """
        if self._first:  # of most bodies the only one: not worth a thread
            self._first = False
            self._hasher.update(block)
            return
        self._unfinished.append(self._pool.submit(self._hasher.update, block))
        self._wait_until_left(UNFINISHED)

    def settle(self) -> None:
        """Return when all blocks are hashed. Raises what went wrong with one of them."""
        self._wait_until_left(0)

    def _wait_until_left(self, blocks: int) -> None:
        while len(self._unfinished) > blocks:
            self._unfinished.popleft().result()


@contextmanager
def hashing_beside(hasher: Hasher) -> Iterator[HashingBeside]:
    """All that was handed in is hashed on leaving; when leaving by an exception, nothing touches blocks any more."""
    pool = ThreadPoolExecutor(1, "hashing")  # starts its thread when there is something to do
    try:
        hashing = HashingBeside(hasher, pool)
        yield hashing
        hashing.settle()
    finally:
        pool.shutdown(cancel_futures=True)
