"""What every driver promises, said in terms of the protocol alone."""

import errno
import gc
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress

import pytest

from storage.driver import ObjectBusy, ObjectDamaged, ObjectMissing, StorageAway, StorageDriver, StorageError

KEY = "ab/abcdef"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # the last where a test can only limit the size of a file


class Died(Exception):
    """A writer ends in the middle."""


def store(driver: StorageDriver, content: bytes, key: str = KEY) -> None:
    driver.begin(key)
    with driver.writer(key) as writer:
        writer.resume(0)
        writer.append(content)
        writer.sync()
        writer.complete()


def content_of(driver: StorageDriver, size: int, start: int = 0) -> bytes:
    with closing(driver.read(KEY, start, size)) as reader:
        return b"".join(iter(lambda: reader.read(3), b""))


def write(driver: StorageDriver, offset: int, *blocks: bytes) -> None:
    """One chunk of an upload."""
    with driver.writer(KEY) as writer:
        writer.resume(offset)
        for block in blocks:
            writer.append(block)
        writer.sync()


def complete(driver: StorageDriver, size: int) -> None:
    with driver.writer(KEY) as writer:
        writer.resume(size)
        writer.complete()


# --- The place --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "use",
    [
        lambda driver: driver.begin(KEY),
        lambda driver: driver.writer(KEY).__enter__(),
        lambda driver: driver.read(KEY, 0, 0),
        lambda driver: driver.holds(KEY, 0),
        lambda driver: driver.delete(KEY),
    ],
)
def test_a_place_that_is_not_there_tells_nothing_about_objects(unprepared, use):
    with pytest.raises(StorageAway):
        use(unprepared)
    unprepared.prepare()
    assert not unprepared.holds(KEY, 0)


def test_preparing_again_keeps_what_is_there(driver):
    store(driver, b"kept")
    driver.prepare()
    assert content_of(driver, 4) == b"kept"


# --- Names ------------------------------------------------------------------------------------------------------------


def test_a_key_is_used_once(driver):
    driver.begin(KEY)
    with pytest.raises(FileExistsError):
        driver.begin(KEY)


def test_a_key_of_a_complete_object_is_not_begun_again_and_keeps_its_bytes(driver):
    store(driver, b"first")
    with pytest.raises(FileExistsError):
        driver.begin(KEY)
    assert content_of(driver, 5) == b"first"


def test_keys_do_not_meet(driver):
    store(driver, b"one", "ab/one")
    store(driver, b"other", "ab/other")
    driver.delete("ab/one")
    assert driver.holds("ab/other", 5)


def test_only_begin_creates(driver):
    with pytest.raises(ObjectMissing), driver.writer(KEY):
        pytest.fail("there is nothing to write to")
    with pytest.raises(ObjectMissing):
        driver.read(KEY, 0, 0)
    assert not driver.holds(KEY, 0)


# --- Writing ----------------------------------------------------------------------------------------------------------


def test_what_is_appended_is_read(driver):
    driver.begin(KEY)
    with driver.writer(KEY) as writer:
        writer.resume(0)
        for block in (b"bytes", bytearray(b"array"), memoryview(b"-view-")[1:-1]):
            writer.append(block)
        assert writer.size == 14
        writer.sync()
        writer.complete()
    assert content_of(driver, 14) == b"bytesarrayview"


def test_an_object_without_bytes_is_an_object(driver):
    store(driver, b"")
    assert driver.holds(KEY, 0)
    assert content_of(driver, 0) == b""


def test_a_writer_goes_on_where_another_ended(driver):
    driver.begin(KEY)
    for offset, block in ((0, b"one "), (4, b"two "), (8, b"three")):
        with driver.writer(KEY) as writer:
            writer.resume(offset)
            assert writer.size == offset
            writer.append(block)
            writer.sync()
    with driver.writer(KEY) as writer:
        writer.resume(13)
        writer.complete()
    assert content_of(driver, 13) == b"one two three"


def test_what_a_dead_writer_left_beyond_the_offset_is_gone(driver):
    driver.begin(KEY)
    with suppress(Died), driver.writer(KEY) as writer:
        writer.resume(0)
        writer.append(b"kept")
        writer.sync()
        writer.append(b" and a long piece that nobody knows of")
        raise Died
    with driver.writer(KEY) as writer:
        writer.resume(4)
        writer.append(b"!")
        writer.sync()
        writer.complete()
    assert driver.holds(KEY, 5)
    assert content_of(driver, 5) == b"kept!"


def test_what_a_writer_that_is_only_forgotten_had_synced_counts(driver):
    driver.begin(KEY)
    forgotten = driver.writer(KEY)
    writer = forgotten.__enter__()
    writer.resume(0)
    writer.append(b"kept")
    writer.sync()
    writer.append(b", lost")
    del forgotten, writer  # nobody ends it: its thread is gone
    gc.collect()
    write(driver, 4, b"!")
    complete(driver, 5)
    assert driver.holds(KEY, 5)
    assert content_of(driver, 5) == b"kept!"


