"""A blob that comes with one request, or with a POST and a PUT; its digest is compared before anything is visible."""

import json
import uuid

import pytest

from layers.models import Blob
from manifests.models import Manifest
from oci.digests import Digest
from repositories.models import Repository
from tests.registry import Registry, refusal
from uploads.models import Upload

CONTENT = b"bytes of a layer" * 1000
DIGEST = str(Digest.of(CONTENT))
OTHER = str(Digest.of(b"other bytes"))


def created(answer, name="team/app", digest=DIGEST):
    assert answer.status_code == 201, answer.content
    assert answer["Location"] == f"/v2/{name}/blobs/{digest}"
    assert answer["Docker-Content-Digest"] == digest
    assert answer["Content-Length"] == str(len(answer.content))
    return True


def nothing_is_stored(puller):
    return not (Blob.objects.exists() or puller.has_blob("team/app", DIGEST) or puller.has_blob("team/app", OTHER))


# --- Opening an upload ------------------------------------------------------------------------------------------------


def test_an_upload_is_opened_empty_at_a_path_of_its_own(registry):
    answer = registry.ask("POST", "/v2/team/app/blobs/uploads/")
    assert answer.status_code == 202
    assert answer["Location"] == f"/v2/team/app/blobs/uploads/{answer['Docker-Upload-UUID']}"
    assert str(uuid.UUID(answer["Docker-Upload-UUID"])) == answer["Docker-Upload-UUID"]
    assert answer["Range"] == "0-0"
    assert "OCI-Chunk-Min-Length" not in answer.headers  # there is no minimum
    assert registry.open_upload("team/app") != answer["Location"]


def test_an_open_upload_makes_no_repository_visible(registry, owner):
    registry.open_upload("team/app")
    assert refusal(owner.ask("GET", "/v2/team/app/tags/list")) == (404, "NAME_UNKNOWN")
    assert owner.ask("GET", "/v2/_catalog").json() == {"repositories": []}


@pytest.mark.parametrize("algorithm", ["sha1", "md5", "", "SHA256", "sha256%00", "x" * 5000, "tarsum.v1%2bsha256"])
def test_an_upload_for_an_unknown_algorithm_is_refused(algorithm, registry):
    answer = registry.ask("POST", f"/v2/team/app/blobs/uploads/?digest-algorithm={algorithm}")
    assert refusal(answer) == (400, "DIGEST_INVALID")
    assert not Upload.objects.exists()


@pytest.mark.parametrize(
    "name",
    [
        "Team/app",
        "team//app",
        "-team/app",
        "team-/app",
        "team/.app",
        "team/app_",
        "team/a___b",
        "team/a..b",
        "team/a._b",
        "tea%20m",
        "team%00",
        "t%C3%A9am",
        "%D0%B0pp",
        "team/" + "a" * 251,
        "a" * 5000,
        "..",
        "team/..%2f..",
        "team:5000/app",
    ],
)
def test_a_malformed_name_is_refused_everywhere(name, root):
    client = Registry(root.username, by="basic")
    assert refusal(client.ask("POST", f"/v2/{name}/blobs/uploads/")) == (400, "NAME_INVALID")
    assert refusal(client.ask("GET", f"/v2/{name}/tags/list")) == (400, "NAME_INVALID")
    assert refusal(client.ask("GET", f"/v2/{name}/manifests/latest")) == (400, "NAME_INVALID")
    assert refusal(client.ask("GET", f"/v2/{name}/blobs/{DIGEST}")) == (400, "NAME_INVALID")
    assert not Repository.objects.exists()


def test_a_name_that_no_route_can_match_is_no_route(root):
    answer = Registry(root.username, by="basic").ask("POST", "/v2/team%0a/blobs/uploads/")
    assert refusal(answer) == (404, "NAME_UNKNOWN")


@pytest.mark.parametrize(
    "name", ["a", "0", "a/b/c/d/e", "a.b_c__d-e---f", "team/" + "a" * 250, "blobs/uploads", "tags/list", "v2", "token"]
)
def test_every_well_formed_name_can_be_pushed_to(name, registry, owner):
    assert created(registry.ask("POST", f"/v2/{name}/blobs/uploads/?digest={DIGEST}", CONTENT), name)
    assert registry.pull_blob(name, DIGEST).getvalue() == CONTENT
    assert owner.ask("GET", "/v2/_catalog").json() == {"repositories": [name]}


