"""Pushes and deletions of manifests and tags that meet each other, and the removal of what they name."""

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, transaction

from layers import services as layers
from layers.models import Blob, Layer
from manifests import services
from manifests.models import Manifest, Tag
from oci.digests import Digest
from oci.documents import Document
from oci.errors import BlobUnknown, ManifestBlobUnknown, ManifestUnknown
from repositories.models import Repository
from tests.images import IMAGE, bytes_of, described, image, index
from tests.threads import PATIENCE, Pause, Request, at_once, meeting
from tests.uploads.bodies import Sent
from uploads import services as uploads
from work.loop import run_due

pytestmark = pytest.mark.django_db(transaction=True)

CONFIG, LAYER, ANOTHER = b"{}", b"a layer", b"another layer"
NAME = "team/app"

OLD = image(CONFIG, LAYER)
NEW = image(CONFIG, LAYER, ANOTHER)
BOTH = index(described(OLD), described(NEW))


def digest_of(manifest: dict[str, Any]) -> Digest:
    return Digest.of(bytes_of(manifest))


def push(manifest: dict[str, Any], *tags: str) -> None:
    content = bytes_of(manifest)
    document = Document.parse(content, manifest["mediaType"])
    repository = Repository.objects.for_push(NAME)
    services.push(repository, Digest.of(content), content, document, tags, False)


def pushing(manifest: dict[str, Any], *tags: str) -> Callable[[], None]:
    return lambda: push(manifest, *tags)


def deleting(manifest: dict[str, Any]) -> Callable[[], None]:
    return lambda: services.delete(NAME, digest_of(manifest))


def unlinking(content: bytes) -> Callable[[], bool]:
    return lambda: layers.unlink(NAME, Digest.of(content))


def tag(name: str = "latest") -> Digest | None:
    try:
        return Digest.parse(services.find(NAME, name).digest)
    except ManifestUnknown:
        return None


@pytest.fixture(autouse=True)
def blobs(app):
    for content in (CONFIG, LAYER, ANOTHER):
        uploads.push(app, "user:1", Digest.of(content), Sent(content), None)


# --- Against the removal of a blob ------------------------------------------------------------------------------------

removes_what_is_named = pytest.mark.removes_what_is_named  # by its owner's explicit wish, after the push


@removes_what_is_named
@pytest.mark.parametrize("moment", [(services, "store"), (layers, "name", True), (services, "point", True)])
def test_a_push_that_has_found_its_blobs_is_not_disturbed_by_a_removal(moment, monkeypatch):
    pause = Pause(monkeypatch, *moment)
    pushed, named = meeting(pause, pushing(OLD, "latest"), unlinking(LAYER))
    assert pushed is None
    assert named is True, "the removal comes after the push and tells that a manifest names the blob"


@pytest.mark.parametrize("after", [False, True])
def test_a_push_that_meets_a_removal_under_way_finds_no_blob(after, monkeypatch):
    pause = Pause(monkeypatch, Layer, "delete", after)
    named, pushed = meeting(pause, unlinking(LAYER), pushing(OLD, "latest"))
    assert named is False
    assert isinstance(pushed, ManifestBlobUnknown)
    assert pushed.detail == [{"digest": str(Digest.of(LAYER))}]
    assert tag() is None


@removes_what_is_named
def test_what_was_removed_while_a_manifest_names_it_can_be_pushed_again(app):
    push(OLD)
    layers.unlink(NAME, Digest.of(LAYER))
    uploads.push(app, "user:1", Digest.of(LAYER), Sent(LAYER), None)
    assert layers.index.find(NAME, Digest.of(LAYER))


