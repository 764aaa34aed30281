"""GET …/referrers/<digest>: always an index of what says that this is its subject."""

import json
from urllib.parse import quote, urlsplit

import pytest

from manifests import views
from oci.digests import Digest
from tests.images import IMAGE, INDEX, artifact, bytes_of, described, descriptor, image, index
from tests.registry import refusal

CONFIG = b'{"architecture":"amd64","os":"linux"}'
SUBJECT = described(image(CONFIG, b"a layer"))
SBOM, SIGNATURE = "application/vnd.example.sbom.v1", "application/vnd.example.signature+json;v=1"


@pytest.fixture(autouse=True)
def blobs(registry):
    for content in (CONFIG, b"a layer", b"{}"):
        registry.push_blob("team/app", content)


@pytest.fixture
def three(registry):
    """Two kinds of artifacts, in this order: SBOM, signature, SBOM."""
    kinds = [SBOM, SIGNATURE, SBOM]
    return [
        registry.push_manifest("team/app", artifact(kind, SUBJECT, annotations={"n": str(n)}))
        for n, kind in enumerate(kinds)
    ]


def ask(client, digest=SUBJECT["digest"], query=""):
    answer = client.ask("GET", f"/v2/team/app/referrers/{digest}{query}")
    assert answer.status_code == 200, answer.content
    assert answer["Content-Type"] == INDEX
    content = answer.json()
    assert sorted(content) == ["manifests", "mediaType", "schemaVersion"]
    assert (content["schemaVersion"], content["mediaType"]) == (2, INDEX)
    return answer


def digests(answer):
    return [each["digest"] for each in answer.json()["manifests"]]


# --- Always an index --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("digest", [Digest.of(b"unknown"), Digest.of(b"unknown", "sha512"), SUBJECT["digest"]])
def test_what_nobody_refers_to_has_an_empty_index(digest, puller):
    answer = ask(puller, digest)
    assert answer.json()["manifests"] == []
    assert "Link" not in answer.headers
    assert "OCI-Filters-Applied" not in answer.headers


def test_a_repository_that_does_not_exist_has_an_empty_index(puller):
    answer = puller.ask("GET", f"/v2/team/none/referrers/{SUBJECT['digest']}")
    assert (answer.status_code, answer.json()["manifests"]) == (200, [])


@pytest.mark.parametrize("digest", ["latest", "sha256:abc", "md5:" + "0" * 32, "sha256:" + "0" * 5000, "%00"])
def test_a_malformed_digest_is_refused(digest, puller):
    assert refusal(puller.ask("GET", f"/v2/team/app/referrers/{digest}")) == (400, "DIGEST_INVALID")


# --- What is told of each ---------------------------------------------------------------------------------------------


def test_a_descriptor_has_type_size_digest_artifact_type_and_annotations(registry, puller):
    content = artifact(SBOM, SUBJECT, annotations={"org.example.a": "b", "ü": "\U0001f40b"})
    registry.push_manifest("team/app", content)
    assert ask(puller).json()["manifests"] == [
        described(content) | {"artifactType": SBOM, "annotations": content["annotations"]}
    ]


def test_the_artifact_type_of_an_image_falls_back_to_its_configs(registry, puller):
    content = image(CONFIG, subject=SUBJECT) | {"config": descriptor(CONFIG, "application/vnd.example.config")}
    registry.push_manifest("team/app", content)
    assert ask(puller).json()["manifests"] == [described(content) | {"artifactType": "application/vnd.example.config"}]


def test_an_empty_artifact_type_falls_back_too(registry, puller):
    content = artifact("", SUBJECT)
    registry.push_manifest("team/app", content)
    assert [each["artifactType"] for each in ask(puller).json()["manifests"]] == ["application/vnd.oci.empty.v1+json"]


def test_an_index_without_artifact_type_has_none(registry, puller):
    plain, typed = index(subject=SUBJECT), index(subject=SUBJECT, artifactType=SBOM)
    for content in (plain, typed):
        registry.push_manifest("team/app", content, media_type=INDEX)
    assert ask(puller).json()["manifests"] == [described(plain), described(typed) | {"artifactType": SBOM}]


def test_a_referrer_is_listed_once_however_often_it_is_pushed_and_tagged(registry, puller):
    content = artifact(SBOM, SUBJECT)
    for tag in ("", "a", "b", ""):
        registry.push_manifest("team/app", content, tag)
    assert digests(ask(puller)) == [described(content)["digest"]]


def test_the_subject_may_come_later_or_never(registry, puller, three):
    assert digests(ask(puller)) == three
    registry.push_manifest("team/app", image(CONFIG, b"a layer"), "v1")
    assert digests(ask(puller)) == three