# --- A single POST ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [CONTENT, b"", b"x"])
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_a_blob_can_come_with_the_post(content, algorithm, registry, puller):
    digest = str(Digest.of(content, algorithm))
    assert created(registry.ask("POST", f"/v2/team/app/blobs/uploads/?digest={digest}", content), digest=digest)
    assert puller.pull_blob("team/app", digest).getvalue() == content


def test_a_post_with_other_bytes_than_it_says_leaves_nothing(registry, puller):
    answer = registry.ask("POST", f"/v2/team/app/blobs/uploads/?digest={OTHER}", CONTENT)
    assert refusal(answer) == (400, "DIGEST_INVALID")
    assert nothing_is_stored(puller)
    assert not Upload.objects.exists()


@pytest.mark.parametrize("digest", ["", "latest", "sha256:abc", "md5:" + "0" * 32, "sha256:" + "0" * 5000, "%00"])
def test_a_post_with_a_malformed_digest_is_refused(digest, registry):
    answer = registry.ask("POST", f"/v2/team/app/blobs/uploads/?digest={digest}", CONTENT)
    assert refusal(answer) == (400, "DIGEST_INVALID")
    assert not Upload.objects.exists()


def test_a_post_that_starts_in_the_middle_is_refused_and_leaves_nothing(registry, puller):
    path = f"/v2/team/app/blobs/uploads/?digest={DIGEST}"
    answer = registry.ask("POST", path, CONTENT, Content_Range=f"5-{len(CONTENT) + 4}")
    assert refusal(answer) == (416, "BLOB_UPLOAD_INVALID")
    assert nothing_is_stored(puller)
    assert not Upload.objects.exists()


# --- A POST and a PUT -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [CONTENT, b"", b"x"])
def test_a_blob_can_come_with_the_put(content, registry, puller):
    digest = str(Digest.of(content))
    assert created(registry.ask("PUT", f"{registry.open_upload('team/app')}?digest={digest}", content), digest=digest)
    assert puller.pull_blob("team/app", digest).getvalue() == content


@pytest.mark.parametrize("hint", ["", "?digest-algorithm=sha512", "?digest-algorithm=sha256"])
@pytest.mark.parametrize("chunks", [[], [CONTENT[:1000]], [CONTENT[:1000], CONTENT[1000:]]])
def test_sha512_works_with_the_hint_without_it_and_against_it(hint, chunks, registry, puller):
    digest = str(Digest.of(CONTENT, "sha512"))
    location = registry.open_upload("team/app", hint)
    for chunk in chunks:
        assert registry.ask("PATCH", location, chunk).status_code == 202
    rest = CONTENT[sum(map(len, chunks)) :]
    assert created(registry.ask("PUT", f"{location}?digest={digest}", rest), digest=digest)
    assert puller.pull_blob("team/app", digest).getvalue() == CONTENT


@pytest.mark.parametrize("hint", ["", "?digest-algorithm=sha512"])
def test_sha256_works_after_any_hint(hint, registry, puller):
    location = registry.open_upload("team/app", hint)
    registry.ask("PATCH", location, CONTENT[:1000])
    assert created(registry.ask("PUT", f"{location}?digest={DIGEST}", CONTENT[1000:]))
    assert puller.pull_blob("team/app", DIGEST).getvalue() == CONTENT


@pytest.mark.parametrize("sent", ["everything in the PUT", "everything in a PATCH"])
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_a_wrong_digest_ends_the_upload_and_nothing_becomes_visible(sent, algorithm, registry, puller):
    location, body = registry.open_upload("team/app"), CONTENT
    if sent == "everything in a PATCH":
        registry.ask("PATCH", location, CONTENT)
        body = b""
    wrong = Digest.of(b"other bytes", algorithm)
    assert refusal(registry.ask("PUT", f"{location}?digest={wrong}", body)) == (400, "DIGEST_INVALID")
    assert nothing_is_stored(puller)
    assert refusal(registry.ask("GET", location)) == (404, "BLOB_UPLOAD_UNKNOWN")
    assert refusal(registry.ask("PUT", f"{location}?digest={DIGEST}", body)) == (404, "BLOB_UPLOAD_UNKNOWN")
    assert nothing_is_stored(puller)


