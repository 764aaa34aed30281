"""The deletion of a repository that meets pushes to it, in both orders: what was acknowledged before it goes with it,
what comes after it is refused, and in the end nothing is left of either."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from django.db.models import Q
from django.utils.timezone import now

from layers import collecting
from layers import services as layers
from layers.models import Layer
from manifests import services as manifests
from oci.digests import Digest
from oci.documents import Document
from oci.errors import BlobUploadUnknown, ManifestBlobUnknown, NameUnknown, UploadBusy, UploadSuperseded
from repositories import deletion
from repositories.models import Repository
from storage.filesystem import FilesystemDriver
from tests import integrity
from tests.collecting import collect_everything
from tests.images import bytes_of, image
from tests.server import wait_until
from tests.threads import Pause, Request, at_once, meeting
from tests.uploads.bodies import Sent, Silent
from uploads import clearing, receiving, services
from uploads.models import Upload
from work.loop import run_due

pytestmark = pytest.mark.django_db(transaction=True)

NAME, OPENER = "team/app", "user:1"
CONTENT, MORE = b"{}", b"another layer"
MANIFEST = bytes_of(image(CONTENT))
DOCUMENT = Document.parse(MANIFEST, "")


@pytest.fixture
def upload_id(app, other) -> str:
    """The repository has a blob, and an upload that is open; the other one has a blob that can be mounted."""
    services.push(app, OPENER, Digest.of(CONTENT), Sent(CONTENT), None)
    services.push(other, OPENER, Digest.of(MORE), Sent(MORE), None)
    return str(services.start(app, OPENER).pk)


def delete() -> None:
    deletion.delete(NAME)


def the_repository() -> Repository:
    """As a request has looked it up before it began its transaction."""
    return Repository.every.get(Q(name=NAME) | Q(former_name=NAME))


def finishing(upload_id: str) -> Callable[[], Any]:
    return lambda: services.finish(NAME, upload_id, OPENER, Digest.of(b"rest"), Sent(b"rest"), None)


def mounting(_: str) -> Callable[[], Any]:
    repository = the_repository()
    return lambda: layers.mount(Digest.of(MORE), Q(name="team/other"), repository)


def pushing(_: str) -> Callable[[], Any]:
    repository = the_repository()
    return lambda: manifests.push(repository, Digest.of(MANIFEST), MANIFEST, DOCUMENT, ["latest"], False)


def appending(upload_id: str) -> Callable[[], Any]:
    return lambda: services.append(NAME, upload_id, OPENER, Sent(b"more"), None)


def starting(_: str) -> Callable[[], Any]:
    repository = the_repository()
    return lambda: services.start(repository, OPENER)


def is_refused(answer: Any) -> bool:
    return answer is False or isinstance(answer, (NameUnknown, BlobUploadUnknown, UploadSuperseded))


def nothing_is_left() -> bool:
    """But what the other repository has."""
    Layer.objects.filter(repository__name="team/other").delete()
    layers.Blob.objects.update(due_at=now())
    collect_everything()
    return not (integrity.stored() or Upload.objects.exists() or Repository.every.filter(former_name=NAME).exists())


IN_TRANSACTION = {
    "a finish with the repository": (services, "living", True, finishing),
    "a finish with the layer": (layers, "link", True, finishing),
    "a finish before it commits": (Upload, "end", True, finishing),
    "a mount with the repository": (layers, "living", True, mounting),
    "a mount before it commits": (layers, "link", True, mounting),
    "a manifest with the repository": (manifests, "living", True, pushing),
    "a manifest before it commits": (manifests, "point", True, pushing),
}


@pytest.mark.parametrize("which", IN_TRANSACTION)
def test_a_push_that_keeps_the_repository_comes_before_its_deletion(upload_id, which, monkeypatch):
    owner, name, after, push = IN_TRANSACTION[which]
    do = push(upload_id)
    pause = Pause(monkeypatch, owner, name, after)
    pushed, deleted = meeting(pause, do, delete)
    assert deleted is None
    assert not isinstance(pushed, Exception)
    assert pushed is not False
    assert not Repository.objects.filter(name=NAME).exists()
    assert nothing_is_left()


def test_a_finish_that_finds_its_repository_deleted_is_refused(upload_id, monkeypatch):
    pause = Pause(monkeypatch, services, "admit")
    finished, deleted = meeting_over(pause, finishing(upload_id), delete)
    assert deleted is None
    assert is_refused(finished), finished
    assert nothing_is_left()


@pytest.mark.parametrize("push", [finishing, mounting, pushing, appending])
def test_a_request_that_looked_its_repository_up_before_it_was_deleted_is_refused(upload_id, push):
    do = push(upload_id)
    delete()
    answer = Request(do).answer()
    assert is_refused(answer), answer
    assert nothing_is_left()


def meeting_over(pause: Pause, first: Callable[[], Any], second: Callable[[], Any]) -> tuple[Any, Any]:
    """The second is over before the first goes on."""
    one = Request(first)
    pause.wait()
    answer = Request(second).answer()
    pause.go()
    return one.answer(), answer


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("push", [finishing, mounting, pushing])
def test_a_deletion_that_is_met_by_a_push_refuses_it(upload_id, push, after, monkeypatch):
    do = push(upload_id)
    pause = Pause(monkeypatch, deletion.deleted, "send", after)
    deleted, pushed = meeting(pause, delete, do)
    assert deleted is None
    assert is_refused(pushed), pushed
    assert nothing_is_left()


@pytest.mark.parametrize("work", [appending, starting])
@pytest.mark.parametrize("after", [False, True])
def test_uploads_that_meet_the_deletion_go_with_the_repository(upload_id, work, after, monkeypatch):
    do = work(upload_id)
    pause = Pause(monkeypatch, deletion.deleted, "send", after)
    deleted, _ = meeting(pause, delete, do)
    assert deleted is None
    assert nothing_is_left()


def test_a_writer_is_stopped_when_its_repository_is_cleared(upload_id):
    writer = Request(lambda: services.append(NAME, upload_id, OPENER, Silent(b"bytes"), None))
    key = Upload.objects.get(pk=upload_id).key
    wait_until(lambda: integrity.stored().get(key) == b"bytes")
    delete()
    assert Request(run_due).answer() >= 1
    assert isinstance(writer.answer(), (UploadSuperseded, BlobUploadUnknown))
    assert nothing_is_left()


def test_a_record_that_meets_the_clearing_keeps_nothing_alive(upload_id, monkeypatch):
    monkeypatch.setattr(receiving, "RECORD", 0)
    do = appending(upload_id)
    pause = Pause(monkeypatch, Upload, "record")
    one = Request(do)
    pause.wait()
    delete()
    clear = Request(run_due)
    clear.ends_within(0.1)
    pause.go()
    assert isinstance(one.answer(), (UploadSuperseded, BlobUploadUnknown))
    clear.answer()
    assert nothing_is_left()


def test_an_upload_whose_file_is_just_being_made_is_not_forgotten(app, monkeypatch):
    """Or its file would be known to nobody."""
    pause = Pause(monkeypatch, FilesystemDriver, "begin")
    start = Request(starting(""))
    pause.wait()
    delete()
    run_due()
    assert "UploadBusy" in the_repository().last_error
    pause.go()
    assert not isinstance(start.answer(), Exception)
    collect_everything()
    assert integrity.stored() == {}


def test_an_upload_that_comes_when_the_repository_is_gone_for_good_is_refused(app):
    do = starting("")
    delete()
    run_due()
    assert isinstance(Request(do).answer(), NameUnknown)
    assert integrity.stored() == {}


@pytest.mark.parametrize("moment", [(clearing, "end"), (manifests, "remove"), (collecting, "locked")])
def test_two_that_clear_one_repository_do_not_get_into_each_others_way(upload_id, moment, monkeypatch):
    pushing(upload_id)()
    delete()
    row = the_repository()
    pause = Pause(monkeypatch, *moment)

    def clear() -> None:
        with suppress(UploadBusy, UploadSuperseded):  # a duty that fails is tried again
            deletion.clear(row)

    assert meeting(pause, clear, clear) == (None, None)
    assert nothing_is_left()


def test_deletions_and_pushes_that_come_at_once_leave_nothing_half_done(app, other):
    def push() -> Any:
        repository = Repository.objects.for_push(NAME)
        services.push(repository, OPENER, Digest.of(CONTENT), Sent(CONTENT), None)
        return manifests.push(repository, Digest.of(MANIFEST), MANIFEST, DOCUMENT, ["latest"], False)

    refusals = (NameUnknown, BlobUploadUnknown, ManifestBlobUnknown)
    for _ in range(5):
        answers = at_once(push, delete, push, delete, push)
        assert all(answer is None or isinstance(answer, refusals) for answer in answers), answers
        run_due()
    if Repository.objects.filter(name=NAME).exists():
        delete()
    assert nothing_is_left()
