"""PUT of a manifest: stored as the exact bytes, refused where two readers could differ, whole or not at all."""

import json

import pytest

from manifests.models import Manifest, Tag
from oci.digests import Digest
from tests.images import (
    CONFIG,
    DOCKER_IMAGE,
    DOCKER_INDEX,
    IMAGE,
    INDEX,
    LAYER,
    artifact,
    bytes_of,
    described,
    descriptor,
    image,
    index,
)
from tests.registry import refusal

CONFIG_BYTES, LAYER_BYTES = b'{"os":"linux"}', b"a layer"
SIMPLE = image(CONFIG_BYTES, LAYER_BYTES)
SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1+json"


@pytest.fixture
def blobs(registry):
    """What SIMPLE needs, and the empty config of artifacts."""
    for content in (CONFIG_BYTES, LAYER_BYTES, b"{}"):
        registry.push_blob("team/app", content)


def is_stored(registry, reference, content, media_type, answer):
    assert answer.status_code == 201, answer.content
    digest = answer["Docker-Content-Digest"]
    assert answer["Location"] == f"/v2/team/app/manifests/{digest}"
    pulled = registry.pull_manifest("team/app", reference)
    assert (pulled.content, pulled["Content-Type"]) == (content, media_type)
    return True


def is_invalid(registry, content, media_type=IMAGE, status=400):
    """Refused by tag and by digest, and nothing is stored."""
    exact = content if isinstance(content, bytes) else bytes_of(content)
    before = Manifest.objects.count()
    for reference in ("bad", str(Digest.of(exact))):
        assert refusal(registry.put_manifest("team/app", reference, exact, media_type)) == (status, "MANIFEST_INVALID")
    assert Manifest.objects.count() == before
    assert not Tag.objects.filter(name="bad").exists()
    return True


# --- Stored as it came ------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("blobs")
@pytest.mark.parametrize("by", ["tag", "digest"])
def test_the_exact_bytes_are_stored(by, registry):
    exact = json.dumps(SIMPLE, indent=7, ensure_ascii=False).encode() + b"\n \n"
    digest = str(Digest.of(exact))
    answer = registry.put_manifest("team/app", "v1" if by == "tag" else digest, exact)
    assert answer["Docker-Content-Digest"] == digest
    assert is_stored(registry, digest, exact, IMAGE, answer)
    assert "OCI-Subject" not in answer.headers
    assert "OCI-Tag" not in answer.headers


@pytest.mark.usefixtures("blobs")
def test_a_manifest_can_be_pushed_by_its_sha512(registry, puller):
    exact = bytes_of(SIMPLE)
    digest = str(Digest.of(exact, "sha512"))
    assert is_stored(registry, digest, exact, IMAGE, registry.put_manifest("team/app", digest, exact))
    assert puller.pull_manifest("team/app", digest)["Docker-Content-Digest"] == digest
    other = str(Digest.of(exact))
    assert refusal(puller.pull_manifest("team/app", other)) == (404, "MANIFEST_UNKNOWN")


@pytest.mark.usefixtures("blobs")
def test_a_manifest_pushed_by_tag_is_sha256(registry, puller):
    digest = registry.push_manifest("team/app", SIMPLE, "v1")
    assert digest == str(Digest.of(bytes_of(SIMPLE)))
    assert refusal(puller.pull_manifest("team/app", str(Digest.of(bytes_of(SIMPLE), "sha512"))))[0] == 404


@pytest.mark.usefixtures("blobs")
@pytest.mark.parametrize("media_type", [f"{IMAGE}; charset=utf-8", IMAGE.upper(), f"{IMAGE} ;x=y"])
def test_parameters_and_case_of_the_content_type_do_not_matter(media_type, registry):
    exact = bytes_of(SIMPLE)
    assert is_stored(registry, "v1", exact, IMAGE, registry.put_manifest("team/app", "v1", exact, media_type))