# --- Tags -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", [(services, "store", True), (services, "point"), (services, "point", True)])
def test_of_two_pushes_that_move_a_tag_the_last_wins_and_a_reader_never_sees_none(moment, monkeypatch):
    push(image(CONFIG), "latest")
    pause = Pause(monkeypatch, *moment)
    seen: set[Digest | None] = set()
    over = threading.Event()

    def read() -> None:
        while not over.is_set():
            seen.add(tag())

    reader = Request(read)
    assert meeting(pause, pushing(OLD, "latest"), pushing(NEW, "latest")) == (None, None)
    over.set()
    reader.answer()
    assert seen <= {digest_of(image(CONFIG)), digest_of(OLD), digest_of(NEW)}
    assert tag() in {digest_of(OLD), digest_of(NEW)}
    assert Tag.objects.count() == 1


def test_pushes_that_set_the_same_tags_in_any_order_do_not_lock_each_other_out():
    names = [f"tag-{number}" for number in range(20)]
    requests = [pushing(OLD, *names), pushing(NEW, *reversed(names)), pushing(image(CONFIG), *names[10:], *names[:10])]
    for _ in range(3):
        assert at_once(*requests) == [None] * 3
    assert Tag.objects.count() == 20
    assert len(set(Tag.objects.values_list("manifest", flat=True))) == 1, "one push was the last, for all its tags"


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one writer at a time")
def test_a_deletion_locks_tags_in_the_order_in_which_pushes_move_them():
    """Held up at the first tag by a third, the push is behind it in one queue and not in front of it in another."""
    push(OLD, "z")
    push(OLD, "a")  # stored after z, so that a deletion would find it second
    held, free = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            Tag.objects.select_for_update().get(name="a")
            held.set()
            assert free.wait(PATIENCE)

    holder = Request(hold)
    assert held.wait(PATIENCE)
    pushed = Request(pushing(NEW, "a", "z"))
    pushed.ends_within(0.3)
    deleted = Request(deleting(OLD))
    deleted.ends_within(0.3)
    free.set()
    assert (holder.answer(), pushed.answer(), deleted.answer()) == (None, None, None)
    assert tag("a") == tag("z") == digest_of(NEW)


def test_a_tag_that_is_deleted_while_it_is_moved(monkeypatch):
    push(OLD, "latest")
    pause = Pause(monkeypatch, services, "point", after=True)
    pushed, untagged = meeting(pause, pushing(NEW, "latest"), lambda: services.untag(NAME, "latest"))
    assert pushed is None
    assert untagged is None or isinstance(untagged, ManifestUnknown)
    assert tag() in (None, digest_of(NEW))


# --- Manifests --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", [(services, "store"), (services, "store", True), (services, "point", True)])
@pytest.mark.parametrize("existed", [False, True])
def test_a_manifest_that_is_deleted_while_it_is_pushed(moment, existed, monkeypatch):
    if existed:
        push(OLD, "old")
    pause = Pause(monkeypatch, *moment)
    pushed, deleted = meeting(pause, pushing(OLD, "latest"), deleting(OLD))
    assert pushed is None
    assert deleted is None or isinstance(deleted, ManifestUnknown)
    assert tag() in (None, digest_of(OLD))
    push(OLD, "latest")
    assert tag() == digest_of(OLD)


@pytest.mark.parametrize("moment", [(layers, "unname"), (layers, "unname", True), (Manifest, "delete", True)])
def test_a_manifest_that_is_pushed_while_it_is_deleted_is_there(moment, monkeypatch):
    push(OLD, "old")
    pause = Pause(monkeypatch, *moment)
    assert meeting(pause, deleting(OLD), pushing(OLD, "latest")) == (None, None)
    assert tag() == digest_of(OLD), "the push was the last to be answered"
    assert tag("old") is None


def test_of_two_deletions_of_one_manifest_one_finds_nothing(monkeypatch):
    push(OLD, "latest")
    pause = Pause(monkeypatch, Manifest, "delete", after=True)
    first, second = meeting(pause, deleting(OLD), deleting(OLD))
    assert first is None
    assert isinstance(second, ManifestUnknown)


