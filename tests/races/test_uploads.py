"""Requests about one upload that meet: exactly one of them is what happened last, and the bytes are never mixed."""

from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest
from django.utils.timezone import now

from layers import services as layers
from layers.models import Blob, Layer
from oci.digests import Digest
from oci.errors import BlobUnknown, BlobUploadUnknown, UploadSuperseded
from tests.server import wait_until
from tests.threads import Pause, Request, at_once, meeting
from tests.uploads.bodies import Sent, Silent
from uploads import services, taking
from uploads.models import State, Upload
from work.loop import run_due

pytestmark = pytest.mark.django_db(transaction=True)

NAME, OPENER = "team/app", "user:1"
FIRST, REST = b"first half, ", b"second half"
DIGEST = Digest.of(FIRST + REST)


@pytest.fixture
def upload_id(app) -> str:
    upload_id = str(services.start(app, OPENER).pk)
    services.append(NAME, upload_id, OPENER, Sent(FIRST), 0)
    return upload_id


def appending(upload_id: str, body: Sent | None = None) -> Callable[[], Upload]:
    return lambda: services.append(NAME, upload_id, OPENER, body or Sent(REST), len(FIRST))


def finishing(upload_id: str, content: bytes = REST, digest: Digest = DIGEST) -> Callable[[], None]:
    def finish() -> None:
        services.finish(NAME, upload_id, OPENER, digest, Sent(content), len(FIRST))

    return finish


def cancelling(upload_id: str) -> Callable[[], None]:
    return lambda: services.cancel(NAME, upload_id, OPENER)


def expire() -> None:
    Upload.objects.update(due_at=now() - timedelta(seconds=1))
    run_due()


def served() -> bytes | None:
    try:
        blob = layers.index.find(NAME, DIGEST).blob
    except BlobUnknown:
        return None
    with closing(layers.read(blob, 0, blob.size)) as reader:
        return reader.read()


def goes_on(upload_id: str) -> bool:
    """Whether the upload still has what it said it has, and can be finished."""
    at = services.find(NAME, upload_id, OPENER).offset
    services.finish(NAME, upload_id, OPENER, DIGEST, Sent((FIRST + REST)[at:]), at)
    return served() == FIRST + REST


def nothing_is_left(blob_directory) -> bool:
    run_due()
    files = [path for path in blob_directory.rglob("*") if path.is_file()]
    return not (files or Upload.objects.exists() or Blob.objects.exists())


def lost(*answers: Any) -> bool:
    """Each was told that it has lost the upload."""
    return all(isinstance(answer, (UploadSuperseded, BlobUploadUnknown)) for answer in answers)


# --- Cancelling and expiring against writing --------------------------------------------------------------------------


@pytest.fixture(params=["cancel", "expire"])
def ending(request, upload_id) -> Callable[[], None]:
    return cancelling(upload_id) if request.param == "cancel" else expire


def test_an_upload_that_ends_takes_it_from_its_writer(upload_id, ending, blob_directory):
    body = Silent(REST)
    writer = Request(appending(upload_id, body))
    wait_until_written(upload_id, len(FIRST + REST), blob_directory)
    assert Request(ending).answer() is None
    assert lost(writer.answer())
    assert nothing_is_left(blob_directory)


@pytest.mark.parametrize("change", [appending, finishing])
def test_a_request_that_comes_before_the_end_is_certain_wins(upload_id, ending, change, monkeypatch):
    """The end was behind the fence already, but another has taken the upload since."""
    pause = Pause(monkeypatch, taking, "drop")
    ended, changed = meeting(pause, ending, change(upload_id))
    assert not isinstance(changed, Exception)
    assert ended is None or lost(ended)
    assert served() is not None or goes_on(upload_id)


@pytest.mark.parametrize("change", [appending, finishing])
def test_a_request_that_comes_when_the_end_is_certain_finds_nothing(
    upload_id, ending, change, monkeypatch, blob_directory
):
    pause = Pause(monkeypatch, layers, "discard", after=True)
    ended, changed = meeting(pause, ending, change(upload_id))
    assert ended is None
    assert isinstance(changed, BlobUploadUnknown)
    assert nothing_is_left(blob_directory)


@pytest.mark.parametrize(("owner", "name"), [(services, "keep"), (Upload, "record")])
def test_an_end_that_comes_while_bytes_are_recorded(upload_id, ending, owner, name, monkeypatch, blob_directory):
    pause = Pause(monkeypatch, owner, name)
    appended, ended = meeting(pause, appending(upload_id), ending)
    assert ended is None
    assert lost(appended)
    assert nothing_is_left(blob_directory)


def test_an_end_that_comes_while_a_finish_has_not_begun_its_transaction_wins(
    upload_id, ending, monkeypatch, blob_directory
):
    pause = Pause(monkeypatch, services, "admit")
    finished, ended = meeting(pause, finishing(upload_id), ending)
    assert ended is None
    assert lost(finished)
    assert nothing_is_left(blob_directory)


