"""`manage.py maintain`: all that is due, done without a worker, and told."""

import re
import subprocess
import sys
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError
from django.db.models import Q
from django.utils.timezone import now

from layers.models import PendingDelete
from tests.server import ROOT
from uploads.models import Upload
from work import loop
from work.management.commands import maintain


def due(key: str, **fields) -> PendingDelete:
    return PendingDelete.objects.create(key=key, **{"due_at": now() - timedelta(seconds=1), **fields})


def run(*options: str) -> tuple[str, str]:
    out, err = StringIO(), StringIO()
    call_command("maintain", *options, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


@pytest.mark.django_db
def test_all_that_is_due_is_done_also_what_becomes_due_by_it(duties):
    @loop.duty(PendingDelete, str)
    def erase(row: PendingDelete) -> None:
        if "first" in row.key:
            due(row.key.replace("first", "second"))
        row.delete()

    for number in range(3):
        due(f"ab/first{number}")
    later = due("ab/later", due_at=now() + timedelta(hours=1))
    assert run() == ("6 pending deletes done\n", "")
    assert PendingDelete.objects.get() == later
    later.delete()
    assert run() == ("Nothing is due.\n", "")


@pytest.mark.django_db
def test_what_fails_is_named_with_its_error_and_tried_once_and_the_rest_is_done(duties):
    tries = []

    @loop.duty(PendingDelete, str)
    def erase(row: PendingDelete) -> None:
        if "bad" in row.key:
            tries.append(row.key)
            PendingDelete.objects.filter(pk=row.pk).update(due_at=now() - timedelta(seconds=5))
            raise ValueError("no luck")
        row.delete()

    for key in ("ab/1", "ab/bad", "ab/2"):
        due(key)
    out, err = StringIO(), StringIO()
    with pytest.raises(CommandError, match="1 failed") as failure:
        call_command("maintain", stdout=out, stderr=err)
    assert failure.value.returncode == 1
    assert out.getvalue() == "2 pending deletes done\n"
    assert err.getvalue() == "pending delete ab/bad: ValueError: no luck\n"
    assert tries == ["ab/bad"]
    left = PendingDelete.objects.get()
    assert (left.attempts, left.last_error, left.claimed_until) == (1, "ValueError: no luck", None)
    left.delete()


@pytest.mark.django_db
def test_a_dry_run_says_what_would_be_done_and_changes_nothing(duties):
    @loop.duty(PendingDelete, would=lambda row: f"{row.key}: delete its bytes, nothing refers to them")
    def erase(row: PendingDelete) -> None:
        raise AssertionError

    due("ab/1")
    due("ab/later", due_at=now() + timedelta(hours=1))
    before = list(PendingDelete.objects.order_by("pk").values())
    out, _ = run("--dry-run")
    assert out == "ab/1: delete its bytes, nothing refers to them\n1 due now; nothing was changed.\n"
    assert list(PendingDelete.objects.order_by("pk").values()) == before
    PendingDelete.objects.all().delete()
    assert run("--dry-run") == ("Nothing is due.\n", "")


@pytest.mark.django_db
def test_a_dry_run_says_what_failed_and_when_it_is_tried_again(duties):
    @loop.duty(PendingDelete, str)
    def erase(row: PendingDelete) -> None:
        raise OSError("no luck,\nagain")

    due("ab/bad", attempts=4)
    due("ab/later", due_at=now() + timedelta(hours=1))
    loop.run_due()
    bad = PendingDelete.objects.get(key="ab/bad")
    out, _ = run("--dry-run")
    assert out.splitlines() == [
        "pending delete ab/bad: attempt 5 failed ('OSError: no luck,\\nagain'),"
        f" the next is at {bad.due_at:%Y-%m-%d %H:%M:%S} UTC",
        "0 due now, 1 failed and will be tried again; nothing was changed.",
    ]
    PendingDelete.objects.all().delete()


@pytest.mark.django_db
def test_what_failed_is_told_once_where_a_model_has_several_duties(duties):
    some = Q(key__startswith="a")
    loop.duty(PendingDelete, str, only=some)(lambda row: None)
    loop.duty(PendingDelete, str, only=~some)(len)
    for key in ("ab/bad", "cd/bad"):
        due(key, attempts=1, last_error="OSError: no luck", due_at=now() + timedelta(minutes=1))
    out, _ = run("--dry-run")
    assert out.count("attempt 1 failed") == 2
    PendingDelete.objects.all().delete()


@pytest.mark.django_db
def test_a_dry_run_says_why_an_upload_would_end(registry):
    """With the duties that there are."""
    location = registry.open_upload("team/app")
    assert registry.ask("PATCH", location, b"bytes").status_code == 202
    registry.push_blob("team/app", b"whole")
    Upload.objects.update(due_at=now() - timedelta(seconds=1))
    told, _ = run("--dry-run")
    assert re.search("end upload [0-9a-f-]+ and free its 5 bytes: nothing came since", told)
    assert re.search("forget upload [0-9a-f-]+: it was finished", told)
    assert Upload.objects.filter(due_at__lte=now()).count() == 2
    run()
    assert not Upload.objects.exists()


@pytest.mark.django_db
def test_what_a_background_process_is_at_is_left_to_it(duties, monkeypatch):
    loop.duty(PendingDelete, str)(lambda row: row.delete())
    theirs = due("ab/1")
    [found] = maintain.waiting()
    assert theirs.claim()
    monkeypatch.setattr(maintain, "waiting", iter([[found], []]).__next__)
    assert run() == ("Nothing is due.\n", "")
    assert PendingDelete.objects.get().claimed_until == theirs.claimed_until
    theirs.delete()


@pytest.mark.django_db
def test_a_database_that_is_away_is_said_in_a_line(monkeypatch):
    def away() -> list:
        raise OperationalError("no such table: uploads_upload")

    monkeypatch.setattr(maintain, "waiting", away)
    with pytest.raises(CommandError, match="The database cannot be used: no such table"):
        run()


@pytest.mark.parametrize("options", [[], ["--dry-run"]])
def test_without_a_registry_it_says_where_it_looked(tmp_path, options):
    ran = subprocess.run(
        [sys.executable, "manage.py", "maintain", *options],
        cwd=ROOT, env={"REGISTRY_DATA": str(tmp_path), "PATH": ""}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (ran.returncode, ran.stdout) == (1, "")
    assert f"No registry in {tmp_path}" in ran.stderr
    assert "Traceback" not in ran.stderr
