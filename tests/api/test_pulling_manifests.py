"""GET and HEAD of a manifest, by tag and by digest: the bytes that were pushed, whatever the client accepts."""

import json

import pytest

from oci.digests import Digest
from tests.images import DOCKER_IMAGE, DOCKER_INDEX, IMAGE, INDEX, bytes_of, image, index
from tests.registry import refusal, unnumbered

CONFIG, LAYER = b"{}", b"a layer"
# Spaces, escapes and the order of keys are part of what was pushed.
EXACT = json.dumps(image(CONFIG, LAYER, annotations={"z": "ü", "a": "\n"}), indent=3).encode() + b"\n"
DIGEST = str(Digest.of(EXACT))


@pytest.fixture(autouse=True)
def pushed(registry):
    for content in (CONFIG, LAYER):
        registry.push_blob("team/app", content)
    registry.push_manifest("team/app", EXACT, "v1")


@pytest.mark.parametrize("reference", ["v1", DIGEST])
def test_the_exact_bytes_come_back(reference, puller):
    answer = puller.pull_manifest("team/app", reference)
    assert answer.status_code == 200
    assert answer.content == EXACT
    assert answer["Content-Type"] == IMAGE
    assert answer["Content-Length"] == str(len(EXACT))
    assert answer["Docker-Content-Digest"] == DIGEST
    assert answer["ETag"] == f'"{DIGEST}"'


@pytest.mark.parametrize("reference", ["v1", DIGEST])
def test_head_says_what_get_says_without_the_bytes(reference, puller):
    head = puller.ask("HEAD", f"/v2/team/app/manifests/{reference}")
    assert (head.status_code, head.content) == (200, b"")
    assert unnumbered(head) == unnumbered(puller.pull_manifest("team/app", reference))


def test_by_tag_nothing_is_cached_without_asking_again(puller):
    by_tag = puller.pull_manifest("team/app", "v1")["Cache-Control"]
    assert "no-cache" in by_tag or "max-age=0" in by_tag
    assert "private" in puller.pull_manifest("team/app", DIGEST)["Cache-Control"]


def test_the_digest_is_answered_in_the_algorithm_that_was_asked_for(registry, puller):
    other = str(Digest.of(EXACT, "sha512"))
    assert refusal(puller.pull_manifest("team/app", other)) == (404, "MANIFEST_UNKNOWN")
    registry.put_manifest("team/app", other, EXACT)
    for digest in (DIGEST, other):
        answer = puller.pull_manifest("team/app", digest)
        assert (answer["Docker-Content-Digest"], answer["ETag"]) == (digest, f'"{digest}"')
    assert puller.pull_manifest("team/app", "v1")["Docker-Content-Digest"] == DIGEST


# --- What the client has already --------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("reference", ["v1", DIGEST])
@pytest.mark.parametrize("known", [f'"{DIGEST}"', f'W/"{DIGEST}"', f'"x", "{DIGEST}"', "*"])
def test_what_the_client_has_already_is_not_sent_again(known, reference, method, puller):
    answer = puller.ask(method, f"/v2/team/app/manifests/{reference}", If_None_Match=known)
    assert (answer.status_code, answer.content) == (304, b"")
    assert answer["ETag"] == f'"{DIGEST}"'
    assert answer["Docker-Content-Digest"] == DIGEST


def test_a_tag_that_has_moved_is_sent_again(registry, puller):
    registry.push_manifest("team/app", image(CONFIG), "v1")
    answer = puller.pull_manifest("team/app", "v1", If_None_Match=f'"{DIGEST}"')
    assert (answer.status_code, answer.content) == (200, bytes_of(image(CONFIG)))


@pytest.mark.parametrize("known", ['"x"', DIGEST, "", '"'])
def test_another_etag_gets_the_manifest(known, puller):
    assert puller.pull_manifest("team/app", "v1", If_None_Match=known).content == EXACT


# --- Accept -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "accept",
    [
        IMAGE,
        "*/*",
        "",
        f"{IMAGE};q=0.9, */*;q=0.1",
        f"{INDEX}, {DOCKER_IMAGE}, {IMAGE}",
        f"{INDEX},{IMAGE}",
        f"{IMAGE};q=0",
        INDEX,
        "text/html",
        "application/json;q=1.0",
        ";;;,,,=",
        "a" * 8000,
        "*/*;q=NaN",
        f"{IMAGE};q=" + "9" * 5000,
    ],
)
@pytest.mark.parametrize("reference", ["v1", DIGEST])
def test_whatever_the_client_accepts_the_manifest_is_served_as_it_is(reference, accept, puller):
    answer = puller.pull_manifest("team/app", reference, Accept=accept)
    assert (answer.status_code, answer.content, answer["Content-Type"]) == (200, EXACT, IMAGE)


@pytest.mark.parametrize("media_type", [IMAGE, INDEX, DOCKER_IMAGE, DOCKER_INDEX])
def test_every_media_type_comes_back_as_it_was_pushed_without_parameters(media_type, registry, puller):
    content = (
        image(CONFIG, media_type=media_type)
        if media_type in (IMAGE, DOCKER_IMAGE)
        else index({"mediaType": IMAGE, "digest": DIGEST, "size": len(EXACT)}, media_type=media_type)
    )
    registry.push_manifest("team/app", content, "other", f"{media_type}; charset=utf-8")
    answer = puller.pull_manifest("team/app", "other", Accept=IMAGE)
    assert (answer["Content-Type"], answer.content) == (media_type, bytes_of(content))


# --- What is not there ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reference", ["v2", "V1", str(Digest.of(b"x")), str(Digest.of(b"x", "sha512"))])
@pytest.mark.parametrize("name", ["team/app", "team/none"])
def test_an_unknown_reference_is_unknown(name, reference, puller):
    assert refusal(puller.pull_manifest(name, reference)) == (404, "MANIFEST_UNKNOWN")
    head = puller.ask("HEAD", f"/v2/{name}/manifests/{reference}")
    assert (head.status_code, head.content) == (404, b"")


@pytest.mark.parametrize("tag", ["-v1", "a" * 129, "v1%00", "v1%0a", "v%201", "t%C3%A4g", "a" * 5000, "%FF", "@"])
def test_what_no_tag_can_be_is_unknown(tag, puller):
    assert refusal(puller.pull_manifest("team/app", tag)) == (404, "MANIFEST_UNKNOWN")


@pytest.mark.parametrize("digest", ["sha256:", "sha256:abc", f"md5:{'0' * 32}", ":", "a:b:c", f"sha256:{'F' * 64}"])
def test_a_malformed_digest_is_refused(digest, puller):
    assert refusal(puller.pull_manifest("team/app", digest)) == (400, "DIGEST_INVALID")


def test_a_manifest_is_visible_only_in_its_repository(registry, puller):
    registry.push_blob("team/other", b"exists too")
    for reference in ("v1", DIGEST):
        assert refusal(puller.pull_manifest("team/other", reference)) == (404, "MANIFEST_UNKNOWN")


def test_tags_of_two_repositories_have_nothing_to_do_with_each_other(registry, puller):
    other = registry.push_image("team/other", "v1", (b"something else",))
    assert puller.pull_manifest("team/app", "v1")["Docker-Content-Digest"] == DIGEST
    assert puller.pull_manifest("team/other", "v1")["Docker-Content-Digest"] == other


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("reference", ["v1", DIGEST])
def test_a_manifest_costs_one_query(method, reference, puller, at_most):
    puller.pull_manifest("team/app", reference)
    with at_most(1):
        assert puller.ask(method, f"/v2/team/app/manifests/{reference}").status_code == 200
