"""The names that the first Docker clients gave layers: pushed under a TarSum, pulled by it, and by nothing less."""

import hashlib

import pytest
from django.utils.timezone import now

from layers import contents
from layers.contents import LookFailed
from layers.models import Blob, Layer, PendingDelete
from oci.digests import Digest
from tests.images import image
from tests.registry import Registry, refusal
from tests.tars import LATER, LAYER, OTHER, OTHER_TARSUM, TARSUM, compressed_otherwise, version_0
from uploads.models import Upload

DIGEST = str(Digest.of(LAYER))
WAYS = ["in the PUT", "in a PATCH", "in the POST"]


def push(registry, content, tarsum, way="in the PUT", name="team/app"):
    if way == "in the POST":
        return registry.ask("POST", f"/v2/{name}/blobs/uploads/?digest={tarsum}", content)
    location = registry.open_upload(name)
    if way == "in a PATCH":
        assert registry.ask("PATCH", location, content).status_code == 202
        content = b""
    return registry.ask("PUT", f"{location}?digest={tarsum}", content)


def created(answer, digest=DIGEST):
    assert answer.status_code == 201, answer.content
    assert answer["Location"] == f"/v2/team/app/blobs/{digest}"
    assert answer["Docker-Content-Digest"] == digest
    return True


def nothing_is_left():
    """Neither rows nor bytes that nobody is to delete; the check after every test sees to objects without a row."""
    return not (Blob.objects.exists() or Layer.objects.exists() or Upload.objects.exists())


# --- Pushing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "spelled", [TARSUM, TARSUM.replace("+", "%2B"), TARSUM.replace("+", "%2b").replace(":", "%3A")]
)
def test_a_layer_is_pushed_under_its_tarsum_however_that_is_escaped(way, spelled, registry, puller):
    assert created(push(registry, LAYER, spelled, way))
    assert puller.pull_blob("team/app", DIGEST).getvalue() == LAYER
    assert puller.pull_blob("team/app", TARSUM).getvalue() == LAYER


@pytest.mark.parametrize("compression", compressed_otherwise(LAYER))
def test_it_is_that_of_the_tar_whatever_compression_is_stored(compression, registry, puller):
    content = compressed_otherwise(LAYER)[compression]
    assert created(push(registry, content, TARSUM), str(Digest.of(content)))
    assert puller.pull_blob("team/app", TARSUM).getvalue() == content


def test_version_0_is_held_against_the_bytes_and_finds_nothing_afterwards(registry, puller):
    assert version_0(LAYER) != version_0(LATER)
    assert refusal(push(registry, LAYER, version_0(LATER))) == (400, "DIGEST_INVALID")
    assert nothing_is_left()
    assert created(push(registry, LAYER, version_0(LAYER)))
    assert puller.has_blob("team/app", DIGEST)
    assert not puller.has_blob("team/app", version_0(LAYER))
    assert Blob.objects.get().tarsum in ("", TARSUM)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "content",
    [OTHER, b"", b"no tar at all" * 100, LAYER[:-20], LAYER + b"more"],
    ids=["another tar", "nothing", "no tar", "cut off", "with more after it"],
)
def test_bytes_that_do_not_have_it_are_refused_and_leave_nothing(way, content, registry, puller):
    assert refusal(push(registry, content, TARSUM, way)) == (400, "DIGEST_INVALID")
    assert nothing_is_left()
    for address in (TARSUM, str(Digest.of(content))):
        assert not puller.has_blob("team/app", address)


def test_a_wrong_tarsum_ends_the_upload(registry):
    location = registry.open_upload("team/app")
    assert refusal(registry.ask("PUT", f"{location}?digest={OTHER_TARSUM}", LAYER)) == (400, "DIGEST_INVALID")
    for method, query in (("GET", ""), ("PUT", f"?digest={TARSUM}"), ("PUT", f"?digest={DIGEST}")):
        assert refusal(registry.ask(method, location + query)) == (404, "BLOB_UPLOAD_UNKNOWN")
    assert PendingDelete.objects.count() == 1


@pytest.mark.parametrize(
    "malformed",
    [
        "tarsum",
        "tarsum:" + 64 * "0",
        "tarsum+sha256:",
        "tarsum+sha256:" + 63 * "0",
        "tarsum.v1+sha256:" + 64 * "A",
        "tarsum.v2+sha256:" + 64 * "0",
        "tarsum.dev+sha256:" + 64 * "0",
        "tarsum.v1+sha512:" + 128 * "0",
        "tarsum.v1++sha256:" + 64 * "0",
        "tarsum.v1+sha256:" + 5000 * "0",
        "tarsum.v1%00+sha256:" + 64 * "0",
        "tarsum.v1+sha256:" + 64 * "0" + "%0a",
        "xtarsum.v1+sha256:" + 64 * "0",
    ],
)
def test_a_malformed_tarsum_is_refused_and_the_upload_stays(malformed, registry, puller):
    location = registry.open_upload("team/app")
    registry.ask("PATCH", location, LAYER)
    for method, path in (
        ("PUT", f"{location}?digest={malformed}"),
        ("POST", f"/v2/a/blobs/uploads/?digest={malformed}"),
    ):
        assert refusal(registry.ask(method, path)) == (400, "DIGEST_INVALID")
    if "%0a" not in malformed:  # no route matches a line break
        assert refusal(puller.pull_blob("team/app", malformed)) == (400, "DIGEST_INVALID")
    assert created(registry.ask("PUT", f"{location}?digest={TARSUM}"))


