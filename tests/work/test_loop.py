"""Rows that are due, found by whoever looks: claims, failures, and what a killed worker leaves."""

import errno
import os
import subprocess
import sys
import threading
import time
from datetime import timedelta

import pytest
from django.db.models import Q
from django.utils.timezone import now

from layers.models import PendingDelete
from layers.services import erase
from storage.driver import blobs
from storage.filesystem import FilesystemDriver
from work import loop, models
from work.models import CLAIM, LONGEST_PAUSE


def due(key: str = "ab/abcdef", **fields) -> PendingDelete:
    return PendingDelete.objects.create(key=key, **{"due_at": now() - timedelta(seconds=1), **fields})


def keys_done(duties) -> list[str]:
    """What the duty is called with, as it is called; each row is done with afterwards."""
    called: list[str] = []

    @loop.duty(PendingDelete, str)
    def note(row: PendingDelete) -> None:
        called.append(row.key)
        row.delete()

    return called


# --- What is due ------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_model_may_have_one_duty_for_some_of_its_rows_and_another_for_the_rest(duties):
    for number in range(3):
        due(f"a{number}/x")
    done: dict[str, set[str]] = {"some": set(), "rest": set()}

    def doing(name: str):
        def do(row: PendingDelete) -> None:
            done[name].add(row.key)
            row.delete()

        do.__name__ = name
        return do

    some = Q(key__startswith="a1")
    loop.duty(PendingDelete, str, only=some)(doing("some"))
    loop.duty(PendingDelete, str, only=~some)(doing("rest"))
    loop.run_due()
    assert done == {"some": {"a1/x"}, "rest": {"a0/x", "a2/x"}}
    assert list(duties) == ["layers.PendingDelete.some", "layers.PendingDelete.rest"]


@pytest.mark.django_db
def test_what_is_due_is_done_once_and_the_oldest_first(duties):
    called = keys_done(duties)
    for minutes in (1, 3, 2):
        due(f"ab/{minutes}", due_at=now() - timedelta(minutes=minutes))
    loop.run_due()
    loop.run_due()
    assert called == ["ab/3", "ab/2", "ab/1"]


@pytest.mark.django_db
def test_what_is_not_due_waits(duties):
    called = keys_done(duties)
    due("ab/later", due_at=now() + timedelta(minutes=1))
    due("ab/never", due_at=None)
    loop.run_due()
    assert called == []
    assert PendingDelete.objects.count() == 2
    PendingDelete.objects.all().delete()


@pytest.mark.django_db
def test_a_look_that_has_no_more_time_ends_what_it_began_and_leaves_the_rest(duties):
    called = keys_done(duties)
    for number in range(3):
        due(f"ab/{number}")
    [duty] = loop.duties()
    assert loop.run(duty, seconds=0) == 1
    assert len(called) == 1
    assert loop.run(duty) == 2


@pytest.mark.django_db
def test_a_look_that_is_to_stop_takes_no_further_row(duties):
    stop = threading.Event()

    @loop.duty(PendingDelete, str)
    def stop_here(row: PendingDelete) -> None:
        row.delete()
        stop.set()

    for number in range(3):
        due(f"ab/{number}")
    [duty] = loop.duties()
    assert loop.run(duty, stop=stop) == 1
    assert loop.run(duty, stop=stop) == 0
    PendingDelete.objects.all().delete()


# --- Claims -----------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_of_several_who_claim_a_row_one_succeeds():
    due()
    workers = [PendingDelete.objects.get() for _ in range(3)]
    assert [row.claim() for row in workers] == [True, False, False]
    PendingDelete.objects.all().delete()


