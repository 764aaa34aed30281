"""Requests about one blob that meet, in both orders: nothing is lost, nobody is stuck, no object is left over."""

import os
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta

import pytest
from django.db.models import Q
from django.utils.timezone import now

from layers import collecting
from layers import services as layers
from layers.models import Blob, Layer
from oci.digests import Digest
from oci.errors import BlobUnknown
from repositories.models import Repository
from tests.threads import Pause, Request, at_once, meeting
from tests.uploads.bodies import Sent
from uploads import services as uploads
from work.loop import run_due

pytestmark = pytest.mark.django_db(transaction=True)

CONTENT = b"bytes of a layer"
DIGEST = Digest.of(CONTENT)


def push(repository: Repository) -> None:
    uploads.push(repository, "user:1", DIGEST, Sent(CONTENT), None)


def pushing(repository: Repository) -> Callable[[], None]:
    return lambda: push(repository)


def unlinking(repository: Repository) -> Callable[[], bool]:
    return lambda: layers.unlink(repository.name, DIGEST)


def mounting(source: Repository, target: Repository) -> Callable[[], bool]:
    return lambda: layers.mount(DIGEST, Q(name=source.name), target)


def served(repository: Repository) -> bytes | None:
    try:
        blob = layers.index.find(repository.name, DIGEST).blob
    except BlobUnknown:
        return None
    with closing(layers.read(blob, 0, blob.size)) as reader:
        return reader.read()


def objects(blob_directory) -> list[str]:
    run_due()
    return sorted(str(path.relative_to(blob_directory)) for path in blob_directory.rglob("*") if path.is_file())


def damage(blob_directory) -> None:
    os.truncate(blob_directory / Blob.objects.get().key, 3)


# --- Two pushes of the same bytes -------------------------------------------------------------------------------------

MOMENTS = {
    "before it looks for the blob": (layers, "unsound", False),
    "after it looked for the blob": (layers, "unsound", True),
    "before its transaction": (layers, "admit", False),
    "with the blob's row": (layers, "kept_blob", True),
    "with the layer's row": (layers, "link", True),
}


@pytest.fixture(params=MOMENTS)
def moment(request, monkeypatch) -> Pause:
    owner, name, after = MOMENTS[request.param]
    return Pause(monkeypatch, owner, name, after)


@pytest.mark.parametrize("where", ["the same repository", "another repository"])
def test_two_pushes_of_the_same_bytes_keep_one_object(app, other, moment, where, blob_directory):
    second = app if where == "the same repository" else other
    assert meeting(moment, pushing(app), pushing(second)) == (None, None)
    assert served(app) == served(second) == CONTENT
    assert objects(blob_directory) == [Blob.objects.get().key]


@pytest.mark.parametrize("where", ["the same repository", "another repository"])
def test_two_pushes_heal_a_damaged_blob_together(app, other, moment, where, blob_directory):
    second = app if where == "the same repository" else other
    moment.first.acquire()
    push(app)
    moment.first.release()
    damage(blob_directory)
    assert meeting(moment, pushing(app), pushing(second)) == (None, None)
    assert served(app) == served(second) == CONTENT
    assert objects(blob_directory) == [Blob.objects.get().key]


def test_a_push_whose_older_object_is_found_damaged_at_the_last_moment_takes_its_place(
    app, other, monkeypatch, blob_directory
):
    push(app)
    ask = layers.unsound

    def unsound(digest: Digest) -> str:
        answer = ask(digest)
        if answer == "":
            damage(blob_directory)
            Blob.objects.get().quarantine()
        return answer

    monkeypatch.setattr(layers, "unsound", unsound)
    push(other)
    assert served(app) == served(other) == CONTENT
    assert len(objects(blob_directory)) == 1


def test_many_pushes_of_the_same_bytes_keep_one_object(app, other, blob_directory):
    assert at_once(*[pushing(repository) for repository in (app, other) * 4]) == [None] * 8
    assert served(app) == served(other) == CONTENT
    assert objects(blob_directory) == [Blob.objects.get().key]


# --- Against the removal of the link ----------------------------------------------------------------------------------


@pytest.fixture(params=["a sound blob", "a damaged blob"])
def pushed(request, app, blob_directory) -> None:
    push(app)
    if request.param == "a damaged blob":
        damage(blob_directory)


@pytest.mark.parametrize("name", ["kept_blob", "link"])
def test_a_push_that_meets_the_removal_of_the_blob(app, pushed, name, monkeypatch, blob_directory):
    pause = Pause(monkeypatch, layers, name)
    finished, named = meeting(pause, pushing(app), unlinking(app))
    assert (finished, named) == (None, False)
    assert served(app) in (CONTENT, None)
    push(app)
    assert served(app) == CONTENT
    assert objects(blob_directory) == [Blob.objects.get().key]


@pytest.mark.parametrize("after", [False, True])
def test_the_removal_of_a_blob_that_meets_a_push(app, pushed, after, monkeypatch, blob_directory):
    pause = Pause(monkeypatch, Layer, "delete", after)
    named, finished = meeting(pause, unlinking(app), pushing(app))
    assert (named, finished) == (False, None)
    assert served(app) == CONTENT, "the push was the last to be answered"
    assert objects(blob_directory) == [Blob.objects.get().key]


