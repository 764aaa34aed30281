"""What a client does that is a pull or a push, and what is not."""

import pytest
from django.db import OperationalError

from counts import counting
from counts.models import Day
from layers.models import Layer
from manifests.models import Manifest
from storage.driver import blobs
from tests.images import image

pytestmark = pytest.mark.django_db

CONTENT = b"bytes of a layer"


@pytest.fixture
def digest(registry) -> str:
    """Of the manifest of an image with one layer, whose push is forgotten."""
    digest = registry.push_image("team/app", "v1", (CONTENT,))
    counting.forget()
    return digest


@pytest.fixture
def layer(digest) -> Layer:
    return Layer.objects.get(blob__size=len(CONTENT))


def counted() -> tuple[int, int]:
    """Pulls and pushes of the day."""
    counting.flush()
    return Day.objects.values_list("pulls", "pushes").first() or (0, 0)


def pulls(row) -> int:
    counting.flush()
    row.refresh_from_db()
    return row.pulls


# --- Manifests --------------------------------------------------------------------------------------------------------


def test_a_manifest_is_pulled_by_tag_and_by_digest(digest, puller):
    for reference in ("v1", digest):
        assert puller.pull_manifest("team/app", reference).status_code == 200
    assert pulls(Manifest.objects.get()) == 2
    assert counted() == (2, 0)


def test_head_of_a_manifest_does_not_count(digest, puller):
    assert puller.ask("HEAD", "/v2/team/app/manifests/v1").status_code == 200
    assert counted() == (0, 0)


def test_who_has_the_manifest_already_does_not_pull_it(digest, puller):
    assert puller.pull_manifest("team/app", "v1", If_None_Match=f'"{digest}"').status_code == 304
    assert counted() == (0, 0)


def test_what_is_not_there_or_not_allowed_is_no_pull(digest, puller, stranger):
    assert puller.pull_manifest("team/app", "v2").status_code == 404
    assert stranger.pull_manifest("team/app", "v1").status_code == 401
    assert stranger.pull_blob("team/app", digest).status_code == 401
    assert counted() == (0, 0)


def test_a_manifest_that_is_accepted_is_a_push_also_when_it_was_there(registry, digest):
    registry.push_image("team/app", "v1", (CONTENT,))
    registry.push_image("team/app", "v2", (CONTENT,))
    assert counted() == (0, 2)


def test_a_manifest_that_is_refused_is_no_push(registry, digest):
    assert registry.put_manifest("team/app", "v1", image(b"a config that is not here")).status_code == 404
    assert registry.put_manifest("team/app", "v1", b"{").status_code == 400
    assert counted() == (0, 0)


# --- Blobs ------------------------------------------------------------------------------------------------------------


def test_a_blob_is_pulled_from_the_repository_that_was_asked(registry, puller, layer):
    registry.push_blob("team/other", CONTENT)
    for _ in range(2):
        assert puller.pull_blob("team/app", layer.blob.digest).getvalue() == CONTENT
    assert pulls(layer) == 2
    assert pulls(Layer.objects.get(repository__name="team/other")) == 0
    assert counted() == (2, 0)


def test_head_of_a_blob_does_not_count(registry, puller, layer):
    for client in (registry, puller):
        assert client.ask("HEAD", f"/v2/team/app/blobs/{layer.blob.digest}").status_code == 200
    assert counted() == (0, 0)


def test_who_has_the_blob_already_does_not_pull_it(puller, layer):
    digest = layer.blob.digest
    assert puller.pull_blob("team/app", digest, If_None_Match=f'"{digest}"').status_code == 304
    assert counted() == (0, 0)


@pytest.mark.parametrize(
    ("header", "status", "expected"),
    [("bytes=0-", 206, 1), ("bytes=0-3", 206, 1), ("bytes=4-", 206, 0), ("bytes=-4", 206, 0), ("bytes=99-", 416, 0)],
)
def test_a_blob_that_is_pulled_in_parts_counts_once_by_its_first(puller, layer, header, status, expected):
    answer = puller.pull_blob("team/app", layer.blob.digest, Range=header)
    assert answer.status_code == status
    answer.getvalue()
    assert pulls(layer) == expected


def test_a_blob_that_storage_serves_itself_counts_when_the_client_is_sent_there(puller, layer, monkeypatch):
    monkeypatch.setattr(type(blobs()), "redirect", lambda self, key: f"https://storage.example.com/{key}")
    for header in ("bytes=0-3", "bytes=4-"):
        assert puller.pull_blob("team/app", layer.blob.digest, Range=header).status_code == 307
    assert pulls(layer) == 1


@pytest.mark.damages_storage
@pytest.mark.removes_what_is_named
def test_a_blob_whose_bytes_are_lost_is_not_pulled(puller, layer, blob_directory):
    (blob_directory / layer.blob.key).unlink()
    assert puller.pull_blob("team/app", layer.blob.digest).status_code == 404
    assert counted() == (0, 0)


# --- What it costs ----------------------------------------------------------------------------------------------------


def test_a_database_that_cannot_be_written_stops_no_pull(puller, digest, monkeypatch):
    def fail(*_: object) -> None:
        raise OperationalError("the database is away")

    with monkeypatch.context() as patch:
        patch.setattr(counting, "record", fail)
        for _ in range(2):
            assert puller.pull_manifest("team/app", "v1").status_code == 200
            with pytest.raises(OperationalError):
                counting.flush()
    assert counted() == (2, 0)
