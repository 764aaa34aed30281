"""Counting in the memory of a process, and writing down what was counted."""

import threading
from datetime import UTC, date, datetime

import pytest
from django.db import DatabaseError, OperationalError, connection

from counts import counting
from counts.models import Day
from layers.models import Layer
from manifests.models import Manifest
from tests.threads import at_once

real_start = counting.start


class Clock:
    """Says what time it is; the tests move it."""

    def __init__(self, text: str) -> None:
        self.set(text)

    def set(self, text: str) -> None:
        self.moment = datetime.fromisoformat(text).replace(tzinfo=UTC)

    def time(self) -> float:
        return self.moment.timestamp()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock("2031-05-06 12:00:00")
    monkeypatch.setattr(counting, "time", clock)
    return clock


@pytest.fixture
def manifest(registry) -> Manifest:
    registry.push_image("team/app", "v1")
    counting.forget()
    return Manifest.objects.get()


def pull(manifest: Manifest, times: int = 1) -> None:
    for _ in range(times):
        counting.pulled(Manifest, manifest.pk)


def days() -> list[tuple[date, int, int]]:
    return list(Day.objects.values_list("date", "pulls", "pushes"))


# --- Writing down -----------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_what_was_counted_is_added_to_the_row_and_to_the_day(manifest, clock):
    for _ in range(2):
        pull(manifest, 3)
        counting.pushed()
        counting.flush()
    manifest.refresh_from_db()
    assert (manifest.pulls, manifest.last_pulled_at) == (6, clock.moment)
    assert days() == [(date(2031, 5, 6), 6, 2)]


@pytest.mark.django_db
def test_nothing_is_written_before(manifest, django_assert_num_queries):
    with django_assert_num_queries(0):
        pull(manifest, 100)
        counting.pushed()
    assert not Day.objects.exists()


@pytest.mark.django_db
def test_where_nothing_was_counted_the_database_is_not_asked(django_assert_num_queries):
    with django_assert_num_queries(0):
        counting.flush()


@pytest.mark.django_db
def test_models_are_told_apart(manifest):
    layer = Layer.objects.order_by("pk").first()
    pull(manifest)
    counting.pulled(Layer, layer.pk)
    counting.pulled(Layer, layer.pk)
    counting.flush()
    assert Manifest.objects.get().pulls == 1
    assert sorted(Layer.objects.values_list("pulls", flat=True)) == [0, 2]
    assert Day.objects.get().pulls == 3


@pytest.mark.django_db
def test_a_row_that_is_gone_meanwhile_is_passed_over_and_counts_for_its_day(manifest, owner):
    pull(manifest)
    counting.pulled(Layer, 1_000_000)
    owner.ask("DELETE", f"/v2/team/app/manifests/{manifest.digest}")
    counting.flush()
    assert Day.objects.get().pulls == 2


@pytest.mark.django_db
def test_the_days_change_at_midnight_in_utc_whenever_it_is_written_down(manifest, clock):
    clock.set("2031-05-06 23:59:59.9")
    pull(manifest, 2)
    clock.set("2031-05-07 00:00:00")
    pull(manifest)
    counting.pushed()
    clock.set("2031-05-08 09:00:00")
    counting.flush()
    manifest.refresh_from_db()
    assert (manifest.pulls, manifest.last_pulled_at) == (3, datetime(2031, 5, 7, tzinfo=UTC))
    assert days() == [(date(2031, 5, 6), 2, 0), (date(2031, 5, 7), 1, 1)]


@pytest.mark.django_db
def test_an_older_pull_of_another_process_does_not_move_the_last_one_back(manifest, clock):
    pull(manifest)
    counting.flush()
    clock.set("2031-05-06 11:59:59.5")
    pull(manifest)
    counting.flush()
    manifest.refresh_from_db()
    assert (manifest.pulls, manifest.last_pulled_at) == (2, datetime(2031, 5, 6, 12, tzinfo=UTC))


@pytest.mark.django_db
def test_many_rows_are_written_in_several_transactions_in_the_order_of_their_ids(registry, monkeypatch):
    for number in range(5):
        registry.push_blob("team/app", b"layer %d" % number)
    ids = sorted(Layer.objects.values_list("pk", flat=True))
    written = []
    monkeypatch.setattr(counting, "BATCH", 2)
    monkeypatch.setattr(counting, "record", lambda model, counts: written.append([count.pk for count in counts]))
    for pk in reversed(ids):
        counting.pulled(Layer, pk)
    counting.flush()
    assert written == [ids[:2], ids[2:4], ids[4:]]


# --- At once ----------------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_counts_of_many_threads_are_all_there_also_while_they_are_written_down(manifest):
    over = threading.Event()

    def write() -> None:
        while not over.is_set():
            counting.flush()

    def count() -> None:
        pull(manifest, 2000)

    writer = threading.Thread(target=lambda: (write(), connection.close()))
    writer.start()
    at_once(*[count] * 4)
    over.set()
    writer.join()
    counting.flush()
    assert Manifest.objects.get().pulls == Day.objects.get().pulls == 8000


