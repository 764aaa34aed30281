"""Rows that are due, found by whoever looks: claims, failures, and what a killed worker leaves."""

import errno
import os
import subprocess
import sys
import threading
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.db import InterfaceError, OperationalError
from django.utils.timezone import now

from layers.models import PendingDelete
from layers.services import erase
from storage.driver import blobs
from storage.filesystem import FilesystemDriver
from work import loop
from work.models import CLAIM, LONGEST_PAUSE, Pulse


@pytest.fixture
def duties(monkeypatch) -> dict:
    """No duty but those that a test registers."""
    monkeypatch.setattr(loop, "_duties", {})
    return loop._duties


def due(key: str = "ab/abcdef", **fields) -> PendingDelete:
    return PendingDelete.objects.create(key=key, **{"due_at": now() - timedelta(seconds=1), **fields})


def keys_done(duties) -> list[str]:
    """What the duty is called with, as it is called; each row is done with afterwards."""
    called: list[str] = []

    @loop.duty(PendingDelete)
    def note(row: PendingDelete) -> None:
        called.append(row.key)
        row.delete()

    return called


# --- What is due ------------------------------------------------------------------------------------------------------


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
def test_a_full_batch_says_that_there_may_be_more(duties, monkeypatch):
    called = keys_done(duties)
    monkeypatch.setattr(loop, "BATCH", 3)
    for number in range(4):
        due(f"ab/{number}")
    assert [loop.run_due(), loop.run_due(), loop.run_due()] == [3, 1, 0]
    assert len(called) == 4


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

    @loop.duty(PendingDelete)
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
def test_a_claim_lasts_for_minutes():
    row = due()
    assert row.claim()
    row.refresh_from_db()
    assert timedelta(minutes=4) < row.claimed_until - now() <= CLAIM
    row.delete()


# --- Failures ---------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_duty_that_fails_stops_no_other(duties):
    done = []

    @loop.duty(PendingDelete)
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
    @loop.duty(PendingDelete)
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
def test_the_pause_doubles_up_to_an_hour(duties):
    @loop.duty(PendingDelete)
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


# --- The process ------------------------------------------------------------------------------------------------------


class Stop(threading.Event):
    """Set after so many looks; nobody waits."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self.looks, self.pauses = looks, []

    def wait(self, timeout: float | None = None) -> bool:
        self.pauses.append(timeout)
        if len(self.pauses) == self.looks:
            self.set()
        return self.is_set()


@pytest.mark.django_db
def test_the_process_says_that_it_is_alive(duties):
    assert not loop.beats()
    loop.run_forever(Stop(1))
    assert loop.beats()
    Pulse.objects.update(beat_at=now() - timedelta(minutes=1))
    assert not loop.beats()


@pytest.mark.django_db
def test_a_sign_of_life_is_not_written_at_every_look(duties, monkeypatch):
    written = []
    monkeypatch.setattr(Pulse.objects, "update_or_create", lambda **_: written.append(now()))
    loop.run_forever(Stop(3))
    assert len(written) == 1
    monkeypatch.setattr(loop, "BEAT", 0)
    loop.run_forever(Stop(3))
    assert len(written) == 4


@pytest.mark.django_db
def test_the_process_looks_again_at_once_while_there_is_much_to_do(duties, monkeypatch):
    keys_done(duties)
    monkeypatch.setattr(loop, "BATCH", 2)
    for number in range(5):
        due(f"ab/{number}")
    stop = Stop(4)
    loop.run_forever(stop)
    assert stop.pauses == [0, 0, 1, 1]
    assert not PendingDelete.objects.exists()


@pytest.mark.parametrize("problem", [OperationalError("gone"), InterfaceError("the connection is closed")])
@pytest.mark.django_db
def test_a_database_that_is_away_is_waited_for(duties, monkeypatch, problem, caplog):
    looks = []

    def look() -> int:
        looks.append(1)
        if len(looks) < 3:
            raise problem
        return 0

    monkeypatch.setattr(loop, "run_due", look)
    monkeypatch.setattr(loop, "connection", SimpleNamespace(close=lambda: None))  # it is the test's too
    stop = Stop(3)
    loop.run_forever(stop)
    assert stop.pauses == [1, 1, 1]
    assert "no look for work" in caplog.text


def test_a_background_process_knows_every_duty_without_anybody_loading_views():
    known = "from work import loop; print(sorted(model.__name__ for model in loop._duties))"
    program = [sys.executable, "-c", f"import django; django.setup(); {known}"]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60, check=True, env=os.environ)
    assert done.stdout == "['Day', 'PendingDelete', 'Upload']\n"