def test_an_upload_that_was_to_be_sha512_becomes_a_sha256(registry):
    location = registry.open_upload("team/app", "?digest-algorithm=sha512")
    registry.ask("PATCH", location, LAYER)
    assert created(registry.ask("PUT", f"{location}?digest={TARSUM}"))


@pytest.mark.parametrize("body", [b"", LAYER])
@pytest.mark.parametrize("tarsum", [TARSUM, version_0(LAYER)])
def test_the_put_can_be_repeated(body, tarsum, registry, puller):
    location = registry.open_upload("team/app")
    if not body:
        registry.ask("PATCH", location, LAYER)
    for _ in range(3):
        assert created(registry.ask("PUT", f"{location}?digest={tarsum}", body))
    assert created(registry.ask("PUT", f"{location}?digest={DIGEST}", body))
    assert Blob.objects.count() == 1


@pytest.mark.parametrize("tarsum", [OTHER_TARSUM, version_0(OTHER)])
def test_repeated_with_another_tarsum_it_is_unknown(tarsum, registry):
    location = registry.open_upload("team/app")
    registry.ask("PUT", f"{location}?digest={TARSUM}", LAYER)
    assert refusal(registry.ask("PUT", f"{location}?digest={tarsum}")) == (404, "BLOB_UPLOAD_UNKNOWN")


def test_what_was_found_is_written_down_with_the_blob_and_not_looked_for_again(registry, monkeypatch):
    looks = []
    real = contents.ask
    monkeypatch.setattr(contents, "ask", lambda *arguments: looks.append(arguments) or real(*arguments))
    push(registry, LAYER, TARSUM)
    blob = Blob.objects.get()
    assert (blob.contents, blob.compression, blob.files) == ("tar", "gzip", 1)
    assert blob.diff_id == f"sha256:{hashlib.sha256(compressed_otherwise(LAYER)['none']).hexdigest()}"
    assert blob.finalized_at <= now()
    assert len(looks) == 1


def test_a_layer_that_is_here_already_is_found_by_tarsum_once_it_is_pushed_under_it(registry, puller):
    registry.push_blob("team/app", LAYER)
    Blob.objects.update(finalized_at=None, tarsum="")
    assert not puller.has_blob("team/app", TARSUM)
    assert created(push(registry, LAYER, TARSUM))
    assert puller.has_blob("team/app", TARSUM)
    assert Blob.objects.count() == 1


@pytest.mark.parametrize("way", WAYS)
def test_where_it_cannot_be_found_out_now_the_client_is_asked_to_try_again(way, registry, monkeypatch):
    def fail(*_):
        raise LookFailed("too busy")

    with monkeypatch.context() as patch:
        patch.setattr(contents, "ask", fail)
        answer = push(registry, LAYER, TARSUM, way)
    assert refusal(answer) == (503, "UNAVAILABLE")
    assert int(answer["Retry-After"]) > 0
    assert not Blob.objects.exists()
    if way == "in the POST":
        assert nothing_is_left()
    else:  # and what came is kept
        location = f"/v2/team/app/blobs/uploads/{Upload.objects.get().pk}"
        assert registry.ask("GET", location)["Range"] == f"0-{len(LAYER) - 1}"
        assert created(registry.ask("PUT", f"{location}?digest={TARSUM}"))


# --- Pulling ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def pushed(registry):
    assert created(push(registry, LAYER, TARSUM))


@pytest.mark.usefixtures("pushed")
@pytest.mark.parametrize("spelled", [TARSUM, TARSUM.replace("+", "%2B"), TARSUM.replace(":", "%3A")])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_pull_by_tarsum_says_which_bytes_these_are_and_promises_nothing_about_the_next(spelled, method, puller):
    answer = puller.ask(method, f"/v2/team/app/blobs/{spelled}")
    assert answer.status_code == 200
    assert answer["Docker-Content-Digest"] == DIGEST
    assert answer["Content-Length"] == str(len(LAYER))
    assert answer["Content-Type"] == "application/octet-stream"
    assert answer["ETag"] == f'"{DIGEST}"'
    assert answer["Cache-Control"] == "private, no-cache"