@pytest.mark.usefixtures("blobs")
def test_without_a_content_type_the_manifest_says_what_it_is(registry):
    exact = bytes_of(SIMPLE)
    assert is_stored(registry, "v1", exact, IMAGE, registry.put_manifest("team/app", "v1", exact, ""))


@pytest.mark.usefixtures("blobs")
def test_without_a_media_type_the_content_type_says_what_it_is(registry):
    exact = bytes_of({name: value for name, value in SIMPLE.items() if name != "mediaType"})
    assert is_stored(registry, "v1", exact, IMAGE, registry.put_manifest("team/app", "v1", exact))


@pytest.mark.usefixtures("blobs")
def test_a_push_may_be_repeated(registry):
    for _ in range(3):
        registry.push_manifest("team/app", SIMPLE, "v1")
        registry.push_manifest("team/app", SIMPLE)
    assert Manifest.objects.count() == Tag.objects.count() == 1


@pytest.mark.usefixtures("blobs")
def test_a_tag_moves_and_the_manifest_it_left_stays(registry):
    old = registry.push_manifest("team/app", SIMPLE, "latest")
    new = registry.push_manifest("team/app", SIMPLE | {"annotations": {"a": "b"}}, "latest")
    assert registry.pull_manifest("team/app", "latest")["Docker-Content-Digest"] == new
    assert registry.pull_manifest("team/app", old).status_code == 200
    assert registry.tags("team/app") == ["latest"]


# --- What may be pushed -----------------------------------------------------------------------------------------------

CHILD = described(SIMPLE)
KINDS = {
    "image": (SIMPLE, IMAGE),
    "image without layers": (image(CONFIG_BYTES), IMAGE),
    "image whose layers are null": (image(CONFIG_BYTES) | {"layers": None}, IMAGE),
    "image that has one layer twice": (image(CONFIG_BYTES, LAYER_BYTES, LAYER_BYTES), IMAGE),
    "docker image": (image(CONFIG_BYTES, LAYER_BYTES, media_type=DOCKER_IMAGE), DOCKER_IMAGE),
    "index": (index(CHILD | {"platform": {"os": "linux", "architecture": "arm64"}}), INDEX),
    "empty index": (index(), INDEX),
    "docker manifest list": (index(CHILD, media_type=DOCKER_INDEX), DOCKER_INDEX),
    "artifact": (artifact("application/vnd.example.sbom", CHILD), IMAGE),
    "artifact index": (index(artifactType="application/vnd.example.set", subject=CHILD), INDEX),
    "unknown fields": (SIMPLE | {"unknown": {"nested": [1, 2.5, None, True, "ünïcødé 🐋"]}}, IMAGE),
    "data": (image(CONFIG_BYTES) | {"layers": [descriptor(LAYER_BYTES, data="YSBsYXllcg==")]}, IMAGE),
    "unknown config type": (SIMPLE | {"config": descriptor(CONFIG_BYTES, "application/vnd.example+json")}, IMAGE),
    "annotations": (SIMPLE | {"annotations": {"org.example": "ünïcødé \U0001f40b", "": ""}}, IMAGE),
    "null subject": (SIMPLE | {"subject": None}, IMAGE),
}


@pytest.mark.usefixtures("blobs")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("by", ["tag", "digest"])
def test_every_kind_of_manifest_is_kept_as_it_came(by, kind, registry):
    content, media_type = KINDS[kind]
    exact = bytes_of(content)
    registry.push_manifest("team/app", SIMPLE)
    reference = "v1" if by == "tag" else str(Digest.of(exact))
    answer = registry.put_manifest("team/app", reference, exact, media_type)
    assert is_stored(registry, reference, exact, media_type, answer)


@pytest.mark.usefixtures("blobs")
def test_an_index_may_hold_indexes(registry):
    inner = index(described(SIMPLE))
    registry.push_manifest("team/app", SIMPLE)
    registry.push_manifest("team/app", inner, media_type=INDEX)
    outer = bytes_of(index(described(inner), described(SIMPLE)))
    assert is_stored(registry, "v1", outer, INDEX, registry.put_manifest("team/app", "v1", outer, INDEX))


