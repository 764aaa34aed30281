"""`manage.py verify`, and what clients see of what it finds."""

import errno
import os
import sys
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils.timezone import now

from layers import verifying
from layers.models import Blob, PendingDelete
from layers.verifying import Verdict, in_turn, verify
from oci.digests import Digest
from storage.driver import StorageAway
from storage.filesystem import FilesystemDriver
from tests.images import image
from tests.registry import refusal
from work.loop import run_due

pytestmark = pytest.mark.django_db

CONTENT = bytes(range(256)) * 5000  # more than a block
OTHER = b"another layer"
NOWHERE = f"sha256:{'0' * 64}"


@pytest.fixture
def digest(registry) -> str:
    return registry.push_blob("team/app", CONTENT)


@pytest.fixture
def path(digest, blob_directory) -> Path:
    """The file of the layer."""
    return blob_directory / Blob.objects.get(digest=digest).key


def rot(path: Path) -> None:
    """One byte of it."""
    with path.open("r+b") as file:
        file.seek(1_200_000)
        file.write(b"\xff")


def cut(path: Path) -> None:
    os.truncate(path, 1_200_000)


def run(*arguments: str) -> tuple[int, list[str]]:
    """Exit status and lines of the command."""
    out = StringIO()
    try:
        call_command("verify", *arguments, stdout=out)
    except CommandError as problem:
        return problem.returncode, [*out.getvalue().splitlines(), str(problem)]
    return 0, out.getvalue().splitlines()


def damaged() -> bool:
    return Blob.objects.exclude(damaged_at=None).exists()


# --- What it finds ----------------------------------------------------------------------------------------------------


def test_sound_layers_are_said_to_be_sound(registry, digest):
    registry.push_blob("team/app", OTHER, "sha512")
    registry.push_blob("team/app", b"")
    assert run("--all") == (0, ["3 read: 3 sound"])
    assert not damaged()


DAMAGES = [(rot, "other bytes"), (cut, "short"), (os.remove, "missing")]


@pytest.mark.damages_storage
@pytest.mark.parametrize(("damage", "what"), DAMAGES)
def test_a_damaged_layer_is_found_and_told_with_all_its_repositories(damage, what, registry, digest, path):
    registry.push_blob("team/other", CONTENT)
    registry.push_blob("team/app", OTHER)
    damage(path)
    status, (line, total, hint) = run("--all")
    assert status == 1
    assert line == f"{digest} is damaged ({what}), in team/app, team/other"
    assert total == "2 read: 1 damaged, 1 sound"
    assert "Push" in hint


@pytest.mark.damages_storage
@pytest.mark.parametrize("damage", [rot, cut, os.remove])
def test_a_damaged_layer_is_unknown_until_the_next_push_heals_it(damage, registry, puller, digest, path):
    damage(path)
    assert run(digest)[0] == 1
    assert not puller.has_blob("team/app", digest)
    registry.push_blob("team/app", CONTENT)
    assert puller.pull_blob("team/app", digest).getvalue() == CONTENT
    run_due()
    assert not path.exists()
    assert not PendingDelete.objects.exists()
    assert [file for file in path.parent.parent.rglob("*") if file.is_file()] == [
        path.parent.parent / Blob.objects.get().key
    ]
    assert run(digest) == (0, ["1 read: 1 sound"])


@pytest.mark.damages_storage
def test_who_asks_before_a_push_or_mounts_is_not_told_that_a_damaged_layer_is_there(registry, digest, path):
    rot(path)
    verify(Blob.objects.get())
    assert registry.ask("HEAD", f"/v2/team/app/blobs/{digest}").status_code == 404
    mounted = registry.ask("POST", f"/v2/team/other/blobs/uploads/?mount={digest}&from=team/app")
    assert mounted.status_code == 202
    config = b"{}"
    registry.push_blob("team/app", config)
    answer = registry.put_manifest("team/app", "v1", image(config, CONTENT))
    assert refusal(answer) == (404, "MANIFEST_BLOB_UNKNOWN")


@pytest.mark.damages_storage
def test_a_layer_that_is_sound_again_is_served_again(puller, digest, path):
    away = path.rename(path.with_name("taken away"))
    assert run("--all")[0] == 1
    assert not puller.has_blob("team/app", digest)
    away.rename(path)
    assert not puller.has_blob("team/app", digest)
    assert run("--damaged") == (0, [f"{digest} is sound again", "1 read: 1 sound"])
    assert puller.has_blob("team/app", digest)
    assert run("--damaged") == (0, ["There is nothing to read."])


@pytest.mark.damages_storage
def test_when_the_damage_was_found_first_is_remembered(digest, path):
    rot(path)
    verify(Blob.objects.get())
    first = Blob.objects.get().damaged_at
    assert verify(Blob.objects.get()) is Verdict.OTHER
    assert Blob.objects.get().damaged_at == first


# --- What changes meanwhile -------------------------------------------------------------------------------------------


@pytest.mark.damages_storage
def test_a_layer_that_was_healed_while_its_old_object_was_read_stays_healed(registry, digest, path):
    rot(path)
    blob = Blob.objects.get()
    Blob.objects.update(damaged_at=now())  # found by somebody else
    registry.push_blob("team/app", CONTENT)
    assert verify(blob) is Verdict.GONE
    assert not damaged()