def test_an_end_that_comes_in_the_transaction_of_a_finish_is_too_late(upload_id, ending, monkeypatch):
    pause = Pause(monkeypatch, Upload, "end", after=True)
    finished, ended = meeting(pause, finishing(upload_id), ending)
    assert finished is None
    assert ended is None or isinstance(ended, BlobUploadUnknown)
    assert served() == FIRST + REST


def test_an_expiry_that_comes_to_an_upload_that_was_just_gone_on_with_leaves_it(upload_id, monkeypatch):
    Upload.objects.update(due_at=now() - timedelta(seconds=1))
    pause = Pause(monkeypatch, Upload, "claim", after=True)
    expired, appended = meeting(pause, run_due, appending(upload_id))
    assert not isinstance(expired, Exception)
    assert appended.offset == len(FIRST + REST)
    assert goes_on(upload_id)


# --- Writing against writing ------------------------------------------------------------------------------------------


def wait_until_written(upload_id: str, size: int, blob_directory) -> None:
    path = blob_directory / taking.key_of(Upload.objects.get(pk=upload_id).pk)
    wait_until(lambda: path.stat().st_size == size)


def test_three_writers_of_which_two_are_dead_end_in_the_bytes_of_the_third(upload_id, blob_directory):
    first = Request(appending(upload_id, Silent(b"dead one")))
    wait_until_written(upload_id, len(FIRST) + 8, blob_directory)
    second = Request(appending(upload_id, Silent(b"another dead one")))
    wait_until_written(upload_id, len(FIRST) + 16, blob_directory)
    assert Request(finishing(upload_id)).answer() is None
    assert lost(first.answer(), second.answer())
    assert served() == FIRST + REST


def test_chunks_that_come_at_once_are_never_mixed(upload_id):
    bodies = [bytes([65 + number]) * 50_000 for number in range(5)]
    answers = at_once(*[appending(upload_id, Sent(*[body[:10_000]] * 5)) for body in bodies])
    winners = [body for body, answer in zip(bodies, answers, strict=True) if isinstance(answer, Upload)]
    assert len(winners) <= 1
    upload = Upload.objects.get()
    content = FIRST + b"".join(winners)
    assert upload.offset == len(content)
    services.finish(NAME, upload_id, OPENER, Digest.of(content), Sent(), None)


@pytest.mark.parametrize("moment", [(services, "receive"), (services, "admit"), (layers, "link"), (Upload, "end")])
def test_a_finish_that_is_sent_again_while_the_first_still_runs(upload_id, moment, monkeypatch):
    """The client's proxy gave up on the first answer. Whoever is told 201 is told the truth."""
    pause = Pause(monkeypatch, *moment)
    first, again = meeting(pause, finishing(upload_id), finishing(upload_id))
    assert again is None
    assert first is None or lost(first)
    assert served() == FIRST + REST
    assert Blob.objects.count() == Layer.objects.count() == 1


@pytest.mark.parametrize("after", [False, True])
def test_bytes_that_come_while_a_finish_commits_do_not_reach_the_blob(upload_id, after, monkeypatch, blob_directory):
    pause = Pause(monkeypatch, Upload, "end", after)
    finished, appended = meeting(pause, finishing(upload_id), appending(upload_id, Sent(b"late bytes")))
    if finished is None:
        assert isinstance(appended, BlobUploadUnknown)
        assert (blob_directory / Blob.objects.get().key).read_bytes() == FIRST + REST
    else:
        assert not after
        assert lost(finished)
        assert not Blob.objects.exists()
        assert appended.offset == len(FIRST + b"late bytes")


def test_a_finish_that_dies_in_its_transaction_is_as_if_it_had_not_begun_it(upload_id, monkeypatch, blob_directory):
    for owner, name in [(layers, "kept_blob"), (layers, "link"), (Upload, "end")]:
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, dying)
            with pytest.raises(KeyboardInterrupt):
                finishing(upload_id)()
        assert served() is None
        assert (Blob.objects.count(), Layer.objects.count()) == (0, 0)
        assert services.find(NAME, upload_id, OPENER).offset == len(FIRST)
    assert Request(finishing(upload_id)).answer() is None
    assert served() == FIRST + REST
    assert len([path for path in blob_directory.rglob("*") if path.is_file()]) == 1


def dying(*_: Any) -> None:
    raise KeyboardInterrupt


def test_a_mismatch_that_meets_another_finish(upload_id, monkeypatch):
    pause = Pause(monkeypatch, taking, "drop")
    mismatched, finished = meeting(pause, finishing(upload_id, b"other bytes"), finishing(upload_id))
    assert lost(mismatched)
    assert finished is None
    assert served() == FIRST + REST


def test_cancels_and_finishes_that_come_at_once_agree(app, blob_directory):
    for _ in range(5):
        upload_id = str(services.start(app, OPENER).pk)
        services.append(NAME, upload_id, OPENER, Sent(FIRST), 0)
        finished, again, cancelled = at_once(finishing(upload_id), finishing(upload_id), cancelling(upload_id))
        is_finished = Upload.objects.filter(pk=upload_id, state=State.FINISHED).exists()
        assert is_finished == (finished is None or again is None)
        assert is_finished or cancelled is None
        assert is_finished or not Upload.objects.filter(pk=upload_id).exists()