@pytest.mark.usefixtures("blobs")
@pytest.mark.parametrize(
    "media_type",
    [
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    ],
)
def test_layers_that_may_not_be_distributed_need_not_be_here(media_type, registry):
    foreign = descriptor(b"on another server", media_type, urls=["https://example.com/layer"])
    exact = bytes_of(SIMPLE | {"layers": [foreign, descriptor(LAYER_BYTES)]})
    assert is_stored(registry, "v1", exact, IMAGE, registry.put_manifest("team/app", "v1", exact))


# --- What it names has to be here -------------------------------------------------------------------------------------


def missing(answer):
    assert refusal(answer) == (404, "MANIFEST_BLOB_UNKNOWN")
    return [each["digest"] for each in answer.json()["errors"][0]["detail"]]


def test_every_missing_blob_is_named(registry):
    registry.push_blob("team/app", LAYER_BYTES)
    absent = image(CONFIG_BYTES, LAYER_BYTES, b"one", b"two")
    expected = sorted(str(Digest.of(content)) for content in (CONFIG_BYTES, b"one", b"two"))
    assert missing(registry.put_manifest("team/app", "v1", absent)) == expected
    assert not Manifest.objects.exists()
    assert not Tag.objects.exists()


@pytest.mark.usefixtures("blobs")
def test_every_missing_child_is_named(registry):
    registry.push_manifest("team/app", SIMPLE)
    others = [image(CONFIG_BYTES, annotations={"n": str(n)}) for n in range(2)]
    answer = registry.put_manifest("team/app", "v1", index(described(SIMPLE), *map(described, others)), INDEX)
    assert missing(answer) == sorted(described(other)["digest"] for other in others)


@pytest.mark.usefixtures("blobs")
def test_what_another_repository_has_is_missing_here(registry):
    registry.push_blob("team/other", b"there")
    assert missing(registry.put_manifest("team/other", "v1", SIMPLE)) == sorted(
        str(Digest.of(content)) for content in (CONFIG_BYTES, LAYER_BYTES)
    )
    registry.push_manifest("team/app", SIMPLE)
    assert missing(registry.put_manifest("team/other", "v1", index(described(SIMPLE)), INDEX)) == [CHILD["digest"]]


@pytest.mark.usefixtures("blobs")
def test_a_blob_is_no_child_and_a_manifest_no_layer(registry):
    registry.push_manifest("team/app", SIMPLE)
    assert missing(registry.put_manifest("team/app", "v1", index(descriptor(LAYER_BYTES, IMAGE)), INDEX))
    assert missing(registry.put_manifest("team/app", "v1", image(CONFIG_BYTES, bytes_of(SIMPLE))))


@pytest.mark.removes_what_is_named
def test_sparse_manifests_are_a_setting(registry, settings):
    settings.REGISTRY_SPARSE_MANIFESTS = True
    exact = bytes_of(index(described(SIMPLE)))
    assert is_stored(registry, "v1", exact, INDEX, registry.put_manifest("team/app", "v1", exact, INDEX))


@pytest.mark.usefixtures("blobs")
@pytest.mark.parametrize("kind", ["image", "index"])
def test_a_subject_is_answered_and_may_be_missing(kind, registry):
    subject = descriptor(b"not here", IMAGE)
    content = image(CONFIG_BYTES, subject=subject) if kind == "image" else index(subject=subject)
    answer = registry.put_manifest("team/app", "v1", content, content["mediaType"])
    assert answer.status_code == 201
    assert answer["OCI-Subject"] == subject["digest"]


# --- References -------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("blobs")
def test_the_body_has_to_hash_to_the_digest(registry):
    wrong = str(Digest.of(b"other bytes"))
    assert refusal(registry.put_manifest("team/app", wrong, SIMPLE)) == (400, "DIGEST_INVALID")
    wrong = str(Digest.of(b"other bytes", "sha512"))
    assert refusal(registry.put_manifest("team/app", wrong, SIMPLE)) == (400, "DIGEST_INVALID")
    assert not Manifest.objects.exists()