@pytest.mark.django_db(transaction=True)
def test_workers_that_look_at_the_same_time_do_each_row_once(duties):
    for number in range(20):
        due(f"ab/{number}")
    called, together = keys_done(duties), threading.Barrier(3)

    def worker() -> None:
        together.wait()
        loop.run_due()
        loop.connection.close()

    threads = [threading.Thread(target=worker) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(called) == sorted(f"ab/{number}" for number in range(20))


@pytest.mark.django_db
def test_a_row_that_was_done_meanwhile_cannot_be_claimed():
    row = due()
    PendingDelete.objects.all().delete()
    assert not row.claim()


@pytest.mark.django_db
def test_a_claim_of_a_killed_worker_ends(duties):
    class Killed(BaseException):
        pass

    @loop.duty(PendingDelete, str)
    def die(row: PendingDelete) -> None:
        raise Killed

    row = due()
    with pytest.raises(Killed):
        loop.run_due()
    called = keys_done(duties)
    loop.run_due()
    assert called == [], "somebody else may be at it"
    PendingDelete.objects.update(claimed_until=now() - timedelta(seconds=1))
    loop.run_due()
    assert called == [row.key]


@pytest.mark.django_db
def test_a_claim_lasts_for_a_minute():
    row = due()
    assert row.claim()
    row.refresh_from_db()
    assert CLAIM - timedelta(seconds=30) < row.claimed_until - now() <= CLAIM
    row.delete()


@pytest.mark.django_db
def test_the_claim_of_a_duty_that_takes_long_is_renewed_and_only_then(duties, monkeypatch):
    until = []

    @loop.duty(PendingDelete, str)
    def take_long(row: PendingDelete) -> None:
        for passed in (timedelta(0), loop.RENEWAL * 2):
            with monkeypatch.context() as patch:
                for module in (loop, models):
                    patch.setattr(module, "now", lambda passed=passed: now() + passed)
                loop.renew_claims()
            until.append(PendingDelete.objects.get().claimed_until)
        row.delete()

    due()
    loop.run_due()
    assert until[1] - until[0] >= loop.RENEWAL


@pytest.mark.django_db
def test_a_claim_that_ended_and_went_to_somebody_else_is_not_renewed():
    row = due()
    assert row.claim()
    theirs = now() + timedelta(hours=1)
    PendingDelete.objects.update(claimed_until=theirs)
    row.renew()
    row.put_off(ValueError("too late"))
    row.settle(None)
    row.let_go()
    row.refresh_from_db()
    assert (row.claimed_until, row.last_error, row.attempts) == (theirs, "", 1)
    row.delete()


@pytest.mark.django_db(transaction=True)
def test_the_claims_of_a_process_are_renewed_by_a_thread(duties, monkeypatch):
    monkeypatch.setattr(loop, "RENEWAL", timedelta(milliseconds=20))
    began, renewed = [], threading.Event()

    @loop.duty(PendingDelete, str)
    def take_long(row: PendingDelete) -> None:
        began.append(row.claimed_until)
        deadline = time.monotonic() + 30
        while PendingDelete.objects.get().claimed_until == began[0] and time.monotonic() < deadline:
            time.sleep(0.02)
        if PendingDelete.objects.get().claimed_until > began[0]:
            renewed.set()
        row.delete()

    due()
    with loop.renewing():
        loop.run_due()
    assert renewed.is_set()


@pytest.mark.django_db
def test_who_ends_before_a_duty_lets_go_of_its_row(duties):
    others = []

    @loop.duty(PendingDelete, str)
    def end_meanwhile(row: PendingDelete) -> None:
        loop.let_go()
        others.append(PendingDelete.objects.get())
        assert others[0].claim(), "somebody else may begin anew"

    row = due()
    loop.run_due()
    row.refresh_from_db()
    assert (row.attempts, row.claimed_until) == (1, others[0].claimed_until)
    row.delete()


@pytest.mark.django_db
def test_a_row_that_was_left_due_as_it_was_is_not_done_again_at_once(duties):
    called = []

    @loop.duty(PendingDelete, str)
    def forget(row: PendingDelete) -> None:
        called.append(row.key)

    row = due()
    loop.run_due()
    loop.run_due()
    assert called == [row.key]
    PendingDelete.objects.all().delete()


@pytest.mark.django_db
def test_a_row_that_fell_due_anew_during_its_duty_is_done_again(duties):
    called = []

    @loop.duty(PendingDelete, str)
    def fall_due(row: PendingDelete) -> None:
        called.append(row.key)
        if len(called) == 1:
            PendingDelete.objects.update(due_at=now())
        else:
            row.delete()

    due()
    loop.run_due()
    assert len(called) == 2


# --- Failures ---------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_duty_that_fails_stops_no_other(duties):
    done = []

    @loop.duty(PendingDelete, str)
    def fail_for_some(row: PendingDelete) -> None:
        if "bad" in row.key:
            raise ValueError("no luck")
        done.append(row.key)
        row.delete()

    for key in ("ab/1", "ab/bad", "ab/2"):
        due(key)
    loop.run_due()
    assert done == ["ab/1", "ab/2"]
    PendingDelete.objects.all().delete()


@pytest.mark.django_db
def test_a_failure_is_written_down_and_the_row_is_free_again_after_a_pause(duties, caplog):
    @loop.duty(PendingDelete, str)
    def fail(row: PendingDelete) -> None:
        raise ValueError("no luck")

    row = due()
    loop.run_due()
    row.refresh_from_db()
    assert (row.attempts, row.last_error, row.claimed_until) == (1, "ValueError: no luck", None)
    assert now() < row.due_at < now() + timedelta(seconds=5)
    assert "PendingDelete" in caplog.text
    assert "no luck" in caplog.text
    row.delete()


@pytest.mark.django_db
@pytest.mark.parametrize("next_time", [None, now() + timedelta(days=1)])
def test_a_success_forgets_the_failures_before(duties, next_time):
    @loop.duty(PendingDelete, str)
    def succeed(row: PendingDelete) -> None:
        PendingDelete.objects.update(due_at=next_time)

    row = due(attempts=7, last_error="ValueError: no luck")
    loop.run_due()
    row.refresh_from_db()
    assert (row.attempts, row.last_error, row.claimed_until, row.due_at) == (0, "", None, next_time)
    row.delete()


@pytest.mark.django_db
def test_the_pause_doubles_up_to_an_hour(duties):
    @loop.duty(PendingDelete, str)
    def fail(row: PendingDelete) -> None:
        raise ValueError("no luck")

    row, pauses = due(), []
    for _ in range(16):
        PendingDelete.objects.update(due_at=now() - timedelta(seconds=1))
        loop.run_due()
        row.refresh_from_db()
        pauses.append((row.due_at - now()).total_seconds())
    assert [round(pause) for pause in pauses[:6]] == [1, 2, 4, 8, 16, 32]
    assert round(pauses[-1]) == LONGEST_PAUSE.total_seconds()
    row.delete()


@pytest.mark.django_db
def test_a_failure_does_not_bring_forward_what_was_put_off_meanwhile():
    """A client took up an upload again while its expiry was failing."""
    row = due()
    assert row.claim()
    later = now() + timedelta(days=1)
    PendingDelete.objects.update(due_at=later)
    row.put_off(ValueError("busy"))
    row.refresh_from_db()
    assert row.due_at == later
    row.delete()


@pytest.mark.django_db
def test_a_duty_that_breaks_off_because_its_process_ends_has_not_failed(duties, caplog):
    @loop.duty(PendingDelete, str)
    def break_off(row: PendingDelete) -> None:
        raise loop.BrokenOff

    row = due()
    loop.run(*loop.duties(), seconds=0)
    left = PendingDelete.objects.get()
    assert (left.attempts, left.last_error, left.claimed_until, left.due_at) == (0, "", None, row.due_at)
    assert "failed" not in caplog.text
    assert left.claim(), "somebody else may begin anew"
    row.delete()


@pytest.mark.django_db
def test_a_long_error_is_cut(duties):
    row = due()
    row.put_off(ValueError("x" * 100_000))
    row.refresh_from_db()
    assert len(row.last_error) <= 2000
    row.delete()


# --- Erasing ----------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_the_bytes_go_and_then_the_row(blob_directory):
    blobs().begin("ab/abcdef")
    due("ab/abcdef")
    loop.run_due()
    assert not (blob_directory / "ab/abcdef").exists()
    assert not PendingDelete.objects.exists()


@pytest.mark.django_db
def test_an_object_that_is_gone_already_is_done_with():
    due("ab/abcdef")
    loop.run_due()
    assert not PendingDelete.objects.exists()


@pytest.mark.django_db
def test_erasing_twice_changes_nothing(duties):
    row = due("ab/abcdef")
    again = PendingDelete.objects.get()
    erase(row)
    erase(again)
    assert not PendingDelete.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EACCES, errno.ETIMEDOUT])