@pytest.mark.parametrize("query", ["", "?digest=", "?digest=sha256:abc", "?digest=latest", "?digest=md5:0", "?x=%00"])
def test_a_put_without_a_digest_is_refused_and_the_upload_stays(query, registry):
    location = registry.open_upload("team/app")
    registry.ask("PATCH", location, CONTENT)
    assert refusal(registry.ask("PUT", location + query)) == (400, "DIGEST_INVALID")
    assert registry.ask("GET", location)["Range"] == f"0-{len(CONTENT) - 1}"
    assert created(registry.ask("PUT", f"{location}?digest={DIGEST}"))


def test_bytes_of_the_same_digest_are_stored_once(registry, blob_directory):
    for name in ("team/app", "team/other", "team/app"):
        registry.push_blob(name, CONTENT)
    assert Blob.objects.count() == 1
    assert {layer.repository.name for layer in Blob.objects.get().layers.all()} == {"team/app", "team/other"}


# --- A PUT whose answer was lost --------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [b"", CONTENT])
def test_a_put_can_be_repeated(body, registry, puller):
    location = registry.open_upload("team/app")
    if not body:
        registry.ask("PATCH", location, CONTENT)
    for _ in range(3):
        assert created(registry.ask("PUT", f"{location}?digest={DIGEST}", body))
    assert puller.pull_blob("team/app", DIGEST).getvalue() == CONTENT
    assert Blob.objects.count() == 1


def test_a_put_repeated_with_another_digest_is_unknown(registry, puller):
    location = registry.open_upload("team/app")
    registry.ask("PUT", f"{location}?digest={DIGEST}", CONTENT)
    for digest in (OTHER, Digest.of(CONTENT, "sha512")):
        assert refusal(registry.ask("PUT", f"{location}?digest={digest}")) == (404, "BLOB_UPLOAD_UNKNOWN")
    assert not puller.has_blob("team/app", OTHER)


def test_a_put_repeated_by_somebody_else_is_unknown(registry, owner):
    location = registry.open_upload("team/app")
    registry.ask("PUT", f"{location}?digest={DIGEST}", CONTENT)
    assert refusal(owner.ask("PUT", f"{location}?digest={DIGEST}")) == (404, "BLOB_UPLOAD_UNKNOWN")


def test_a_put_repeated_under_another_name_is_unknown(registry):
    location = registry.open_upload("team/app")
    registry.ask("PUT", f"{location}?digest={DIGEST}", CONTENT)
    elsewhere = location.replace("team/app", "team/other")
    assert refusal(registry.ask("PUT", f"{elsewhere}?digest={DIGEST}")) == (404, "BLOB_UPLOAD_UNKNOWN")


def test_a_put_repeated_after_the_blob_was_deleted_promises_nothing(registry, owner):
    location = registry.open_upload("team/app")
    registry.ask("PUT", f"{location}?digest={DIGEST}", CONTENT)
    owner.ask("DELETE", f"/v2/team/app/blobs/{DIGEST}")
    assert refusal(registry.ask("PUT", f"{location}?digest={DIGEST}")) == (404, "BLOB_UPLOAD_UNKNOWN")


def test_a_finished_upload_takes_no_more_and_cannot_be_cancelled(registry, puller):
    location = registry.open_upload("team/app")
    registry.ask("PUT", f"{location}?digest={DIGEST}", CONTENT)
    for method in ("GET", "PATCH", "DELETE"):
        assert refusal(registry.ask(method, location)) == (404, "BLOB_UPLOAD_UNKNOWN")
    assert puller.pull_blob("team/app", DIGEST).getvalue() == CONTENT


# --- What it costs ----------------------------------------------------------------------------------------------------


def test_a_put_costs_at_most_nine_queries_whether_the_bytes_are_new_or_known(registry, at_most):
    """One of them keeps the repository from being deleted meanwhile."""
    registry.push_blob("team/app", b"the repository exists")
    for content in (CONTENT, CONTENT, b"new bytes"):
        location, digest = registry.open_upload("team/app"), Digest.of(content)
        with at_most(9):
            assert registry.ask("PUT", f"{location}?digest={digest}", content).status_code == 201


def test_pushing_blobs_alone_makes_no_tag_and_no_manifest(registry):
    registry.push_blob("team/app", CONTENT)
    assert json.loads(registry.ask("GET", "/v2/team/app/tags/list").content) == {"name": "team/app", "tags": []}
    assert not Manifest.objects.exists()