@pytest.mark.usefixtures("blobs")
@pytest.mark.parametrize("digest", ["sha256:", "sha256:abc", f"md5:{'0' * 32}", f"sha256:{'A' * 64}", "sha256:%00"])
def test_a_malformed_digest_is_refused(digest, registry):
    assert refusal(registry.put_manifest("team/app", digest, SIMPLE)) == (400, "DIGEST_INVALID")


@pytest.mark.usefixtures("blobs")
@pytest.mark.parametrize("tag", ["-v1", ".v1", "a" * 129, "v%201", "v%00", "t%C3%A4g", "a@b", "a+b", "%E2%80%AEv1"])
def test_a_malformed_tag_is_refused_when_pushing(tag, registry):
    assert refusal(registry.put_manifest("team/app", tag, SIMPLE)) == (400, "MANIFEST_INVALID")
    assert not Tag.objects.exists()


@pytest.mark.usefixtures("blobs")
@pytest.mark.parametrize("tag", ["a", "_", "0", "A" * 128, "v1.0_rc-1", "latest", "sha256-" + "0" * 64])
def test_every_well_formed_tag_can_be_pushed(tag, registry):
    registry.push_manifest("team/app", SIMPLE, tag)
    assert registry.tags("team/app") == [tag]


# --- Several tags at once ---------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("blobs")
@pytest.mark.parametrize("count", [1, 10, 100])
def test_a_push_by_digest_may_set_up_to_a_hundred_tags(count, registry):
    tags = [f"v{number:03}" for number in range(count)]
    query = "&".join(f"tag={tag}" for tag in tags)
    answer = registry.put_manifest("team/app", f"{CHILD['digest']}?{query}", SIMPLE)
    assert answer.status_code == 201
    assert answer["OCI-Tag"].split(", ") == tags
    assert registry.tags("team/app") == tags
    assert registry.pull_manifest("team/app", tags[-1]).content == bytes_of(SIMPLE)


@pytest.mark.usefixtures("blobs")
@pytest.mark.parametrize("name", ["tag", "t%61g", "%74%61%67"])
@pytest.mark.parametrize("count", [101, 1001, 2000])
def test_more_than_a_hundred_tags_are_414(count, name, registry):
    query = "&".join(f"{name}=v{number}" for number in range(count))
    answer = registry.put_manifest("team/app", f"{CHILD['digest']}?{query}", SIMPLE)
    assert answer.status_code == 414 if name == "tag" else answer.status_code in (400, 414)
    assert refusal(answer)
    assert not Manifest.objects.exists()


@pytest.mark.usefixtures("blobs")
@pytest.mark.parametrize("query", ["tag=", "tag=a&tag=-b", "tag=a%00", "tag=" + "a" * 129, "tag=a,b"])
def test_one_malformed_tag_refuses_the_whole_push(query, registry):
    answer = registry.put_manifest("team/app", f"{CHILD['digest']}?{query}", SIMPLE)
    assert refusal(answer) == (400, "MANIFEST_INVALID")
    assert not Manifest.objects.exists()
    assert not Tag.objects.exists()


@pytest.mark.usefixtures("blobs")
def test_a_tag_that_is_given_twice_is_set_once(registry):
    answer = registry.put_manifest("team/app", f"{CHILD['digest']}?tag=a&tag=a", SIMPLE)
    assert answer.status_code == 201
    assert registry.tags("team/app") == ["a"]


# --- Sizes ------------------------------------------------------------------------------------------------------------

LIMIT = 4 * 1024 * 1024


def of_size(size):
    """A manifest of exactly so many bytes."""
    padded = SIMPLE | {"annotations": {"padding": ""}}
    return bytes_of(padded | {"annotations": {"padding": "x" * (size - len(bytes_of(padded)))}})