def test_a_storage_error_is_not_an_absence_and_is_tried_again(monkeypatch, blob_directory, number):
    blobs().begin("ab/abcdef")
    row = due("ab/abcdef")

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(FilesystemDriver, "delete", fail)
        loop.run_due()
    row.refresh_from_db()
    assert os.strerror(number) in row.last_error
    PendingDelete.objects.update(due_at=now() - timedelta(seconds=1))
    loop.run_due()
    assert not PendingDelete.objects.exists()
    assert not (blob_directory / "ab/abcdef").exists()


@pytest.mark.django_db
def test_an_object_is_erased_once_the_disk_that_was_away_is_back(blob_directory):
    blobs().begin("ab/abcdef")
    row = due("ab/abcdef")
    disk = blob_directory.rename(blob_directory.with_name(f"{blob_directory.name}-disk"))
    blob_directory.mkdir()
    loop.run_due()
    row.refresh_from_db()
    assert "StorageAway" in row.last_error
    blob_directory.rmdir()
    disk.rename(blob_directory)
    PendingDelete.objects.update(due_at=now() - timedelta(seconds=1))
    loop.run_due()
    assert not (blob_directory / "ab/abcdef").exists()


# --- Who does what ----------------------------------------------------------------------------------------------------


def test_a_background_process_knows_every_duty_without_anybody_loading_views():
    known = "from work import loop; print(sorted(duty.name for duty in loop.duties()))"
    program = [sys.executable, "-c", f"import django; django.setup(); {known}"]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60, check=True, env=os.environ)
    assert done.stdout == f"{sorted(duty.name for duty in loop.duties())}\n"
    assert "uploads.Upload" in done.stdout
