"""Collection of layers, blobs and manifests that meets whoever needs them just now, in both orders: whoever is told
that something is there finds it there afterwards, and what nobody needs is gone."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import Q
from django.utils.timezone import now

from layers import collecting
from layers import services as layers
from layers.models import Blob, Layer, PendingDelete
from manifests import collecting as collecting_manifests
from manifests import services as manifests
from manifests.models import Manifest
from oci.digests import Digest
from oci.documents import Document
from oci.errors import BlobUnknown, ManifestBlobUnknown, ManifestUnknown
from repositories.models import Repository
from tests import integrity
from tests.collecting import collect_everything
from tests.images import bytes_of, described, image, index
from tests.threads import Pause, at_once, meeting
from tests.uploads.bodies import Sent
from uploads import services as uploads
from work.loop import run_due

pytestmark = pytest.mark.django_db(transaction=True)

NAME = "team/app"
CONTENT = b"{}"
DIGEST = Digest.of(CONTENT)
IMAGE = image(CONTENT)
ANOTHER = image(CONTENT, annotations={"another": "image"})
INDEX = index(described(IMAGE))


def push_blob(repository: Repository) -> None:
    uploads.push(repository, "user:1", DIGEST, Sent(CONTENT), None)


def push(manifest: dict[str, Any], *tags: str) -> None:
    content = bytes_of(manifest)
    document, repository = Document.parse(content, manifest["mediaType"]), Repository.objects.for_push(NAME)
    manifests.push(repository, Digest.of(content), content, document, tags, False)


def delete(manifest: dict[str, Any]) -> None:
    manifests.delete(NAME, Digest.of(bytes_of(manifest)))


def has_layer(name: str = NAME) -> bool:
    try:
        return bool(layers.index.find(name, DIGEST))
    except BlobUnknown:
        return False


def has(manifest: dict[str, Any]) -> bool:
    return Manifest.objects.filter(repository__name=NAME, digest=str(Digest.of(bytes_of(manifest)))).exists()


def nothing_is_left_but_what_is_needed() -> bool:
    collect_everything()
    return [problem for check in integrity.COLLECTED for problem in check()] == []


# --- A layer ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def due(app, other) -> None:
    """The blob is in both repositories; in one of them nothing names it and its grace is over."""
    push_blob(app)
    push_blob(other)
    Layer.objects.filter(repository=app).update(due_at=now() - timedelta(seconds=1))


def collecting_layer() -> Callable[[], None]:
    layer = Layer.objects.get(repository__name=NAME)
    return lambda: collecting.collect(layer)


def relying_on_head() -> Blob:
    return layers.find_for_push(NAME, DIGEST).blob


def mounting() -> bool:
    return layers.mount(DIGEST, Q(name="team/other"), Repository.objects.for_push(NAME))


def pushing_again() -> None:
    push_blob(Repository.objects.for_push(NAME))


def pushing_manifest() -> None:
    push(IMAGE)


LAYER_MOMENTS = {
    "when it has seen that nothing names it": (collecting, "is_named", True),
    "before it deletes": (Layer, "delete"),
    "before it commits": (Layer, "delete", True),
}


@pytest.mark.parametrize("moment", LAYER_MOMENTS)
@pytest.mark.parametrize("need", [relying_on_head, mounting, pushing_again, pushing_manifest])
def test_the_collection_of_a_layer_that_is_met_by_a_need_of_it(due, moment, need, monkeypatch):
    pause = Pause(monkeypatch, *LAYER_MOMENTS[moment])
    collected, answer = meeting(pause, collecting_layer(), need)
    assert collected is None
    if isinstance(answer, Exception):
        assert isinstance(answer, (BlobUnknown, ManifestBlobUnknown))
        assert need in (relying_on_head, pushing_manifest)
        assert moment != "when it has seen that nothing names it"
    assert has_layer() is not isinstance(answer, Exception), "what was said is what is so"
    assert has_layer("team/other")
    assert nothing_is_left_but_what_is_needed()


NEEDS = {
    "a HEAD that has found it": (layers, "now", False, relying_on_head),
    "a mount with the blob": (layers, "link", False, mounting),
    "a mount with the layer": (layers, "link", True, mounting),
    "a push that looks for the blob": (layers, "unsound", True, pushing_again),
    "a push with the blob": (layers, "kept_blob", True, pushing_again),
    "a push with the layer": (layers, "link", True, pushing_again),
    "a manifest with its layers": (layers, "present", True, pushing_manifest),
    "a manifest that is stored": (manifests, "store", True, pushing_manifest),
    "a manifest that has named": (layers, "name", True, pushing_manifest),
    "a manifest before it commits": (manifests, "point", True, pushing_manifest),
}


@pytest.mark.parametrize("which", NEEDS)
def test_a_need_of_a_layer_that_is_met_by_its_collection(due, which, monkeypatch):
    owner, name, after, need = NEEDS[which]
    collect = collecting_layer()
    pause = Pause(monkeypatch, owner, name, after)
    answer, collected = meeting(pause, need, collect)
    assert collected is None
    assert not isinstance(answer, Exception) or which == "a HEAD that has found it"
    assert has_layer() is not isinstance(answer, Exception), "what was said is what is so"
    assert nothing_is_left_but_what_is_needed()


def test_a_manifest_that_is_deleted_when_the_collector_has_seen_it_leaves_its_layer_a_grace(due, monkeypatch):
    push(IMAGE)
    pause = Pause(monkeypatch, collecting, "is_named", after=True)
    assert meeting(pause, collecting_layer(), lambda: delete(IMAGE)) == (None, None)
    assert Layer.objects.get(repository__name=NAME).due_at > now()
    collect_everything()
    assert not has_layer()


def test_a_manifest_that_is_being_deleted_leaves_its_layer_a_grace_whatever_the_collector_saw(due, monkeypatch):
    push(IMAGE)
    pause = Pause(monkeypatch, layers, "unname", after=True)
    assert meeting(pause, lambda: delete(IMAGE), collecting_layer()) == (None, None)
    assert Layer.objects.get(repository__name=NAME).due_at > now()
    collect_everything()
    assert not has_layer()


@pytest.mark.parametrize("moment", [(layers, "unname"), (layers, "unname", True), (Manifest, "delete", True)])
def test_what_the_last_two_manifests_named_is_collected_after_both_were_deleted_at_once(due, moment, monkeypatch):
    push(IMAGE)
    push(ANOTHER)
    pause = Pause(monkeypatch, *moment)
    assert meeting(pause, lambda: delete(IMAGE), lambda: delete(ANOTHER)) == (None, None)
    collect_everything()
    assert not has_layer()


def test_two_collectors_of_one_layer_do_it_once(due, monkeypatch):
    pause = Pause(monkeypatch, Layer, "delete")
    assert meeting(pause, collecting_layer(), collecting_layer()) == (None, None)
    assert not has_layer()
    assert has_layer("team/other")


# --- A blob -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def linked(app, other) -> Blob:
    push_blob(app)
    return Blob.objects.get()


@pytest.fixture
def unlinked(linked) -> Blob:
    layers.unlink(NAME, DIGEST)
    return Blob.objects.get()


@pytest.mark.parametrize("moment", [(Blob, "delete"), (Blob, "delete", True), (collecting, "discard", True)])
def test_the_collection_of_a_blob_that_is_met_by_a_push_of_it(unlinked, moment, monkeypatch):
    pause = Pause(monkeypatch, *moment)
    assert meeting(pause, lambda: collecting.tend(unlinked), pushing_again) == (None, None)
    assert has_layer()
    assert Blob.objects.get().key != unlinked.key
    assert nothing_is_left_but_what_is_needed()


@pytest.mark.parametrize("moment", [(layers, "unsound", True), (layers, "kept_blob", True), (layers, "link", True)])
def test_a_push_that_is_met_by_the_collection_of_its_blob(unlinked, moment, monkeypatch):
    pause = Pause(monkeypatch, *moment)
    assert meeting(pause, pushing_again, lambda: collecting.tend(unlinked)) == (None, None)
    assert has_layer()
    assert len(integrity.stored()) == 1 + PendingDelete.objects.count()
    assert nothing_is_left_but_what_is_needed()


@pytest.mark.parametrize("after", [False, True])
def test_a_mount_that_is_met_by_the_end_of_its_source_and_the_collection_of_its_blob(linked, after, monkeypatch):
    def end() -> None:
        layers.unlink(NAME, DIGEST)
        collecting.tend(linked)

    mount = lambda: layers.mount(DIGEST, Q(name=NAME), Repository.objects.get(name="team/other"))  # noqa: E731
    pause = Pause(monkeypatch, layers, "link", after)
    assert meeting(pause, mount, end) == (True, None)
    assert has_layer("team/other")
    assert not has_layer()


@pytest.mark.parametrize("moment", [(layers.Layer, "delete"), (Blob, "delete"), (Blob, "delete", True)])
def test_the_end_of_a_blob_that_is_met_by_a_mount(linked, moment, monkeypatch):
    def end() -> None:
        layers.unlink(NAME, DIGEST)
        collecting.tend(linked)

    mount = lambda: layers.mount(DIGEST, Q(name=NAME), Repository.objects.get(name="team/other"))  # noqa: E731
    pause = Pause(monkeypatch, *moment)
    ended, mounted = meeting(pause, end, mount)
    assert ended is None
    assert mounted is has_layer("team/other")
    assert nothing_is_left_but_what_is_needed()


@pytest.mark.parametrize("after", [False, True])
def test_a_blob_that_loses_its_last_link_while_it_is_looked_into_is_collected(linked, after, monkeypatch):
    pause = Pause(monkeypatch, collecting.finalizing, "finalize", after)
    assert meeting(pause, lambda: collecting.look_into(linked), lambda: layers.unlink(NAME, DIGEST)) == (None, False)
    assert Blob.objects.get().due_at is not None
    collect_everything()
    assert integrity.stored() == {}


@pytest.mark.parametrize("after", [False, True])
def test_a_blob_that_is_looked_into_while_it_loses_its_last_link_is_collected(linked, after, monkeypatch):
    pause = Pause(monkeypatch, Layer, "delete", after)
    assert meeting(pause, lambda: layers.unlink(NAME, DIGEST), lambda: collecting.look_into(linked)) == (False, None)
    assert Blob.objects.get().due_at is not None
    collect_everything()
    assert integrity.stored() == {}


@pytest.mark.parametrize("after", [False, True])
def test_a_look_that_is_met_by_the_collection_of_its_blob(unlinked, after, monkeypatch):
    """It had a link when the look began, and whoever claimed it for that has not renewed the claim."""
    pause = Pause(monkeypatch, collecting.finalizing, "finalize", after)
    looking, tending = lambda: collecting.look_into(unlinked), lambda: collecting.tend(unlinked)
    assert meeting(pause, looking, tending) == (None, None)
    assert not Blob.objects.exists()
    assert nothing_is_left_but_what_is_needed()


@pytest.mark.parametrize("after", [False, True])
def test_the_collection_of_a_blob_that_is_met_by_a_look(unlinked, after, monkeypatch):
    pause = Pause(monkeypatch, Blob, "delete", after)
    looking, tending = lambda: collecting.look_into(unlinked), lambda: collecting.tend(unlinked)
    assert meeting(pause, tending, looking) == (None, None)
    assert not Blob.objects.exists()
    assert nothing_is_left_but_what_is_needed()


@pytest.mark.parametrize("name", ["kept_blob", "link"])
def test_a_blob_that_is_pushed_again_while_a_collector_waits_for_it_is_looked_into(unlinked, name, monkeypatch):
    pause = Pause(monkeypatch, layers, name, after=True)
    assert meeting(pause, pushing_again, lambda: collecting.tend(unlinked)) == (None, None)
    run_due()
    assert Blob.objects.get().finalized_at
    assert Blob.objects.get().due_at is None


def test_a_link_that_is_taken_away_when_the_blob_was_found_to_be_needed_leaves_it_due(linked, monkeypatch):
    Blob.objects.update(finalized_at=now())
    pause = Pause(monkeypatch, collecting, "is_linked", after=True)
    assert meeting(pause, lambda: collecting.tend(linked), lambda: layers.unlink(NAME, DIGEST)) == (None, False)
    assert Blob.objects.get().due_at is not None
    collect_everything()
    assert integrity.stored() == {}


def test_a_link_that_is_being_taken_away_when_the_blob_is_looked_at_leaves_it_due_or_takes_it(linked, monkeypatch):
    Blob.objects.update(finalized_at=now())
    pause = Pause(monkeypatch, Layer, "delete", after=True)
    assert meeting(pause, lambda: layers.unlink(NAME, DIGEST), lambda: collecting.tend(linked)) == (False, None)
    collect_everything()
    assert integrity.stored() == {}


def test_collectors_of_one_blob_do_it_once(unlinked):
    assert at_once(*[lambda: collecting.tend(unlinked)] * 4) == [None] * 4
    assert [pending.key for pending in PendingDelete.objects.all()] == [unlinked.key]


def test_an_object_that_two_erase_is_gone_once(unlinked, monkeypatch):
    collecting.tend(unlinked)
    pending = PendingDelete.objects.get()
    pause = Pause(monkeypatch, layers.blobs().__class__, "delete", after=True)
    erasing = lambda: layers.erase(PendingDelete(pk=pending.pk, key=pending.key))  # noqa: E731
    assert meeting(pause, erasing, erasing) == (None, None)
    assert integrity.stored() == {}


# --- A manifest that was a child --------------------------------------------------------------------------------------


@pytest.fixture
def child(app) -> Manifest:
    """Its index was deleted, a grace ago."""
    push_blob(app)
    push(IMAGE)
    push(INDEX)
    delete(INDEX)
    Manifest.objects.update(due_at=now() - timedelta(seconds=1))
    return Manifest.objects.get()


def pushing_index() -> None:
    push(INDEX)


def tagging() -> None:
    push(IMAGE, "latest")


def pushing_child() -> None:
    push(IMAGE)


def relying_on_head_of_manifest() -> None:
    manifests.renew(manifests.find(NAME, Digest.of(bytes_of(IMAGE))))


MANIFEST_MOMENTS = [
    (collecting_manifests.services, "hold"),
    (collecting_manifests, "is_needed", True),
    (Manifest, "delete"),
    (Manifest, "delete", True),
]


@pytest.mark.parametrize("moment", MANIFEST_MOMENTS)
@pytest.mark.parametrize("need", [pushing_index, tagging, pushing_child, relying_on_head_of_manifest])
def test_the_collection_of_a_child_that_is_met_by_a_need_of_it(child, moment, need, monkeypatch):
    pause = Pause(monkeypatch, *moment)
    collected, answer = meeting(pause, lambda: collecting_manifests.collect(child), need)
    assert collected is None
    if isinstance(answer, Exception):
        assert isinstance(answer, (ManifestBlobUnknown, ManifestUnknown))
        assert need in (pushing_index, relying_on_head_of_manifest)
    assert has(IMAGE) is not isinstance(answer, Exception), "what was said is what is so"
    assert nothing_is_left_but_what_is_needed()
    assert has(IMAGE) is (has(INDEX) or need in (tagging, pushing_child))


NEEDS_OF_A_CHILD = {
    "an index with its children": (manifests, "present", True, pushing_index),
    "an index that is stored": (manifests, "store", True, pushing_index),
    "an index before it commits": (manifests, "point", True, pushing_index),
    "a tag that is not set yet": (manifests, "store", True, tagging),
    "a tag before it commits": (manifests, "point", True, tagging),
    "a child that has its layers": (manifests, "store", False, pushing_child),
    "a child before it commits": (manifests, "point", True, pushing_child),
    "a HEAD that has found it": (manifests, "now", False, relying_on_head_of_manifest),
}


@pytest.mark.parametrize("which", NEEDS_OF_A_CHILD)
def test_a_need_of_a_child_that_is_met_by_its_collection(child, which, monkeypatch):
    owner, name, after, need = NEEDS_OF_A_CHILD[which]
    pause = Pause(monkeypatch, owner, name, after)
    answer, collected = meeting(pause, need, lambda: collecting_manifests.collect(child))
    assert collected is None
    assert not isinstance(answer, Exception) or which == "a HEAD that has found it"
    assert has(IMAGE) is not isinstance(answer, Exception), "what was said is what is so"
    assert nothing_is_left_but_what_is_needed()


def test_an_index_that_is_deleted_when_the_collector_has_seen_it_leaves_its_child_a_grace(child, monkeypatch):
    push(INDEX)
    Manifest.objects.filter(pk=child.pk).update(due_at=now() - timedelta(seconds=1))
    pause = Pause(monkeypatch, collecting_manifests, "is_needed", after=True)
    meeting(pause, lambda: collecting_manifests.collect(child), lambda: delete(INDEX))
    assert Manifest.objects.get().due_at > now()
    collect_everything()
    assert integrity.stored() == {}


def test_two_collectors_of_one_child_do_it_once(child, monkeypatch):
    pause = Pause(monkeypatch, Manifest, "delete")
    collect = lambda: collecting_manifests.collect(Manifest(pk=child.pk, media_type=child.media_type))  # noqa: E731
    meeting(pause, lambda: collecting_manifests.collect(child), collect)
    assert not has(IMAGE)
    assert nothing_is_left_but_what_is_needed()


def test_indexes_that_share_children_are_deleted_and_pushed_at_once_and_nobody_waits_for_ever(app):
    push_blob(app)
    push(IMAGE)
    push(ANOTHER)
    nested = index(described(IMAGE), described(ANOTHER))
    outer = index(described(nested), described(IMAGE), described(ANOTHER))
    for _ in range(3):
        push(nested)
        push(outer, "latest")
        answers = at_once(
            lambda: delete(outer),
            lambda: push(IMAGE, "latest"),
            lambda: push(ANOTHER, "latest"),
            lambda: push(index(described(ANOTHER)), "latest"),
        )
        assert answers == [None] * 4
    assert nothing_is_left_but_what_is_needed()
