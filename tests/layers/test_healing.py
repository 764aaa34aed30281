"""What was seen in bytes that turn out to be damaged is not said of those that take their place."""

from pathlib import Path

import pytest
from django.utils.timezone import now

from layers.models import Blob
from layers.verifying import verify
from oci.digests import Digest
from tests.tars import LAYER, OTHER_TARSUM, TARSUM

pytestmark = [pytest.mark.django_db, pytest.mark.damages_storage]

DIGEST = str(Digest.of(LAYER))


@pytest.fixture
def rotten(registry, blob_directory) -> Path:
    """The file, of which a byte has flipped, before somebody looked into it and saw another layer."""
    registry.push_blob("team/app", LAYER)
    path = blob_directory / Blob.objects.get().key
    path.write_bytes(LAYER[:-1] + bytes([LAYER[-1] ^ 1]))
    wrong = {"contents": "tar", "compression": "none", "diff_id": DIGEST, "files": 7, "uncompressed_size": 70}
    Blob.objects.update(finalized_at=now(), tarsum=OTHER_TARSUM, remark="odd", **wrong)
    assert verify(Blob.objects.get()).damaged
    return path


def seen() -> tuple[object, ...]:
    facts = ("contents", "remark", "compression", "diff_id", "tarsum", "files", "uncompressed_size", "finalized_at")
    return Blob.objects.values_list(*facts).get()


NOTHING = ("", "", "", "", "", None, None, None)


def test_a_push_that_heals_a_layer_forgets_it(rotten, registry, puller):
    registry.push_blob("team/app", LAYER)
    assert seen() == NOTHING
    assert Blob.objects.get().due_at <= now()
    assert not puller.has_blob("team/app", OTHER_TARSUM)
    assert puller.pull_blob("team/app", DIGEST).getvalue() == LAYER


def test_a_push_by_tarsum_that_heals_a_layer_says_what_is_in_it_now(rotten, registry, puller):
    location = registry.open_upload("team/app")
    assert registry.ask("PUT", f"{location}?digest={TARSUM}", LAYER).status_code == 201
    assert (Blob.objects.get().tarsum, Blob.objects.get().files) == (TARSUM, 1)
    assert Blob.objects.get().finalized_at
    assert not puller.has_blob("team/app", OTHER_TARSUM)
    assert puller.pull_blob("team/app", TARSUM).getvalue() == LAYER


def test_a_layer_that_is_sound_again_is_looked_into_again(rotten, puller):
    rotten.write_bytes(LAYER)
    assert not verify(Blob.objects.get()).damaged
    assert seen() == NOTHING
    assert Blob.objects.get().due_at <= now()
    assert not puller.has_blob("team/app", OTHER_TARSUM)


def test_a_layer_that_was_never_damaged_keeps_what_was_seen(registry):
    registry.push_blob("team/app", LAYER)
    Blob.objects.update(finalized_at=now(), contents="tar", tarsum=TARSUM)
    before = seen()
    assert not verify(Blob.objects.get()).damaged
    registry.push_blob("team/other", LAYER)
    assert seen() == before
