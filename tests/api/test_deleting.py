"""DELETE of tags, manifests and blobs, by those who hold the action for it."""

from datetime import datetime, timedelta

import pytest
from django.utils.timezone import now

from layers.models import Layer, Naming
from manifests.models import Manifest
from oci.digests import Digest
from tests.images import IMAGE, INDEX, artifact, bytes_of, described, image, index
from tests.registry import Registry, refusal

UNKNOWN = str(Digest.of(b"never pushed"))


def delete(client, path):
    return client.ask("DELETE", f"/v2/team/app/{path}")


def is_gone(answer):
    assert (answer.status_code, answer.content) == (202, b"")
    return True


def test_deleting_a_tag_removes_that_tag_only(registry, owner, puller):
    digest = registry.push_image("team/app", "v1")
    registry.push_image("team/app", "v2")
    registry.push_image("team/other", "v1")
    assert is_gone(delete(owner, "manifests/v1"))
    assert refusal(puller.pull_manifest("team/app", "v1")) == (404, "MANIFEST_UNKNOWN")
    assert puller.pull_manifest("team/app", "v2")["Docker-Content-Digest"] == digest
    assert puller.pull_manifest("team/app", digest).status_code == 200
    assert puller.pull_manifest("team/other", "v1").status_code == 200
    assert puller.tags("team/app") == ["v2"]


def test_deleting_a_manifest_by_digest_removes_it_and_its_tags(registry, owner, puller):
    digest = registry.push_image("team/app", "v1")
    registry.push_image("team/app", "v2")
    other = registry.push_image("team/app", "v3", (b"another layer",))
    assert registry.push_image("team/other", "v1") == digest
    assert is_gone(delete(owner, f"manifests/{digest}"))
    for reference in ("v1", "v2", digest):
        assert refusal(puller.pull_manifest("team/app", reference)) == (404, "MANIFEST_UNKNOWN")
    assert puller.tags("team/app") == ["v3"]
    assert puller.pull_manifest("team/app", other).status_code == 200
    assert puller.pull_manifest("team/other", "v1")["Docker-Content-Digest"] == digest


def test_what_a_deleted_manifest_named_stays_for_a_grace(registry, owner, puller, settings):
    digest = registry.push_image("team/app", "v1")
    Layer.objects.update(due_at=now() - timedelta(days=1))
    delete(owner, f"manifests/{digest}")
    assert Layer.objects.count() == 2
    assert all(layer.due_at > now() + settings.REGISTRY_GRACE / 2 for layer in Layer.objects.all())
    assert puller.has_blob("team/app", str(Digest.of(b"a layer")))


def test_a_deleted_manifest_can_be_pushed_again(registry, owner, puller):
    digest = registry.push_image("team/app", "v1")
    delete(owner, f"manifests/{digest}")
    assert registry.push_image("team/app", "v1") == digest
    assert puller.pull_manifest("team/app", "v1").status_code == 200


@pytest.mark.removes_what_is_named
def test_a_child_can_be_deleted_while_an_index_names_it(registry, owner, puller):
    registry.push_image("team/app")
    child = image(b'{"architecture":"amd64","os":"linux"}', b"a layer")
    registry.push_manifest("team/app", index(described(child)), "all", INDEX)
    assert is_gone(delete(owner, f"manifests/{described(child)['digest']}"))
    assert puller.pull_manifest("team/app", "all").status_code == 200


def test_a_deleted_manifest_is_gone_from_the_referrers_at_once(registry, owner, puller):
    registry.push_image("team/app", "v1")
    subject = described(image(b'{"architecture":"amd64","os":"linux"}', b"a layer"))
    registry.push_blob("team/app", b"{}")
    signature = registry.push_manifest("team/app", artifact("application/vnd.example.signature", subject))
    assert [each["digest"] for each in puller.referrers("team/app", subject["digest"])] == [signature]
    assert is_gone(delete(owner, f"manifests/{signature}"))
    assert puller.referrers("team/app", subject["digest"]) == []


def test_referrers_outlive_their_subject(registry, owner, puller):
    digest = registry.push_image("team/app")
    subject = described(image(b'{"architecture":"amd64","os":"linux"}', b"a layer"))
    registry.push_blob("team/app", b"{}")
    registry.push_manifest("team/app", artifact("application/vnd.example.signature", subject))
    delete(owner, f"manifests/{digest}")
    assert len(puller.referrers("team/app", digest)) == 1


# --- Children of an index ---------------------------------------------------------------------------------------------


CHILD = image(b'{"architecture":"amd64","os":"linux"}', b"a layer")
CHILD_DIGEST = described(CHILD)["digest"]


@pytest.fixture
def index_digest(registry) -> str:
    registry.push_image("team/app")
    return registry.push_manifest("team/app", index(described(CHILD)), "all", INDEX)


@pytest.fixture
def due(index_digest, owner, settings) -> None:
    """The index was deleted, and little is left of its child's grace."""
    delete(owner, f"manifests/{index_digest}")
    Manifest.objects.update(due_at=now() + settings.REGISTRY_GRACE / 4)


def plenty(settings) -> datetime:
    return now() + settings.REGISTRY_GRACE * 3 / 4


def test_an_index_names_its_children_as_it_describes_them(index_digest):
    naming = Naming.objects.get(manifest=index_digest)
    assert (naming.digest, naming.media_type) == (CHILD_DIGEST, IMAGE)


def test_children_stay_for_a_grace_after_their_index(index_digest, owner, puller, settings):
    delete(owner, f"manifests/{index_digest}")
    assert Manifest.objects.get().due_at > plenty(settings)
    assert puller.pull_manifest("team/app", CHILD_DIGEST).status_code == 200