@pytest.mark.damages_storage
def test_a_layer_that_was_collected_while_it_was_read_is_no_error(owner, digest, path, monkeypatch):
    blob = Blob.objects.get()
    blob.layers.all().delete()
    Blob.objects.all().delete()
    os.remove(path)
    assert verify(blob) is Verdict.GONE
    Blob.objects.bulk_create([blob])
    monkeypatch.setattr(verifying, "digest_of", lambda blob, _: Blob.objects.all().delete() and Digest.parse(NOWHERE))
    assert run("--all") == (0, ["1 read: 1 gone"])


@pytest.mark.damages_storage
def test_a_file_that_is_cut_while_it_is_read_is_short(digest, path):
    def progress(_: int) -> None:
        os.truncate(path, 1_100_000)

    assert verify(Blob.objects.get(), progress) is Verdict.SHORT
    assert damaged()


def test_each_is_looked_up_when_its_turn_comes(registry, digest):
    registry.push_blob("team/app", OTHER)
    turns = in_turn(Blob.objects.all())
    next(turns)
    Blob.objects.filter(digest=str(Digest.of(OTHER))).update(damaged_at=now())
    assert next(turns).damaged_at
    assert list(turns) == []
    Blob.objects.update(damaged_at=None)


# --- What cannot be known ---------------------------------------------------------------------------------------------


def test_storage_that_is_away_is_no_damage_and_the_look_goes_on_later(registry, digest, blob_directory):
    first = Blob.objects.get().pk
    registry.push_blob("team/app", OTHER)
    disk = blob_directory.rename(blob_directory.with_name(f"{blob_directory.name}-disk"))
    blob_directory.mkdir()
    with pytest.raises(StorageAway):
        verify(Blob.objects.first())
    assert run("--all") == (2, ["Storage is away. Go on later with --after 0."])
    assert not damaged()
    blob_directory.rmdir()
    disk.rename(blob_directory)
    assert run("--all", "--after", str(first)) == (0, ["1 read: 1 sound"])


def test_an_object_that_cannot_be_read_is_no_damage_and_the_look_goes_on(registry, digest, path, monkeypatch):
    registry.push_blob("team/app", OTHER)
    real = FilesystemDriver.read

    def read(driver: FilesystemDriver, key: str, start: int, stop: int):
        if path.name in key:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(driver, key, start, stop)

    monkeypatch.setattr(FilesystemDriver, "read", read)
    status, (line, total, _) = run("--all")
    assert (status, line) == (2, f"{digest} could not be read: Input/output error")
    assert total == "2 read: 1 sound, 1 unreadable"
    assert not damaged()


def test_a_look_that_is_interrupted_says_where_to_go_on(registry, digest, monkeypatch):
    registry.push_blob("team/app", OTHER)
    first, second = Blob.objects.order_by("pk")
    real = verifying.digest_of

    def digest_of(blob: Blob, progress) -> Digest:
        if blob.pk == second.pk:
            raise KeyboardInterrupt
        return real(blob, progress)

    monkeypatch.setattr(verifying, "digest_of", digest_of)
    assert run("--all") == (2, [f"Stopped. Go on later with --after {first.pk}."])


# --- What is chosen ---------------------------------------------------------------------------------------------------


def test_digests_and_repositories_choose(registry, digest):
    other = registry.push_blob("team/other", OTHER)
    registry.push_blob("team/app", OTHER)
    assert run(digest, other) == (0, ["2 read: 2 sound"])
    assert run(other) == (0, ["1 read: 1 sound"])
    assert run("--repository", "team/app") == (0, ["2 read: 2 sound"])
    assert run("--repository", "team/other") == (0, ["1 read: 1 sound"])
    assert run("--repository", "team/other", digest) == (0, ["There is nothing to read."])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Say what is to be read"),
        (("--repository", "team/none"), "no repository 'team/none'"),
        ((NOWHERE,), f"no blob {NOWHERE}"),
        (("latest",), "'latest' is no digest"),
        (("sha256:..",), "'sha256:..' is no digest"),
    ],
)
def test_a_choice_of_nothing_is_refused(arguments, said, digest):
    status, lines = run(*arguments)
    assert status == 1
    assert said in lines[-1]


def test_an_empty_registry_is_sound():
    assert run("--all") == (0, ["There is nothing to read."])


# --- How --------------------------------------------------------------------------------------------------------------


def test_progress_is_told_in_bytes_block_by_block(digest):
    told: list[int] = []
    assert verify(Blob.objects.get(), told.append) is Verdict.SOUND
    assert sum(told) == len(CONTENT)
    assert max(told) <= 1024 * 1024
    assert len(told) > 1


def test_a_terminal_gets_a_bar_of_bytes_and_lines_between(registry, digest, path, monkeypatch):
    class Terminal(StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    call_command("verify", "--all", stdout=StringIO())
    assert "100%" in terminal.getvalue()
    assert "1.28M/1.28M" in terminal.getvalue()


@pytest.mark.django_db(transaction=True)
def test_no_transaction_is_open_while_bytes_move(registry, digest):
    seen: list[bool] = []
    verify(Blob.objects.get(), lambda _: seen.append(connection.in_atomic_block))
    assert set(seen) == {False}