def test_referrers_of_another_repository_or_subject_are_not_listed(registry, puller, three):
    registry.push_blob("team/other", b"{}")
    registry.push_manifest("team/other", artifact(SBOM, SUBJECT, annotations={"other": ""}))
    registry.push_manifest("team/app", artifact(SBOM, descriptor(b"another", IMAGE)))
    assert digests(ask(puller)) == three


def test_images_that_old_clients_list_under_a_fallback_tag_are_there_by_themselves(registry, puller):
    """A client that takes the registry for one without this API keeps the list itself, as an index that it pushes under
    a tag made of the subject's digest. `subject` was in the manifests all the same."""
    content = artifact(SBOM, SUBJECT)
    registry.push_manifest("team/app", content)
    fallback = SUBJECT["digest"].replace(":", "-")
    registry.push_manifest("team/app", index(described(content) | {"artifactType": SBOM}), fallback, INDEX)
    assert digests(ask(puller)) == [described(content)["digest"]]
    kept = json.loads(puller.pull_manifest("team/app", fallback).content)
    assert kept["manifests"][0]["digest"] == described(content)["digest"]


# --- Filtered ---------------------------------------------------------------------------------------------------------


def test_a_filter_leaves_one_type_and_says_so(puller, three):
    for kind, expected in ((SBOM, [three[0], three[2]]), (SIGNATURE, [three[1]]), ("x", [])):
        answer = ask(puller, query=f"?artifactType={quote(kind, safe='')}")
        assert digests(answer) == expected
        assert answer["OCI-Filters-Applied"] == "artifactType"


def test_a_filter_finds_what_falls_back_to_the_configs_type(registry, puller):
    content = image(CONFIG, subject=SUBJECT) | {"config": descriptor(CONFIG, "application/vnd.example.config")}
    registry.push_manifest("team/app", content)
    assert digests(ask(puller, query="?artifactType=application/vnd.example.config")) == [described(content)["digest"]]


@pytest.mark.parametrize("kind", ["%00", "a" * 5000])
def test_a_filter_that_no_database_takes_is_refused(kind, puller):
    path = f"/v2/team/app/referrers/{SUBJECT['digest']}?artifactType={kind}"
    assert refusal(puller.ask("GET", path))[0] == 400


# --- Paged ------------------------------------------------------------------------------------------------------------


def walk(client, query):
    found, pages, target = [], 0, f"/v2/team/app/referrers/{SUBJECT['digest']}?{query}"
    while target:
        answer = client.ask("GET", target)
        found += digests(answer)
        pages += 1
        target = answer.headers.get("Link", "").partition(">; ")[0].removeprefix("<")
        assert not target or urlsplit(target).path.startswith("/v2/team/app/referrers/")
    return found, pages


@pytest.mark.parametrize(("n", "pages"), [(1, 3), (2, 2), (3, 1), (4, 1)])
def test_pages_follow_one_another_without_gap_or_repetition(n, pages, puller, three):
    assert walk(puller, f"n={n}") == (three, pages)


def test_pages_keep_the_filter(puller, three):
    assert walk(puller, f"n=1&artifactType={SBOM}") == ([three[0], three[2]], 2)
    answer = ask(puller, query=f"?n=1&artifactType={SBOM}")
    assert answer["OCI-Filters-Applied"] == "artifactType"


def test_a_page_ends_by_weight_too(puller, three, monkeypatch):
    monkeypatch.setattr(views, "REFERRERS", 1)
    assert walk(puller, "") == (three, 3)


def test_a_page_of_nothing_has_no_next(puller, three):
    answer = ask(puller, query="?n=0")
    assert digests(answer) == []
    assert "Link" not in answer.headers


@pytest.mark.parametrize("query", ["n=-1", "n=x", "n=" + "9" * 5000, "last=%00"])
def test_a_page_that_cannot_be_is_refused(query, puller, three):
    assert refusal(puller.ask("GET", f"/v2/team/app/referrers/{SUBJECT['digest']}?{query}"))[0] == 400


@pytest.mark.parametrize("last", ["x", "9" * 1000, "-1", "%C2%B2", "9223372036854775807", "9999999999999999999"])
def test_a_place_that_no_page_ended_at_is_no_fault(last, puller, three):
    assert puller.ask("GET", f"/v2/team/app/referrers/{SUBJECT['digest']}?last={last}").status_code == 200


@pytest.mark.parametrize("size", [10, 1000])
def test_annotations_may_be_as_large_as_their_pushers_like(size, registry, puller):
    content = artifact(SBOM, SUBJECT, annotations={str(n): "x" * 100 for n in range(size)})
    registry.push_manifest("team/app", content)
    assert ask(puller).json()["manifests"][0]["annotations"] == content["annotations"]
    assert len(bytes_of(content)) == ask(puller).json()["manifests"][0]["size"]
