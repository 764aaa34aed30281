"""Deleting a repository: what clients see of it, and what is left of it."""

import uuid
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from layers import collecting, finalizing
from layers.models import Layer, Naming
from manifests import holdings, services
from manifests.models import Manifest, Tag
from oci.digests import Digest
from oci.errors import NameUnknown
from repositories import deletion
from repositories.models import Repository
from storage.driver import blobs
from tests import integrity
from tests.collecting import collect_everything, look_quickly, pass_by
from tests.images import INDEX, described, image, index
from tests.registry import Registry, refusal
from uploads import clearing
from uploads.models import Upload
from work.loop import run_due

NAME = "team/app"
CONFIG = b'{"architecture":"amd64","os":"linux"}'


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    monkeypatch.setattr(finalizing, "finalize", look_quickly)


@pytest.fixture
def pushed(registry) -> str:
    """An index, its image, tags, a blob that nothing names, and an upload that is open; the image's digest."""
    digest = registry.push_image(NAME, "v1", (b"a layer", b"a shared layer"))
    registry.push_manifest(NAME, index(described(image(CONFIG, b"a layer", b"a shared layer"))), "all", INDEX)
    registry.push_blob(NAME, b"nothing names it")
    registry.ask("PATCH", registry.open_upload(NAME), b"half of a layer")
    registry.push_image("team/other", "v1", (b"a shared layer",))
    return digest


def stored() -> int:
    return sum(map(len, integrity.stored().values()))


def test_nothing_of_it_is_to_be_seen_any_more(pushed, puller, owner):
    deletion.delete(NAME)
    assert refusal(puller.pull_manifest(NAME, "v1")) == (404, "MANIFEST_UNKNOWN")
    assert refusal(puller.pull_manifest(NAME, pushed)) == (404, "MANIFEST_UNKNOWN")
    assert not puller.has_blob(NAME, str(Digest.of(b"a layer")))
    assert refusal(puller.ask("GET", f"/v2/{NAME}/tags/list")) == (404, "NAME_UNKNOWN")
    assert puller.referrers(NAME, pushed) == []
    assert owner.ask("GET", "/v2/_catalog").json() == {"repositories": ["team/other"]}
    out = StringIO()
    call_command("repository", "list", stdout=out)
    assert out.getvalue().split() == ["private", "team/other"]


def test_what_only_it_had_is_mounted_nowhere(pushed, alice):
    deletion.delete(NAME)
    client = Registry(alice.username, by="basic")
    assert client.ask("POST", f"/v2/team/third/blobs/uploads/?mount={Digest.of(b'a layer')}").status_code == 202
    assert client.ask("POST", f"/v2/team/third/blobs/uploads/?mount={Digest.of(b'a shared layer')}").status_code == 201


def test_its_uploads_are_unknown(registry):
    location = registry.open_upload(NAME)
    deletion.delete(NAME)
    later = Registry(registry.username)  # with new tokens
    assert refusal(later.ask("PATCH", location, b"x")) == (404, "BLOB_UPLOAD_UNKNOWN")
    assert refusal(later.ask("PUT", f"{location}?digest={Digest.of(b'x')}", b"x")) == (404, "BLOB_UPLOAD_UNKNOWN")


def test_tokens_from_before_are_void(pushed, puller):
    puller.pull_manifest(NAME, "v1")
    authorization = puller.authorization()
    deletion.delete(NAME)
    answer = puller.once("GET", f"/v2/{NAME}/manifests/v1", b"", authorization, {})
    assert answer.status_code == 401


def test_what_it_held_goes_in_the_background_and_nothing_else_does(pushed, puller):
    deletion.delete(NAME)
    collect_everything()
    assert list(Repository.every.values_list("name", flat=True)) == ["team/other"]
    assert not Upload.objects.exists()
    assert stored() == len(CONFIG + b"a shared layer")
    assert [problem for check in integrity.COLLECTED for problem in check()] == []
    assert puller.pull_manifest("team/other", "v1").status_code == 200


def test_all_that_was_in_it_goes_without_waiting_for_a_grace(pushed):
    deletion.delete(NAME)
    run_due()
    pass_by(timedelta(seconds=1))
    run_due()
    assert not Repository.every.exclude(deleted_at=None).exists()
    assert stored() == len(CONFIG + b"a shared layer")


def test_its_name_is_free_and_whoever_takes_it_begins_with_nothing(pushed, alice, puller):
    for tag in ("v2", "v3"):
        deletion.delete(NAME)
        Registry(alice.username, by="basic").push_image(NAME, tag, (b"a layer",))
        assert Registry(puller.username).tags(NAME) == [tag]
    collect_everything()
    puller = Registry(puller.username)
    assert puller.tags(NAME) == ["v3"]
    assert puller.has_blob(NAME, str(Digest.of(b"a layer")))
    assert stored() == len(CONFIG + b"a layer" + b"a shared layer")


def test_what_does_not_exist_cannot_be_deleted(pushed):
    with pytest.raises(NameUnknown):
        deletion.delete("team/none")
    deletion.delete(NAME)
    with pytest.raises(NameUnknown):
        deletion.delete(NAME)