@pytest.mark.usefixtures("blobs")
def test_a_manifest_of_four_mebibytes_is_accepted(registry):
    exact = of_size(LIMIT)
    assert is_stored(registry, "big", exact, IMAGE, registry.put_manifest("team/app", "big", exact))


@pytest.mark.usefixtures("blobs")
def test_a_manifest_above_the_limit_is_413(registry, settings):
    assert is_invalid(registry, of_size(LIMIT + 1), status=413)
    settings.REGISTRY_MANIFEST_LIMIT = LIMIT + 1
    assert registry.put_manifest("team/app", "big", of_size(LIMIT + 1)).status_code == 201


# --- What is refused --------------------------------------------------------------------------------------------------

A_CONFIG, A_LAYER = descriptor(CONFIG_BYTES, CONFIG), descriptor(LAYER_BYTES)
HOSTILE = {
    "empty": b"",
    "no JSON": b"{",
    "two values": bytes_of(SIMPLE) + b"{}",
    "an array": b"[]",
    "null": b"null",
    "a string": b'"manifest"',
    "a number": b"1",
    "no UTF-8": b'{"schemaVersion": 2, "x": "\xff"}',
    "a byte order mark": b"\xef\xbb\xbf" + bytes_of(SIMPLE),
    "UTF-16": json.dumps(SIMPLE).encode("utf-16"),
    "an empty object": b"{}",
    "a key twice": bytes_of(SIMPLE)[:-1] + b', "schemaVersion": 2}',
    "a nested key twice": b'{"schemaVersion":2,"x":{"a":1,"a":1}}',
    "a key twice, once escaped": bytes_of(SIMPLE)[:-1] + b', "layer\\u0073": []}',
    "NaN": bytes_of(SIMPLE)[:-1] + b', "x": NaN}',
    "Infinity": bytes_of(SIMPLE)[:-1] + b', "x": -Infinity}',
    "1e999": bytes_of(SIMPLE)[:-1] + b', "x": 1e999}',
    "5,000 digits": bytes_of(SIMPLE)[:-1] + b', "x": ' + b"9" * 5000 + b"}",
    "5,000 decimals": bytes_of(SIMPLE)[:-1] + b', "x": 0.' + b"9" * 5000 + b"}",
    "a lone surrogate": bytes_of(SIMPLE)[:-1] + b', "annotations": {"x": "\\ud800"}}',
    "a lone surrogate in a key": bytes_of(SIMPLE)[:-1] + b', "\\udfff": 1}',
    "NUL": bytes_of(SIMPLE)[:-1] + b', "annotations": {"x": "\\u0000"}}',
    "a raw NUL": bytes_of(SIMPLE)[:-1] + b', "x": "\0"}',
    "deep arrays": bytes_of(SIMPLE)[:-1] + b', "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "deep and unfinished": b"[" * 1_000_000,
    "schema 1 by its version": SIMPLE | {"schemaVersion": 1},
    "schema 1 by its fields": SIMPLE | {"fsLayers": [{"blobSum": CHILD["digest"]}]},
    "no schema version": {"config": A_CONFIG, "layers": []},
    "schema version 2.0": bytes_of(SIMPLE).replace(b'"schemaVersion": 2', b'"schemaVersion": 2.0'),
    "schema version true": SIMPLE | {"schemaVersion": True},
    "schema version as text": SIMPLE | {"schemaVersion": "2"},
    "layers and manifests": SIMPLE | {"manifests": [CHILD]},
    "layers and empty manifests": SIMPLE | {"manifests": []},
    "Layers beside layers": SIMPLE | {"Layers": []},
    "another media type": SIMPLE | {"mediaType": INDEX},
    "another kind of media type": SIMPLE | {"mediaType": "application/json"},
    "media type no text": SIMPLE | {"mediaType": 7},
    "no config": {"schemaVersion": 2, "mediaType": IMAGE, "layers": []},
    "no layers": {"schemaVersion": 2, "mediaType": IMAGE, "config": A_CONFIG},
    "config no object": SIMPLE | {"config": []},
    "config null": SIMPLE | {"config": None},
    "layers no array": SIMPLE | {"layers": {}},
    "a layer no object": SIMPLE | {"layers": ["x"]},
    "a layer null": SIMPLE | {"layers": [None]},
    "subject no object": SIMPLE | {"subject": CHILD["digest"]},
    "subject without digest": SIMPLE | {"subject": {"mediaType": IMAGE, "size": 1}},
    "annotations no object": SIMPLE | {"annotations": []},
    "annotation no text": SIMPLE | {"annotations": {"x": 1}},
    "artifact type no text": SIMPLE | {"artifactType": {}},
    "no digest": SIMPLE | {"layers": [{"mediaType": LAYER, "size": 1}]},
    "malformed digest": SIMPLE | {"layers": [A_LAYER | {"digest": "sha256:abc"}]},
    "unknown algorithm": SIMPLE | {"layers": [A_LAYER | {"digest": "md5:" + "0" * 32}]},
    "digest no text": SIMPLE | {"layers": [A_LAYER | {"digest": 7}]},
    "negative size": SIMPLE | {"layers": [A_LAYER | {"size": -1}]},
    "absurd size": SIMPLE | {"layers": [A_LAYER | {"size": 2**63}]},
    "size no number": SIMPLE | {"layers": [A_LAYER | {"size": "7"}]},
    "size true": SIMPLE | {"layers": [A_LAYER | {"size": True}]},
    "size 7.0": SIMPLE | {"layers": [A_LAYER | {"size": 7.0}]},
    "size null": SIMPLE | {"layers": [A_LAYER | {"size": None}]},
    "two sizes of one digest": SIMPLE | {"layers": [A_LAYER, A_LAYER | {"size": 8}]},
    "descriptor without media type": SIMPLE | {"layers": [A_LAYER | {"mediaType": ""}]},
    "too many layers": SIMPLE | {"layers": [A_LAYER] * 10_001},
    "removed artifact manifest": {"mediaType": "application/vnd.oci.artifact.manifest.v1+json", "blobs": []},
}