@pytest.mark.usefixtures("pushed")
def test_parts_and_validators_are_those_of_the_bytes_that_are_served(puller):
    part = puller.pull_blob("team/app", TARSUM, Range="bytes=10-19")
    assert (part.status_code, part.getvalue()) == (206, LAYER[10:20])
    assert part["Content-Range"] == f"bytes 10-19/{len(LAYER)}"
    same = puller.pull_blob("team/app", TARSUM, If_None_Match=f'"{DIGEST}"')
    assert (same.status_code, same["Cache-Control"]) == (304, "private, no-cache")
    assert puller.pull_blob("team/app", TARSUM, If_None_Match=f'"{TARSUM}"').status_code == 200


@pytest.mark.usefixtures("pushed")
def test_of_several_layers_the_one_that_was_linked_here_first_is_served(registry, owner, puller):
    assert created(push(registry, LATER, TARSUM), str(Digest.of(LATER)))
    assert puller.pull_blob("team/app", TARSUM).getvalue() == LAYER
    owner.ask("DELETE", f"/v2/team/app/blobs/{DIGEST}")
    assert puller.pull_blob("team/app", TARSUM).getvalue() == LATER
    push(registry, LAYER, TARSUM)
    assert puller.pull_blob("team/app", TARSUM).getvalue() == LATER
    push(registry, LAYER, TARSUM, name="team/other")
    assert puller.pull_blob("team/other", TARSUM).getvalue() == LAYER


@pytest.mark.usefixtures("pushed")
def test_what_is_damaged_is_not_served_under_it(registry, puller):
    push(registry, LATER, TARSUM)
    Blob.objects.filter(digest=DIGEST).update(damaged_at=now())
    assert puller.pull_blob("team/app", TARSUM).getvalue() == LATER
    Blob.objects.update(damaged_at=now())
    assert refusal(puller.pull_blob("team/app", TARSUM)) == (404, "BLOB_UNKNOWN")


@pytest.mark.usefixtures("pushed")
def test_it_finds_nothing_in_another_repository_and_nothing_that_is_not_there(registry, puller):
    registry.push_blob("team/other", b"something else")
    assert refusal(puller.pull_blob("team/other", TARSUM)) == (404, "BLOB_UNKNOWN")
    assert refusal(puller.pull_blob("team/app", OTHER_TARSUM)) == (404, "BLOB_UNKNOWN")
    assert refusal(puller.pull_blob("team/none", TARSUM)) == (404, "BLOB_UNKNOWN")


@pytest.mark.usefixtures("pushed")
def test_head_by_tarsum_renews_the_grace_of_who_may_push(alice, settings):
    Layer.objects.update(due_at=now() + settings.REGISTRY_GRACE / 4)
    assert Registry(alice.username, by="basic").ask("HEAD", f"/v2/team/app/blobs/{TARSUM}").status_code == 200
    assert Layer.objects.get().due_at > now() + settings.REGISTRY_GRACE / 2


@pytest.mark.usefixtures("pushed")
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_pull_by_tarsum_costs_one_query(method, puller, at_most):
    puller.pull_blob("team/app", TARSUM)
    with at_most(1):
        assert puller.ask(method, f"/v2/team/app/blobs/{TARSUM}").status_code == 200


# --- What it is not for -----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("pushed")
@pytest.mark.parametrize("tarsum", [TARSUM, TARSUM.replace("+", "%2B"), version_0(LAYER)])
def test_mounting_and_deleting_by_tarsum_are_refused(tarsum, registry, owner, puller):
    mount = registry.ask("POST", f"/v2/team/other/blobs/uploads/?mount={tarsum}&from=team/app")
    assert refusal(mount) == (400, "DIGEST_INVALID")
    assert refusal(owner.ask("DELETE", f"/v2/team/app/blobs/{tarsum}")) == (400, "DIGEST_INVALID")
    assert puller.has_blob("team/app", TARSUM)


@pytest.mark.usefixtures("pushed")
def test_manifests_name_nothing_by_tarsum_and_have_none(registry, puller):
    config = registry.push_blob("team/app", b"{}")
    manifest = image(b"{}", LAYER)
    manifest["layers"][0]["digest"] = TARSUM
    assert refusal(registry.put_manifest("team/app", "latest", manifest)) == (400, "MANIFEST_INVALID")
    assert refusal(registry.put_manifest("team/app", TARSUM, image(b"{}", LAYER))) == (400, "DIGEST_INVALID")
    assert refusal(puller.pull_manifest("team/app", TARSUM)) == (400, "DIGEST_INVALID")
    assert refusal(puller.ask("GET", f"/v2/team/app/referrers/{TARSUM}")) == (400, "DIGEST_INVALID")
    assert puller.has_blob("team/app", config)