@pytest.mark.parametrize("moment", [(layers, "unname", True), (Manifest, "delete")])
def test_the_last_two_manifests_that_name_a_layer_are_deleted_together(moment, monkeypatch):
    """Both give the layer a new grace, and neither leaves it as if the other were still there."""
    push(OLD)
    push(NEW)
    Layer.objects.update(due_at=None)
    pause = Pause(monkeypatch, *moment)
    assert meeting(pause, deleting(OLD), deleting(NEW)) == (None, None)
    assert not Layer.objects.filter(due_at=None).exists()
    assert not Manifest.objects.exists()


def test_deletions_of_manifests_against_pushes_and_removals_of_their_layers_do_not_lock_each_other_out(app):
    manifests = [image(CONFIG, LAYER, ANOTHER, annotations={"number": str(number)}) for number in range(3)]
    for manifest in manifests:
        push(manifest, "latest")
    answers = at_once(
        *[deleting(manifest) for manifest in manifests],
        unlinking(LAYER),
        unlinking(ANOTHER),
        lambda: uploads.push(app, "user:1", Digest.of(CONFIG), Sent(CONFIG), None),
    )
    assert [answer for answer in answers if isinstance(answer, Exception)] == []


# --- An index and its children ----------------------------------------------------------------------------------------


@removes_what_is_named
@pytest.mark.parametrize("moment", [(services, "store"), (services, "point", True)])
def test_an_index_that_has_found_its_children_is_not_disturbed_by_a_deletion(moment, monkeypatch):
    push(OLD)
    push(NEW)
    pause = Pause(monkeypatch, *moment)
    assert meeting(pause, pushing(BOTH, "latest"), deleting(OLD)) == (None, None)
    assert tag() == digest_of(BOTH)


@pytest.mark.parametrize("moment", [(layers, "unname"), (Manifest, "delete", True)])
def test_an_index_that_meets_a_deletion_under_way_finds_no_child(moment, monkeypatch):
    push(OLD)
    push(NEW)
    pause = Pause(monkeypatch, *moment)
    deleted, pushed = meeting(pause, deleting(OLD), pushing(BOTH, "latest"))
    assert deleted is None
    assert isinstance(pushed, ManifestBlobUnknown)
    assert pushed.detail == [{"digest": str(digest_of(OLD))}]


def test_an_index_and_its_children_that_are_pushed_again_at_once(app):
    push(OLD)
    push(NEW)
    again = [pushing(BOTH, "both"), pushing(OLD, "old"), pushing(NEW, "new"), pushing(BOTH, "latest")]
    assert at_once(*again) == [None] * 4
    assert tag("both") == tag("latest") == digest_of(BOTH)


# --- The same image from many -----------------------------------------------------------------------------------------


def whole_image(number: int) -> Callable[[], None]:
    """As a client does: ask, upload what is missing in chunks, push the manifest."""

    def do() -> None:
        contents = (b'{"os":"linux"}', b"layer one " * 1000, b"layer two " * 1000)
        for content in contents:
            digest = Digest.of(content)
            try:
                layers.find_for_push("team/six", digest)
            except BlobUnknown:
                upload_id = str(uploads.start(Repository.objects.for_push("team/six"), f"user:{number}").pk)
                uploads.append("team/six", upload_id, f"user:{number}", Sent(content[:700]), 0)
                uploads.finish("team/six", upload_id, f"user:{number}", digest, Sent(content[700:]), None)
        manifest = json.dumps(image(*contents)).encode()
        document = Document.parse(manifest, IMAGE)
        services.push(
            Repository.objects.for_push("team/six"), Digest.of(manifest), manifest, document, ["latest"], False
        )

    return do


def test_six_clients_that_push_the_same_image_at_once_all_succeed(blob_directory):
    before = Blob.objects.count()
    assert at_once(*[whole_image(number) for number in range(6)]) == [None] * 6
    assert Blob.objects.count() - before == 3
    assert Manifest.objects.count() == Tag.objects.count() == 1
    run_due()
    assert len([path for path in blob_directory.rglob("*") if path.is_file()]) == before + 3