def test_a_name_that_no_client_can_spell_stands_for_it(pushed, puller):
    deletion.delete(NAME)
    gone = Repository.every.exclude(deleted_at=None).get()
    assert gone.former_name == NAME
    assert puller.ask("GET", f"/v2/{gone.name.replace(' ', '%20')}/tags/list").status_code in (400, 404)


def test_a_repository_that_lives_is_never_cleared(pushed, puller):
    Repository.objects.filter(name=NAME).update(due_at="2020-01-01T00:00:00Z")
    run_due()
    assert "is not deleted" in Repository.objects.get(name=NAME).last_error
    assert puller.pull_manifest(NAME, "v1").status_code == 200


@pytest.mark.damages_storage
def test_an_upload_that_cannot_end_now_keeps_nothing_else(pushed, registry):
    upload_id = registry.open_upload(NAME).rpartition("/")[2]
    blobs().delete(Upload.objects.get(pk=upload_id).key)  # as if its process had died before it made the file
    Upload.objects.filter(pk=upload_id).update(id=uuid.UUID(int=1))  # whose turn comes before the others'
    stuck = Upload.objects.get(pk=uuid.UUID(int=1))
    deletion.delete(NAME)
    run_due()
    assert not Layer.objects.filter(repository__name__startswith="deleted").exists()
    assert not Manifest.objects.filter(repository__name__startswith="deleted").exists()
    assert list(Upload.objects.exclude(repository__name="team/other")) == [stuck]
    gone = Repository.every.exclude(deleted_at=None).get()
    assert "UploadBusy" in gone.last_error
    assert gone.due_at is not None
    stuck.delete()
    collect_everything()
    assert not Repository.every.exclude(deleted_at=None).exists()


def test_each_app_clears_what_it_has_whichever_of_them_fails(pushed, monkeypatch):
    called: list[str] = []

    def failing(name):
        def hook(repository):
            called.append(name)
            raise ValueError(name)

        return hook

    deletion.delete(NAME)
    gone = Repository.every.exclude(deleted_at=None).get()
    with monkeypatch.context() as patch:
        patch.setattr(deletion, "_hooks", [failing("one"), called.append, failing("another")])
        with pytest.raises(ExceptionGroup, match=r"'another'.*'one'"):
            deletion.clear(gone)
    assert called == ["another", gone, "one"]
    assert Repository.every.filter(pk=gone.pk).exists()


STEPS = [
    (services, "remove"),
    (services.layers, "unname"),
    (Manifest, "delete"),
    (clearing, "end"),
    (clearing.taking, "drop"),
    (collecting, "locked"),
]


@pytest.mark.parametrize("killed", range(12))
def test_clearing_that_dies_anywhere_goes_on_later(pushed, killed, monkeypatch):
    deletion.delete(NAME)
    left = killed

    def step(do):
        def do_or_die(*arguments, **named):
            nonlocal left
            left -= 1
            if left == -1:
                raise KeyboardInterrupt
            return do(*arguments, **named)

        return do_or_die

    with monkeypatch.context() as patch:
        for owner, name in STEPS:
            patch.setattr(owner, name, step(getattr(owner, name)))
        with pytest.raises(KeyboardInterrupt):
            run_due()
    assert [problem for check in [*integrity.INDEX, *integrity.STORAGE] for problem in check()] == []
    collect_everything()
    assert stored() == len(CONFIG + b"a shared layer")
    assert not Upload.objects.exists()
    for model in (Tag, Naming, Layer):
        assert set(model.objects.values_list("repository__name", flat=True)) == {"team/other"}


# --- The command ------------------------------------------------------------------------------------------------------


def said(*arguments: str) -> str:
    out = StringIO()
    call_command("repository", "delete", *arguments, stdout=out)
    return out.getvalue()


def test_the_command_says_what_goes(pushed):
    text = said(NAME, "--yes")
    size = len(CONFIG + b"a layer" + b"a shared layer" + b"nothing names it")
    assert f"2 tags, 2 manifests and 4 layers: {size} bytes, of which {size - len(CONFIG) - 14} are in no other" in text
    assert not Repository.objects.filter(name=NAME).exists()
    assert stored() > 0, "that is left to the background"


@pytest.mark.parametrize(("answer", "goes"), [(NAME, True), ("y", False), ("", False)])
def test_the_command_wants_the_name_once_more(pushed, answer, goes, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda _: answer)
    if goes:
        said(NAME)
    else:
        with pytest.raises(CommandError, match="was not deleted"):
            said(NAME)
    assert Repository.objects.filter(name=NAME).exists() is not goes


def test_the_command_where_nobody_answers_changes_nothing(pushed, monkeypatch):
    def nobody(_):
        raise EOFError

    monkeypatch.setattr("builtins.input", nobody)
    with pytest.raises(CommandError, match="--yes"):
        said(NAME)
    assert Repository.objects.filter(name=NAME).exists()


def test_the_command_refuses_what_is_not_there(db):
    with pytest.raises(CommandError, match="no repository team/none"):
        said("team/none", "--yes")


def test_an_empty_repository_holds_nothing(db):
    empty = Repository.objects.create(name=NAME)
    assert holdings.holdings(empty) == holdings.Holdings(0, 0, 0, 0, 0)