def test_the_removal_from_one_repository_leaves_the_other_alone(app, other, monkeypatch):
    push(app)
    push(other)
    pause = Pause(monkeypatch, Layer, "delete", after=True)
    assert meeting(pause, unlinking(app), unlinking(other)) == (False, False)
    push(app)
    assert served(app) == CONTENT
    assert served(other) is None


def test_two_removals_of_which_one_finds_nothing(app, monkeypatch):
    push(app)
    pause = Pause(monkeypatch, Layer, "delete")
    first, second = meeting(pause, unlinking(app), unlinking(app))
    assert first is False
    assert isinstance(second, BlobUnknown)


@pytest.mark.parametrize("after", [False, True])
def test_a_mount_that_meets_the_removal_from_its_source(app, other, after, monkeypatch):
    push(app)
    pause = Pause(monkeypatch, layers, "link", after)
    assert meeting(pause, mounting(app, other), unlinking(app)) == (True, False)
    assert served(other) == CONTENT
    assert served(app) is None


@pytest.mark.parametrize("after", [False, True])
def test_the_removal_from_the_source_that_meets_a_mount(app, other, after, monkeypatch):
    push(app)
    pause = Pause(monkeypatch, Layer, "delete", after)
    named, mounted = meeting(pause, unlinking(app), mounting(app, other))
    assert named is False
    assert mounted == (served(other) is not None), "what was said is what is so"


@pytest.mark.parametrize("after", [False, True])
def test_the_removal_from_the_target_that_meets_a_mount(app, other, after, monkeypatch):
    push(app)
    push(other)
    pause = Pause(monkeypatch, Layer, "delete", after)
    assert meeting(pause, unlinking(other), mounting(app, other)) == (False, True)
    assert served(other) == CONTENT, "the mount was the last to be answered"


def test_a_mount_that_meets_healing(app, other, monkeypatch, blob_directory):
    push(app)
    damage(blob_directory)
    pause = Pause(monkeypatch, layers, "link")
    finished, mounted = meeting(pause, pushing(app), mounting(app, other))
    assert (finished, mounted) == (None, True)
    assert served(app) == served(other) == CONTENT


def test_mounts_to_and_fro_and_pushes_do_not_lock_each_other_out(app, other):
    push(app)
    push(other)
    answers = at_once(mounting(app, other), mounting(other, app), pushing(app), pushing(other), mounting(app, other))
    assert answers == [True, True, None, None, True]


# --- Who relies on an answer ------------------------------------------------------------------------------------------


def test_a_head_that_renews_a_grace_meets_the_removal(app, monkeypatch):
    push(app)
    Layer.objects.update(due_at=now() + timedelta(minutes=1))
    pause = Pause(monkeypatch, Layer, "delete", after=True)
    named, found = meeting(pause, unlinking(app), lambda: layers.find_for_push(app.name, DIGEST))
    assert named is False
    assert isinstance(found, BlobUnknown) == (served(app) is None)


# --- Downloads --------------------------------------------------------------------------------------------------------


def collect() -> None:
    """The blob has no link any more: it goes, and then its object."""
    collecting.tend(Blob.objects.get())
    run_due()


def test_a_download_that_has_begun_ends_whole_though_the_blob_is_erased(app, blob_directory):
    push(app)
    blob = layers.index.find(app.name, DIGEST).blob
    with closing(layers.read(blob, 0, blob.size)) as reader:
        start = reader.read(5)
        layers.unlink(app.name, DIGEST)
        Request(collect).answer()
        assert objects(blob_directory) == []
        assert start + reader.read() == CONTENT


def test_a_download_that_begins_after_the_blob_was_erased_finds_nothing_and_blames_nobody(app, caplog):
    push(app)
    blob = layers.index.find(app.name, DIGEST).blob
    layers.unlink(app.name, DIGEST)
    Request(collect).answer()
    push(app)
    with pytest.raises(BlobUnknown):
        layers.read(blob, 0, blob.size)
    assert served(app) == CONTENT


def test_bytes_that_are_pushed_again_while_the_old_object_is_being_erased_stay(app, blob_directory, monkeypatch):
    push(app)
    layers.unlink(app.name, DIGEST)
    pause = Pause(monkeypatch, layers.blobs().__class__, "delete")
    assert meeting(pause, collect, pushing(app)) == (None, None)
    assert served(app) == CONTENT
    assert objects(blob_directory) == [Blob.objects.get().key]


def test_a_push_that_meets_the_collection_of_its_blob(app, blob_directory, monkeypatch):
    push(app)
    layers.unlink(app.name, DIGEST)
    pause = Pause(monkeypatch, Blob, "delete", after=True)
    assert meeting(pause, collect, pushing(app)) == (None, None)
    assert served(app) == CONTENT
    assert objects(blob_directory) == [Blob.objects.get().key]