@pytest.mark.parametrize("offset", [0, 3])
def test_less_than_what_was_synced_may_count(driver, offset):
    """The writer died after the sync, before the database knew."""
    driver.begin(KEY)
    write(driver, 0, b"0123456789")
    write(driver, offset, b"new")
    complete(driver, offset + 3)
    assert driver.holds(KEY, offset + 3)
    assert content_of(driver, offset + 3) == b"0123456789"[:offset] + b"new"


def test_a_writer_may_cut_off_its_own_bytes(driver):
    driver.begin(KEY)
    with driver.writer(KEY) as writer:
        writer.resume(0)
        writer.append(b"kept")
        writer.sync()
        writer.append(b" and what did not fit")
        writer.resume(4)
        assert writer.size == 4
        writer.append(b"!")
        writer.sync()
        writer.complete()
    assert content_of(driver, 5) == b"kept!"


def test_a_writer_can_start_over(driver):
    store(driver, b"something else")
    with driver.writer(KEY) as writer:
        writer.resume(0)
        writer.append(b"new")
        writer.sync()
        writer.complete()
    assert driver.holds(KEY, 3)


def test_resuming_beyond_the_end_finds_the_damage(driver):
    driver.begin(KEY)
    with driver.writer(KEY) as writer:
        writer.resume(0)
        writer.append(b"1234")
        writer.sync()
        with pytest.raises(ObjectDamaged):
            writer.resume(5)


def test_completing_may_be_repeated(driver):
    store(driver, b"done")
    for _ in range(2):
        with driver.writer(KEY) as writer:
            writer.resume(4)
            writer.complete()
            writer.complete()
    assert content_of(driver, 4) == b"done"


# --- One writer at a time ---------------------------------------------------------------------------------------------


def test_a_second_writer_waits_until_the_first_ends(driver):
    driver.begin(KEY)
    entered = threading.Event()

    def second() -> None:
        with driver.writer(KEY, patience=10):
            entered.set()

    thread = threading.Thread(target=second)
    with driver.writer(KEY):
        thread.start()
        assert not entered.wait(0.2)
    assert entered.wait(5)
    thread.join()


def test_a_writer_that_supersedes_another_goes_on_after_what_that_one_had_synced(driver):
    driver.begin(KEY)
    done: list[int] = []  # bytes that count

    def second() -> None:
        with driver.writer(KEY) as writer:
            writer.resume(done[-1])
            writer.append(b" second")
            writer.sync()
            done.append(writer.size)

    thread = threading.Thread(target=second)
    with driver.writer(KEY) as writer:
        thread.start()
        writer.resume(0)
        writer.append(b"first")
        writer.sync()
        done.append(writer.size)
        writer.append(b" and what was not recorded")
    thread.join()
    complete(driver, 12)
    assert done == [5, 12]
    assert content_of(driver, 12) == b"first second"