def test_a_deleted_image_makes_no_manifest_due(registry, owner):
    registry.push_image("team/app", "v1")
    registry.push_blob("team/app", bytes_of(CHILD))
    manifest = registry.push_manifest("team/app", image(b'{"architecture":"amd64","os":"linux"}', bytes_of(CHILD)))
    delete(owner, f"manifests/{manifest}")
    assert Manifest.objects.get().due_at is None


def test_a_child_that_is_pushed_again_stays_until_somebody_deletes_it(due, registry):
    registry.push_manifest("team/app", CHILD)
    assert Manifest.objects.get().due_at is None


@pytest.mark.parametrize("by", ["bearer", "basic"])
def test_who_asks_for_a_child_and_may_push_may_rely_on_the_answer(due, by, registry, settings):
    client = Registry(registry.username, by)
    client.scope = "repository:team/app:pull,push"
    client.tokens[client.scope] = client.token(client.scope)
    assert client.ask("HEAD", f"/v2/team/app/manifests/{CHILD_DIGEST}").status_code == 200
    assert Manifest.objects.get().due_at > plenty(settings)


def test_who_asks_and_may_only_pull_or_who_pulls_changes_nothing(due, registry, puller, settings):
    assert puller.ask("HEAD", f"/v2/team/app/manifests/{CHILD_DIGEST}").status_code == 200
    assert registry.pull_manifest("team/app", CHILD_DIGEST).status_code == 200
    assert Manifest.objects.get().due_at < plenty(settings)


# --- Blobs ------------------------------------------------------------------------------------------------------------


def test_a_deleted_blob_is_gone_at_once(registry, owner, puller):
    digest = registry.push_blob("team/app", b"x")
    answer = delete(owner, f"blobs/{digest}")
    assert is_gone(answer)
    assert "Warning" not in answer.headers
    assert not puller.has_blob("team/app", digest)
    assert refusal(delete(owner, f"blobs/{digest}")) == (404, "BLOB_UNKNOWN")


@pytest.mark.removes_what_is_named
def test_a_blob_that_a_manifest_names_goes_too_with_a_warning(registry, owner, puller):
    registry.push_image("team/app", "v1", (b"a layer",))
    digest = str(Digest.of(b"a layer"))
    answer = delete(owner, f"blobs/{digest}")
    assert is_gone(answer)
    assert answer["Warning"].startswith('299 - "')
    assert not puller.has_blob("team/app", digest)
    assert puller.pull_manifest("team/app", "v1").status_code == 200


def test_a_blob_that_was_deleted_can_be_pushed_again(registry, owner, puller):
    registry.push_image("team/app", "v1", (b"a layer",))
    digest = str(Digest.of(b"a layer"))
    delete(owner, f"blobs/{digest}")
    registry.push_blob("team/app", b"a layer")
    assert puller.pull_blob("team/app", digest).getvalue() == b"a layer"


# --- What is not there, or not allowed --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("manifests/v9", (404, "MANIFEST_UNKNOWN")),
        (f"manifests/{UNKNOWN}", (404, "MANIFEST_UNKNOWN")),
        (f"blobs/{UNKNOWN}", (404, "BLOB_UNKNOWN")),
        ("manifests/-v1", (404, "MANIFEST_UNKNOWN")),
        ("manifests/v1%00", (404, "MANIFEST_UNKNOWN")),
        ("manifests/sha256:abc", (400, "DIGEST_INVALID")),
        ("blobs/sha256:abc", (400, "DIGEST_INVALID")),
        ("blobs/tarsum.v1+sha256:" + "0" * 64, (400, "DIGEST_INVALID")),
    ],
)
def test_what_is_unknown_cannot_be_deleted(path, expected, registry, owner):
    registry.push_image("team/app", "v1")
    assert refusal(delete(owner, path)) == expected
    assert Manifest.objects.count() == 1


def test_a_manifest_is_deleted_by_the_digest_it_was_pushed_under(registry, owner):
    registry.push_image("team/app", "v1")
    sha512 = Digest.of(bytes(Manifest.objects.get().content), "sha512")
    assert refusal(delete(owner, f"manifests/{sha512}")) == (404, "MANIFEST_UNKNOWN")


def test_deleting_may_be_disabled(registry, owner, settings):
    settings.REGISTRY_DELETE_ENABLED = False
    digest = registry.push_image("team/app", "v1")
    blob = Digest.of(b"a layer")
    for path in ("manifests/v1", f"manifests/{digest}", f"blobs/{blob}", "manifests/v9", f"blobs/{UNKNOWN}"):
        answer = delete(owner, path)
        assert refusal(answer) == (405, "UNSUPPORTED")
        assert "REGISTRY_DELETE_ENABLED" in answer.json()["errors"][0]["message"]
        assert "DELETE" not in answer["Allow"]
        assert "GET" in answer["Allow"]
    assert registry.pull_manifest("team/app", "v1").status_code == 200


def test_cancelling_an_upload_is_no_deletion(registry, settings):
    settings.REGISTRY_DELETE_ENABLED = False
    assert registry.ask("DELETE", registry.open_upload("team/app")).status_code == 204


def test_the_right_to_delete_is_enough_to_delete(registry, make_user):
    janitor = make_user("janitor", "delete_content")
    registry.push_image("team/app", "v1")
    for by, tag in (("basic", "v1"), ("bearer", "v2")):
        registry.push_image("team/app", tag)
        assert is_gone(delete(Registry(janitor.username, by), f"manifests/{tag}"))
    assert refusal(Registry(janitor.username, "basic").pull_manifest("team/app", "v1")) == (403, "DENIED")
