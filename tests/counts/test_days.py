"""How much is stored, day by day."""

from datetime import UTC, date, datetime

import pytest

from counts import recording
from counts.models import Day
from counts.recording import begin
from layers.models import Blob
from work.loop import run_due

pytestmark = pytest.mark.django_db

TODAY = date(2031, 5, 6)


@pytest.fixture
def clock(monkeypatch):
    """Sets what time it is, for the days and for what is due."""

    def set_to(text: str) -> datetime:
        moment = datetime.fromisoformat(text).replace(tzinfo=UTC)
        for module in ("counts.recording", "work.models"):
            monkeypatch.setattr(f"{module}.now", lambda: moment)
        return moment

    return set_to


def stored() -> list[tuple[int, int]]:
    """Which day of the month, and how many bytes."""
    return [(day.date.day, day.stored_bytes) for day in Day.objects.all()]


def test_the_bytes_of_all_blobs_are_written_down_each_once(clock, registry):
    clock("2031-05-06 12:00:00")
    for name in ("team/app", "team/other"):
        registry.push_blob(name, b"12345")
        registry.push_blob(name, b"1234567")
    begin(TODAY)
    run_due()
    assert stored() == [(6, 12)]


def test_an_empty_registry_stores_nothing(clock):
    clock("2031-05-06 12:00:00")
    begin(TODAY)
    run_due()
    assert stored() == [(6, 0)]


def test_the_latest_value_of_the_day_counts(clock, registry):
    clock("2031-05-06 12:00:00")
    begin(TODAY)
    run_due()
    registry.push_blob("team/app", b"12345")
    clock("2031-05-06 12:09:59")
    run_due()
    assert stored() == [(6, 0)]
    clock("2031-05-06 12:10:00")
    run_due()
    assert stored() == [(6, 5)]


def test_at_midnight_the_next_day_begins_and_the_last_one_stays_as_it_was(clock, registry):
    clock("2031-05-06 23:55:00")
    registry.push_blob("team/app", b"12345")
    begin(TODAY)
    run_due()
    registry.push_blob("team/app", b"1234567")
    clock("2031-05-07 00:00:00")
    run_due()
    run_due()
    assert stored() == [(6, 5), (7, 12)]
    assert Day.objects.get(date=TODAY).due_at is None


def test_a_day_that_a_late_count_has_brought_begins_the_present_one(clock, registry):
    clock("2031-05-08 00:00:01")
    begin(TODAY)
    run_due()
    run_due()
    assert stored() == [(6, 0), (8, 0)]


def test_a_day_that_has_begun_is_left_alone(clock):
    clock("2031-05-06 12:00:00")
    begin(TODAY)
    run_due()
    before = Day.objects.values().get()
    begin(TODAY)
    assert Day.objects.values().get() == before


@pytest.mark.parametrize("moment", ["2031-05-06 12:00:00", "2031-05-07 00:00:00"])
def test_what_is_written_down_leaves_the_claim_to_whoever_made_it(clock, moment):
    """Else a slower worker would free the row that a later one is at."""
    clock(moment)
    begin(TODAY)
    day = Day.objects.get()
    assert day.claim()
    recording.record_stored_bytes(day, 5)
    after = Day.objects.get(date=TODAY)
    assert (after.claimed_until, after.attempts) == (day.claimed_until, 1)


def test_a_failure_is_tried_again_and_then_forgotten(clock, monkeypatch):
    clock("2031-05-06 12:00:00")
    begin(TODAY)
    with monkeypatch.context() as patch:
        patch.setattr(Blob.objects, "aggregate", lambda **_: 1 / 0)
        run_due()
    assert "ZeroDivisionError" in Day.objects.get().last_error
    moment = clock("2031-05-06 12:01:00")
    run_due()
    day = Day.objects.get()
    assert (day.last_error, day.attempts, day.claimed_until) == ("", 0, None)
    assert day.due_at == moment + recording.LOOK
