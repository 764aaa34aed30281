import threading

import pytest

from oci.digests import Digest, Hasher
from uploads.hashing_beside import UNFINISHED, hashing_beside


class Watched:
    """A hasher that says who hashed what, and waits at a gate before."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.hashed: list[int] = []
        self.threads: list[str] = []
        self.wrong = -1  # the block that it cannot hash

    def update(self, block: bytes) -> None:
        assert self.gate.wait(10)
        if block[0] == self.wrong:
            raise RuntimeError("out of order")
        self.threads.append(threading.current_thread().name)
        self.hashed.append(block[0])


@pytest.fixture
def hasher():
    return Watched()


def blocks(start, stop):
    return [bytes([number]) for number in range(start, stop)]


def test_everything_is_hashed_in_order():
    content = [bytes([number]) * 1000 for number in range(100)]
    hasher = Hasher("sha256")
    with hashing_beside(hasher) as hashing:
        for block in content:
            hashing.update(block)
    assert hasher.digest == Digest.of(b"".join(content))


def test_a_body_of_one_block_is_not_worth_a_thread(hasher):
    with hashing_beside(hasher) as hashing:
        hashing.update(b"\0")
        assert hasher.hashed == [0]
    assert hasher.threads == [threading.current_thread().name]


def test_all_further_blocks_are_hashed_by_one_thread_which_ends_with_them(hasher):
    with hashing_beside(hasher) as hashing:
        for block in blocks(0, 10):
            hashing.update(block)
    assert len({*hasher.threads[1:]}) == 1
    assert hasher.threads[1] != hasher.threads[0]
    assert hasher.threads[1] not in [thread.name for thread in threading.enumerate()]


def test_a_block_is_hashed_before_the_third_after_it_is_taken(hasher):
    with hashing_beside(hasher) as hashing:
        hashing.update(b"\0")
        hasher.gate.clear()
        for block in blocks(1, 1 + UNFINISHED):
            hashing.update(block)  # does not wait
        opener = threading.Timer(0.2, hasher.gate.set)
        opener.start()
        hashing.update(bytes([1 + UNFINISHED]))
        assert hasher.hashed[:2] == [0, 1]
        opener.join()


def test_after_settling_nothing_is_left_to_hash_and_more_may_come(hasher):
    with hashing_beside(hasher) as hashing:
        for start in (0, 3, 6):
            for block in blocks(start, start + 3):
                hashing.update(block)
            hashing.settle()
            assert hasher.hashed == list(range(start + 3))


@pytest.mark.parametrize("wrong", [0, 1, 5, 9])
def test_what_goes_wrong_in_the_other_thread_is_raised_here(hasher, wrong):
    hasher.wrong = wrong
    with pytest.raises(RuntimeError, match="out of order"), hashing_beside(hasher) as hashing:  # noqa: PT012
        for block in blocks(0, 10):
            hashing.update(block)


def test_nothing_is_hashed_any_more_when_the_body_went_wrong(hasher):
    with pytest.raises(OSError, match="disk full"), hashing_beside(hasher) as hashing:  # noqa: PT012
        hashing.update(b"\0")
        hasher.gate.clear()
        for block in blocks(1, 1 + UNFINISHED):
            hashing.update(block)
        threading.Timer(0.2, hasher.gate.set).start()
        raise OSError("disk full")
    assert hasher.hashed in ([0], [0, 1])  # the one that was at the gate
