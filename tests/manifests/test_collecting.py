"""Which manifests are collected, what a dry run says of them, and what a registry that is older has written down."""

from datetime import timedelta
from importlib import import_module

import pytest
from django.apps import apps
from django.utils.timezone import now

from layers import collecting as layers
from layers import finalizing
from layers.models import Blob, Layer, Naming
from manifests import collecting, services
from manifests.models import Manifest
from oci.digests import Digest
from tests.collecting import collect_everything, look_quickly, pass_by
from tests.images import INDEX, LAYER, bytes_of, described, image, index
from work.loop import run_due

pytestmark = pytest.mark.django_db

CONFIG = b'{"architecture":"amd64","os":"linux"}'
CHILD = image(CONFIG, b"a layer")
NAME = "team/app"


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    monkeypatch.setattr(finalizing, "finalize", look_quickly)


@pytest.fixture
def index_digest(registry) -> Digest:
    registry.push_image(NAME)
    return Digest.parse(registry.push_manifest(NAME, index(described(CHILD)), "all", INDEX))


def days_pass() -> None:
    pass_by(timedelta(days=2))
    run_due()


def test_a_child_goes_a_grace_after_its_index_and_what_it_named_a_grace_later(index_digest):
    services.delete(NAME, index_digest)
    run_due()
    assert Manifest.objects.exists()
    days_pass()
    assert not Manifest.objects.exists()
    assert Layer.objects.count() == 2
    days_pass()
    assert not Layer.objects.exists()


@pytest.mark.parametrize("keeps", ["a tag", "another index", "a push of it"])
def test_a_child_stays_with(keeps, index_digest, registry):
    services.delete(NAME, index_digest)
    if keeps == "another index":
        registry.push_manifest(NAME, index(described(CHILD), annotations={"another": "one"}), "other", INDEX)
    else:
        registry.push_manifest(NAME, CHILD, "tag" if keeps == "a tag" else "")
    days_pass()
    assert Manifest.objects.get(digest=described(CHILD)["digest"]).due_at is None


def test_children_of_children_go_too(index_digest, registry):
    inner = described(index(described(CHILD)))
    outer = Digest.parse(registry.push_manifest(NAME, index(inner), "outer", INDEX))
    services.untag(NAME, "all")
    services.delete(NAME, outer)
    collect_everything()
    assert not Manifest.objects.exists()
    assert not Blob.objects.exists()


def test_an_untagged_manifest_that_no_index_ever_named_stays(registry):
    registry.push_image(NAME)
    collect_everything()
    assert Manifest.objects.count() == 1


def test_a_dry_run_says_what_would_go_and_why(index_digest, registry):
    child = Manifest.objects.get(digest=described(CHILD)["digest"])
    layer = Layer.objects.get(blob__digest=str(Digest.of(b"a layer")))
    assert collecting.would(child) == f"keep manifest {child} of team/app: a tag or an index has it"
    assert layers.would_collect(layer) == f"keep layer {layer}: a manifest names it"
    assert layers.would_look_into(layer.blob).startswith(f"look into blob {layer.blob} (7 bytes)")
    layer.blob.finalized_at = now()
    assert layers.would_tend(layer.blob).startswith(f"keep blob {layer.blob}")
    services.delete(NAME, index_digest)
    assert "the index that named it was deleted" in collecting.would(child)
    services.delete(NAME, Digest.parse(child.digest))
    assert "no manifest names it" in layers.would_collect(layer)
    layer.delete()
    Blob.objects.update(due_at=now())
    assert layers.would_tend(layer.blob) == f"delete blob {layer.blob} (7 bytes): no repository has it"


# --- Registries that are older ----------------------------------------------------------------------------------------


def test_what_older_manifests_name_is_written_down(index_digest):
    before = set(Naming.objects.values_list("repository", "manifest", "digest", "media_type"))
    assert {media_type for *_, media_type in before} > {LAYER}
    Naming.objects.filter(manifest=str(index_digest)).delete()
    Naming.objects.update(media_type="")
    for _ in range(2):
        import_module("manifests.migrations.0003_name_children").name_again(apps, None)
        assert set(Naming.objects.values_list("repository", "manifest", "digest", "media_type")) == before


def test_older_blobs_are_looked_into(index_digest):
    Blob.objects.update(due_at=None)
    Blob.objects.filter(size=len(CONFIG)).update(finalized_at=now())
    import_module("layers.migrations.0003_look_into_blobs").have_blobs_looked_into(apps, None)
    assert [blob.finalized_at is None for blob in Blob.objects.exclude(due_at=None)] == [True]


def test_the_bytes_of_a_child_may_be_a_blob_too(index_digest, registry):
    registry.push_blob(NAME, bytes_of(CHILD))
    collect_everything()
    assert Layer.objects.count() == 3
    services.delete(NAME, index_digest)
    collect_everything()
    assert not Layer.objects.exists()