@pytest.mark.usefixtures("blobs")
@pytest.mark.parametrize("what", HOSTILE)
def test_what_is_not_unmistakably_a_manifest_is_invalid(what, registry):
    assert is_invalid(registry, HOSTILE[what])


@pytest.mark.usefixtures("blobs")
@pytest.mark.parametrize(
    "media_type",
    ["application/json", "text/plain", "x", "*/*", INDEX, DOCKER_IMAGE, SCHEMA_1, "a/" + "b" * 5000, "ä/ö", "/"],
)
def test_another_content_type_than_the_manifests_own_is_invalid(media_type, registry):
    assert is_invalid(registry, SIMPLE, media_type)


@pytest.mark.usefixtures("blobs")
@pytest.mark.parametrize("media_type", [INDEX, DOCKER_INDEX])
@pytest.mark.parametrize("fields", [{"layers": []}, {"config": A_CONFIG}, {"layers": [A_LAYER]}])
def test_an_index_that_is_an_image_too_is_invalid(fields, media_type, registry):
    assert is_invalid(registry, index(media_type=media_type) | fields, media_type)


def test_schema_1_is_refused_with_advice(registry):
    for media_type in (SCHEMA_1, "application/vnd.docker.distribution.manifest.v1+prettyjws"):
        answer = registry.put_manifest("team/app", "v1", {"schemaVersion": 1, "fsLayers": []}, media_type)
        assert refusal(answer) == (400, "MANIFEST_INVALID")
        assert "schema 1" in answer.json()["errors"][0]["message"]


def test_a_refused_manifest_makes_no_repository_visible(registry, owner):
    registry.put_manifest("team/app", "v1", b"{}")
    registry.put_manifest("team/app", "v1", SIMPLE)
    assert owner.ask("GET", "/v2/_catalog").json() == {"repositories": []}
