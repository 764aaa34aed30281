"""Any driver against a dictionary: whatever is done in whichever order, bytes that count are there and no others."""

from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from storage.driver import ObjectBusy, ObjectDamaged, ObjectMissing, StorageDriver
from tests.storage.conftest import Kind

BLOCKS = st.lists(st.binary(max_size=300), max_size=4)


class Died(BaseException):
    """The writer ends in the middle, and nobody handles that."""


class Objects(RuleBasedStateMachine):
    kind: Kind

    keys = Bundle("keys")

    def __init__(self) -> None:
        super().__init__()
        self.directory = TemporaryDirectory()
        self.driver: StorageDriver = self.kind.make(Path(self.directory.name))
        self.driver.prepare()
        self.counting: dict[str, bytes] = {}  # what a database would say of each object
        self.complete: set[str] = set()
        self.begun = 0

    @rule(target=keys)
    def begin(self) -> Any:
        self.begun += 1
        key = f"{self.begun % 3:02}/{self.begun}"
        self.driver.begin(key)
        self.counting[key] = b""
        return key

    @rule(key=keys)
    def begin_again(self, key: str) -> None:
        if key in self.counting:
            with pytest.raises(FileExistsError):
                self.driver.begin(key)

    @rule(key=keys, blocks=BLOCKS, lost=BLOCKS, dies=st.booleans())
    def write(self, key: str, blocks: list[bytes], lost: list[bytes], dies: bool) -> None:
        """`lost` comes after the last sync, or nobody records that it came."""
        if key not in self.counting:
            with pytest.raises(ObjectMissing), self.driver.writer(key):
                pytest.fail("there is nothing to write to")
            return
        with suppress(Died), self.driver.writer(key, patience=0) as writer:
            writer.resume(len(self.counting[key]))
            self.complete.discard(key)
            for block in blocks:
                writer.append(block)
            writer.sync()
            self.counting[key] += b"".join(blocks)
            assert writer.size == len(self.counting[key])
            for block in lost:
                writer.append(block)
            if dies:
                raise Died

    @rule(key=keys, blocks=BLOCKS, room=st.integers(0, 200))
    def write_where_there_is_no_space(self, key: str, blocks: list[bytes], room: int) -> None:
        if key not in self.counting:
            return
        self.complete.discard(key)
        counting = self.counting[key]
        with self.kind.full(self.driver, len(counting) + room), self.driver.writer(key, patience=0) as writer:
            writer.resume(len(counting))
            try:
                for block in blocks:
                    writer.append(block)
                writer.sync()
            except OSError:
                writer.resume(len(counting))
                writer.sync()
            else:
                self.counting[key] += b"".join(blocks)

    @rule(key=keys)
    def finish(self, key: str) -> None:
        if key in self.counting:
            with self.driver.writer(key, patience=0) as writer:
                writer.resume(len(self.counting[key]))
                writer.complete()
            self.complete.add(key)

    @rule(key=keys)
    def meet_another_writer(self, key: str) -> None:
        if key in self.counting:
            with self.driver.writer(key), pytest.raises(ObjectBusy), self.driver.writer(key, patience=0):
                pytest.fail("there are two writers")

    @rule(key=keys, start=st.integers(0, 1200), length=st.integers(0, 1200), piece=st.integers(1, 400))
    def read(self, key: str, start: int, length: int, piece: int) -> None:
        if key in self.counting and key not in self.complete:
            return
        content, stop = self.counting.get(key), start + length
        if content is None or stop > len(content):
            with pytest.raises(ObjectMissing if content is None else ObjectDamaged):
                self.driver.read(key, start, stop)
            return
        with closing(self.driver.read(key, start, stop)) as reader:
            assert b"".join(iter(lambda: reader.read(piece), b"")) == content[start:stop]

    @rule(key=keys)
    def delete(self, key: str) -> None:
        self.driver.delete(key)
        self.counting.pop(key, None)
        self.complete.discard(key)

    @invariant()
    def what_is_complete_is_held_and_what_is_deleted_is_not(self) -> None:
        for key in self.complete:
            assert self.driver.holds(key, len(self.counting[key]))
            with closing(self.driver.read(key, 0, len(self.counting[key]))) as reader:
                assert reader.read() == self.counting[key]

    def teardown(self) -> None:
        self.directory.cleanup()


def run(kind: Kind, **how: Any) -> None:
    machine = type("Machine", (Objects,), {"kind": kind})
    checks = list(HealthCheck)
    run_state_machine_as_test(machine, settings=settings(deadline=None, suppress_health_check=checks, **how))


def test_objects_hold_what_counts_whatever_happens_in_whichever_order(kind):
    run(kind, max_examples=40, stateful_step_count=30, derandomize=True)


@pytest.mark.faults
def test_objects_hold_what_counts_many_times(kind):
    run(kind, max_examples=400, stateful_step_count=60)