def test_of_many_writers_one_at_a_time_is_in(driver):
    driver.begin(KEY)
    inside, most, finished = [], [], []

    def another(number: int) -> None:
        with driver.writer(KEY, patience=60) as writer:
            inside.append(number)
            most.append(len(inside))
            writer.resume(4 * len(finished))
            writer.append(b"%04d" % number)
            writer.sync()
            finished.append(number)
            inside.remove(number)

    threads = [threading.Thread(target=another, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    complete(driver, 32)
    assert set(most) == {1}
    assert content_of(driver, 32) == b"".join(b"%04d" % number for number in finished)


def test_a_second_writer_gives_up_after_its_patience(driver):
    driver.begin(KEY)
    with driver.writer(KEY):
        started = time.monotonic()
        with pytest.raises(ObjectBusy), driver.writer(KEY, patience=0.2):
            pytest.fail("there are two writers")
        assert 0.15 < time.monotonic() - started < 5
    with driver.writer(KEY, patience=0):
        """The one that gave up left nothing behind."""


def test_a_writer_that_failed_lets_go(driver):
    driver.begin(KEY)
    with pytest.raises(Died), driver.writer(KEY):
        raise Died
    with driver.writer(KEY, patience=0):
        """Entered at once."""


def test_writers_of_different_objects_do_not_wait_for_each_other(driver):
    driver.begin("ab/one")
    driver.begin("ab/other")
    with driver.writer("ab/one"), driver.writer("ab/other", patience=0):
        """Both are in."""


# --- Reading ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("start", "stop"), [(0, 10), (0, 1), (9, 10), (3, 7), (5, 5), (0, 0), (10, 10)])
def test_a_part_is_read(driver, start, stop):
    store(driver, b"0123456789")
    assert content_of(driver, stop, start) == b"0123456789"[start:stop]


def test_a_part_is_read_at_once_or_in_pieces(driver):
    store(driver, b"0123456789")
    with closing(driver.read(KEY, 2, 8)) as reader:
        assert reader.read(2) == b"23"
        assert reader.read() == b"4567"
        assert reader.read() == b""
        assert reader.read(1) == b""


def test_any_part_is_found_by_reading_it(driver):
    """As whoever seeks in an object does: each piece by a reader of its own, in any order."""
    store(driver, b"0123456789")
    for start in range(11):
        for stop in range(start, 11):
            assert content_of(driver, stop, start) == b"0123456789"[start:stop]


def test_more_may_be_asked_of_a_reader_than_its_part_has(driver):
    store(driver, b"0123456789")
    with closing(driver.read(KEY, 2, 8)) as reader:
        assert reader.read(1000) == b"234567"
        assert reader.read(1000) == b""


@pytest.mark.parametrize(("start", "stop"), [(0, 11), (10, 11), (20, 30)])
def test_an_object_that_is_too_short_is_damaged(driver, start, stop):
    store(driver, b"0123456789")
    with pytest.raises(ObjectDamaged):
        driver.read(KEY, start, stop)


def test_an_object_is_held_with_exactly_its_size(driver):
    store(driver, b"1234")
    assert [size for size in range(7) if driver.holds(KEY, size)] == [4]


def test_readers_do_not_disturb_each_other(driver):
    store(driver, b"0123456789")
    with closing(driver.read(KEY, 0, 10)) as one, closing(driver.read(KEY, 5, 10)) as other:
        assert one.read(2) + other.read(2) + one.read(2) + other.read(2) == b"01562378"


# --- Deleting ---------------------------------------------------------------------------------------------------------


def made(driver: StorageDriver) -> None:
    store(driver, b"complete")


def unfinished(driver: StorageDriver) -> None:
    driver.begin(KEY)
    with driver.writer(KEY) as writer:
        writer.resume(0)
        writer.append(b"unfin")


@pytest.mark.parametrize("prepare", [made, unfinished, lambda driver: driver.begin(KEY)])
def test_a_deleted_object_is_missing(driver, prepare: Callable[[StorageDriver], None]):
    prepare(driver)
    driver.delete(KEY)
    assert not driver.holds(KEY, 0)
    with pytest.raises(ObjectMissing):
        driver.read(KEY, 0, 0)
    with pytest.raises(ObjectMissing), driver.writer(KEY):
        pytest.fail("there is nothing to write to")


def test_deleting_twice_and_deleting_nothing_is_success(driver):
    driver.delete("cd/never was")
    store(driver, b"bytes")
    driver.delete(KEY)
    driver.delete(KEY)


def test_a_reader_that_has_begun_is_not_disturbed_by_the_deletion(driver):
    store(driver, b"0123456789")
    with closing(driver.read(KEY, 0, 10)) as reader:
        assert reader.read(4) == b"0123"
        driver.delete(KEY)
        assert reader.read() == b"456789"


def test_an_object_deleted_under_its_writer_does_not_come_back(driver):
    driver.begin(KEY)
    with suppress(StorageError, OSError), driver.writer(KEY) as writer:
        writer.resume(0)
        writer.append(b"1234")
        driver.delete(KEY)
        writer.append(b"5678")
        writer.sync()
        writer.complete()
    assert not driver.holds(KEY, 8)
    with pytest.raises(ObjectMissing):
        driver.read(KEY, 0, 0)


# --- No space ---------------------------------------------------------------------------------------------------------


def refused(write: Callable[[], None]) -> bool:
    try:
        write()
    except OSError as problem:
        return problem.errno in FULL
    return False


def test_where_there_is_no_space_what_counts_stays_and_writing_goes_on_once_there_is(driver, full):
    driver.begin(KEY)
    write(driver, 0, b"12345")
    with full(1000), driver.writer(KEY) as writer:

        def fill() -> None:
            for _ in range(10):
                writer.append(bytes(5000))
                writer.sync()

        writer.resume(5)
        writer.append(bytes(500))
        assert refused(fill)
        writer.resume(5)
        writer.sync()
    write(driver, 5, b"678", bytes(5000))
    complete(driver, 5008)
    assert driver.holds(KEY, 5008)
    assert content_of(driver, 8) == b"12345678"


def test_other_objects_are_read_and_deleted_where_there_is_no_space(driver, full):
    store(driver, b"12345")
    with full(0):
        assert refused(lambda: store(driver, b"1", "ab/other"))
        assert content_of(driver, 5) == b"12345"
        driver.delete(KEY)
        assert not driver.holds(KEY, 5)