@pytest.mark.django_db(transaction=True)
def test_processes_that_write_the_same_rows_at_once_do_not_wait_for_each_other_for_ever(registry):
    for number in range(30):
        registry.push_blob("team/app", b"layer %d" % number)
    counting.forget()
    ids = list(Layer.objects.values_list("pk", flat=True))
    today = counting.time.time()
    orders = [ids, ids[::-1], ids[10:] + ids[:10]]

    def process(order: list[int]) -> None:
        taken = {(Layer, pk, today // counting.SECONDS_OF_A_DAY): (1, today) for pk in order}
        for model, counts in counting.parts(taken):
            counting.record(model, counts)

    for _ in range(10):
        assert at_once(*[lambda order=order: process(order) for order in orders]) == [None] * 3
    assert set(Layer.objects.values_list("pulls", flat=True)) == {30}
    assert Day.objects.get().pulls == 900


# --- A database that is away ------------------------------------------------------------------------------------------


def fail(*_: object, **__: object) -> None:
    raise OperationalError("the database is away")


@pytest.mark.django_db
def test_what_cannot_be_written_is_kept_and_added_to_what_comes(manifest, monkeypatch):
    pull(manifest, 2)
    with monkeypatch.context() as patch:
        patch.setattr(counting, "record", fail)
        for _ in range(2):
            pull(manifest)
            with pytest.raises(DatabaseError):
                counting.flush()
    counting.flush()
    counting.flush()
    assert Manifest.objects.get().pulls == Day.objects.get().pulls == 4


@pytest.mark.django_db
def test_what_was_written_before_the_failure_is_not_written_again(manifest, monkeypatch):
    layers = list(Layer.objects.values_list("pk", flat=True))
    for pk in layers:
        counting.pulled(Layer, pk)
    pull(manifest)
    monkeypatch.setattr(counting, "BATCH", 1)
    real, calls = counting.record, []

    def fail_at_the_second(*arguments) -> None:
        calls.append(arguments)
        if len(calls) == 2:
            raise OperationalError("the database is away")
        real(*arguments)

    monkeypatch.setattr(counting, "record", fail_at_the_second)
    with pytest.raises(DatabaseError):
        counting.flush()
    counting.flush()
    assert Manifest.objects.get().pulls == 1
    assert set(Layer.objects.values_list("pulls", flat=True)) == {1}
    assert Day.objects.get().pulls == len(layers) + 1


@pytest.mark.django_db
def test_a_count_is_in_the_row_and_in_the_day_or_in_neither(manifest, monkeypatch):
    pull(manifest)
    with monkeypatch.context() as patch:
        patch.setattr("counts.recording.add_to_day", fail)
        with pytest.raises(DatabaseError):
            counting.flush()
    assert Manifest.objects.get().pulls == 0
    counting.flush()
    assert Manifest.objects.get().pulls == Day.objects.get().pulls == 1


@pytest.mark.django_db
def test_only_so_many_rows_are_kept_and_the_day_counts_the_others(registry, monkeypatch):
    for number in range(3):
        registry.push_blob("team/app", b"layer %d" % number)
    ids = sorted(Layer.objects.values_list("pk", flat=True))
    monkeypatch.setattr(counting, "ROWS", 2)
    with monkeypatch.context() as patch:
        patch.setattr(counting, "record", fail)
        for pk in [*ids, *ids]:
            counting.pulled(Layer, pk)
        with pytest.raises(DatabaseError):
            counting.flush()
        assert len(counting._counted) == 3
    counting.flush()
    assert list(Layer.objects.order_by("pk").values_list("pulls", flat=True)) == [2, 2, 0]
    assert Day.objects.get().pulls == 6


# --- The thread -------------------------------------------------------------------------------------------------------


@pytest.fixture
def _thread_of_its_own(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(counting, "start", real_start)
    monkeypatch.setattr(counting, "_thread", None)
    monkeypatch.setattr(counting, "_ending", threading.Event())
    monkeypatch.setattr(counting.atexit, "register", lambda _: None)
    yield
    counting.end()
    assert counting._thread is None or not counting._thread.is_alive()


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_thread_of_its_own")
def test_the_first_count_starts_one_thread_and_the_end_waits_until_it_has_written(manifest):
    at_once(*[lambda: pull(manifest, 50)] * 4)
    assert [thread.name for thread in threading.enumerate()].count("counts") == 1
    assert Manifest.objects.get().pulls == 0
    counting.end()
    assert Manifest.objects.get().pulls == 200


@pytest.fixture
def _without_long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the thread begins, which the push of a manifest starts."""
    monkeypatch.setattr(counting, "PAUSE", 0.01)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_without_long_pauses", "_thread_of_its_own")
def test_the_thread_survives_a_database_that_is_away(manifest, monkeypatch, caplog):
    failed, real = threading.Event(), counting.record

    def fail_once(*arguments) -> None:
        if not failed.is_set():
            failed.set()
            raise OperationalError("the database is away")
        real(*arguments)

    monkeypatch.setattr(counting, "record", fail_once)
    pull(manifest)
    assert failed.wait(30)
    counting.end()
    assert Manifest.objects.get().pulls == 1
    assert "kept for later" in caplog.text


@pytest.mark.usefixtures("_thread_of_its_own")
def test_a_process_that_counted_nothing_has_no_thread():
    counting.end()
    assert "counts" not in [thread.name for thread in threading.enumerate()]
