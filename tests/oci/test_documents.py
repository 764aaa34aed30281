import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oci.digests import Digest
from oci.documents import DESCRIPTORS, Descriptor, Document
from oci.errors import ManifestInvalid
from oci.media_types import ARTIFACT, DOCKER_IMAGE, DOCKER_INDEX, IMAGE, INDEX

CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
SIGNATURE_TYPE = "application/vnd.example.signature.v1"
ABSENT = object()


def descriptor(content=b"{}", media_type=LAYER_TYPE, **more):
    return {"mediaType": media_type, "digest": str(Digest.of(content)), "size": len(content)} | more


CONFIG = descriptor(b"config", CONFIG_TYPE)
LAYERS = [descriptor(b"first"), descriptor(b"second layer")]
CHILDREN = [
    descriptor(b"amd64", IMAGE, platform={"os": "linux", "architecture": "amd64"}),
    descriptor(b"nested", INDEX),
]


def changed(members, changes):
    return {name: value for name, value in (members | changes).items() if value is not ABSENT}


def image(**changes):
    return changed({"schemaVersion": 2, "mediaType": IMAGE, "config": CONFIG, "layers": LAYERS}, changes)


def index(**changes):
    return changed({"schemaVersion": 2, "mediaType": INDEX, "manifests": CHILDREN}, changes)


def parse(members, content_type=None):
    content = json.dumps(members).encode()
    return Document.parse(content, members.get("mediaType", "") if content_type is None else content_type)


def refusal(members, content_type=None):
    with pytest.raises(ManifestInvalid) as refused:
        parse(members, content_type)
    assert len(refused.value.message) <= 400
    return refused.value.message


def digests(descriptors):
    return [str(descriptor.digest) for descriptor in descriptors]


class TestWhatIsRead:
    def test_an_image_points_to_its_config_and_layers(self):
        document = parse(image())
        assert document.media_type == IMAGE
        assert digests(document.blobs) == [CONFIG["digest"], *(layer["digest"] for layer in LAYERS)]
        assert [blob.size for blob in document.blobs] == [6, 5, 12]
        assert document.manifests == document.elsewhere == ()
        assert document.subject is None
        assert document.annotations == {}

    def test_an_index_points_to_its_manifests(self):
        document = parse(index())
        assert digests(document.manifests) == [child["digest"] for child in CHILDREN]
        assert document.manifests[1] == Descriptor(INDEX, Digest.of(b"nested"), 6)
        assert document.blobs == ()

    @pytest.mark.parametrize("empty", [[], None])
    def test_an_index_may_be_empty_and_an_image_without_layers(self, empty):
        assert parse(index(manifests=empty)).manifests == ()
        assert digests(parse(image(layers=empty)).blobs) == [CONFIG["digest"]]

    def test_docker_schema_2_and_manifest_lists_are_read_like_their_oci_twins(self):
        assert parse(image(mediaType=DOCKER_IMAGE)).blobs == parse(image()).blobs
        assert parse(index(mediaType=DOCKER_INDEX)).manifests == parse(index()).manifests

    def test_an_artifact_goes_by_its_artifact_type_and_an_image_by_that_of_its_config(self):
        assert parse(image(artifactType=SIGNATURE_TYPE)).artifact_type == SIGNATURE_TYPE
        for silent in (ABSENT, None, ""):
            assert parse(image(artifactType=silent)).artifact_type == CONFIG_TYPE
            assert parse(index(artifactType=silent)).artifact_type == ""
        assert parse(index(artifactType=SIGNATURE_TYPE)).artifact_type == SIGNATURE_TYPE

    def test_a_subject_is_read_of_images_and_indexes(self):
        subject = descriptor(b"subject", IMAGE)
        for document in (parse(image(subject=subject)), parse(index(subject=subject))):
            assert document.subject == Descriptor(IMAGE, Digest.of(b"subject"), 7)
        assert parse(image(subject=None)).subject is None

    def test_annotations_are_kept_as_they_are(self):
        annotations = {"org.example.ä": "😀", "": ""}
        assert parse(image(annotations=annotations)).annotations == annotations
        assert parse(index(annotations=None)).annotations == {}

    def test_unknown_fields_platforms_and_data_are_nothing_to_stumble_over(self):
        extra = {"org.example.extra": {"deep": [1, 2.5, None, True]}}
        layer = descriptor(data="e30=", annotations={"a": 1}, artifactType=7, platform=[], urls=None, **extra)
        assert parse(image(layers=[layer], **extra)).blobs[1] == Descriptor(LAYER_TYPE, Digest.of(b"{}"), 2)

    @pytest.mark.parametrize(
        "media_type",
        [
            "application/vnd.oci.image.layer.nondistributable.v1.tar",
            "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        ],
    )
    def test_a_layer_that_must_not_be_distributed_need_not_be_here(self, media_type):
        foreign = descriptor(b"foreign", media_type, urls=["https://example.com/layer"])
        document = parse(image(layers=[foreign, *LAYERS]))
        assert document.blobs == parse(image()).blobs
        assert digests(document.elsewhere) == [foreign["digest"]]

    def test_urls_alone_excuse_no_layer_and_no_media_type_excuses_a_config(self):
        assert len(parse(image(layers=[descriptor(urls=["https://example.com/layer"])])).blobs) == 2
        config = descriptor(b"config", "application/vnd.docker.image.rootfs.foreign.diff.tar")
        assert digests(parse(image(config=config)).blobs)[0] == config["digest"]

    def test_config_and_layer_may_be_the_same_blob_and_a_digest_may_be_sha512(self):
        empty = descriptor(b"{}", EMPTY_TYPE)
        assert len(parse(image(config=empty, layers=[empty, empty])).blobs) == 3
        longer = descriptor() | {"digest": str(Digest.of(b"{}", "sha512"))}
        assert parse(image(layers=[longer])).blobs[1].digest.algorithm == "sha512"


class TestMediaTypes:
    @pytest.mark.parametrize("sent", [IMAGE, IMAGE + "; charset=utf-8", IMAGE.upper(), f" {IMAGE} ;x", ""])
    def test_the_content_type_counts_without_parameters_and_case(self, sent):
        assert parse(image(), sent).media_type == IMAGE
        assert parse(image(mediaType=ABSENT), sent).media_type == IMAGE

    def test_a_silent_manifest_is_what_the_header_says(self):
        assert parse(image(mediaType=ABSENT), DOCKER_IMAGE).media_type == DOCKER_IMAGE
        assert parse(index(mediaType=None), DOCKER_INDEX).media_type == DOCKER_INDEX

    def test_without_either_the_fields_tell_an_oci_image_from_an_oci_index(self):
        assert parse(image(mediaType=ABSENT), "").media_type == IMAGE
        assert parse(index(mediaType=ABSENT), "").media_type == INDEX

    @pytest.mark.parametrize("sent", [INDEX, DOCKER_IMAGE, "application/json", "*/*", ",", "x" * 100_000, "\ud800"])
    def test_a_content_type_that_the_manifest_contradicts_is_refused(self, sent):
        assert refusal(image(), sent)

    @pytest.mark.parametrize("own", ["application/json", IMAGE.upper(), IMAGE + ";x", "x" * 1000, 7, [], {}, True])
    def test_a_media_type_that_no_manifest_has_is_refused(self, own):
        assert refusal(image(mediaType=own), IMAGE)
        assert refusal(image(mediaType=own), "")

    @pytest.mark.parametrize(
        "sent",
        [
            "application/vnd.docker.distribution.manifest.v1+json",
            "application/vnd.docker.distribution.manifest.v1+prettyjws",
            "",
        ],
    )
    def test_schema_1_is_refused_with_a_word_on_what_to_do(self, sent):
        old = {"schemaVersion": 1, "name": "a", "tag": "b", "fsLayers": [], "history": [], "signatures": []}
        assert "schema 1 is no longer accepted" in refusal(old, sent)
        assert "schema 1 is no longer accepted" in refusal(old | {"mediaType": sent} if sent else old, "")
        assert "schema 1 is no longer accepted" in refusal(old, IMAGE)

    def test_the_artifact_manifest_that_the_spec_dropped_is_refused_with_a_word_on_what_to_do(self):
        dropped = {"mediaType": ARTIFACT, "artifactType": SIGNATURE_TYPE, "blobs": [descriptor()]}
        assert "artifactType" in refusal(dropped, ARTIFACT)
        assert "artifactType" in refusal(dropped | {"schemaVersion": 2}, "")


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        "content", [b"", b"null", b"[]", b'"{}"', b"7", b"{", b"{}x", b"\xff{}", b"\xef\xbb\xbf{}"]
    )
    @pytest.mark.parametrize("content_type", ["", IMAGE])
    def test_what_is_no_json_object(self, content, content_type):
        with pytest.raises(ManifestInvalid):
            Document.parse(content, content_type)

    def test_an_empty_object_or_one_that_is_neither_image_nor_index(self):
        assert "schemaVersion" in refusal({}, "")
        assert "config" in refusal({"schemaVersion": 2}, "")

    @pytest.mark.parametrize("version", [ABSENT, None, 0, 3, -2, 2.0, "2", True, [2], {}])
    def test_a_schema_version_other_than_2(self, version):
        assert "schemaVersion" in refusal(image(schemaVersion=version))

    @pytest.mark.parametrize("value", [ABSENT, 0, "", "x", {}, True, [None], [[]], ["x"], [7]])
    def test_layers_or_manifests_that_are_no_list_of_descriptors(self, value):
        assert "layers" in refusal(image(layers=value))
        assert "manifests" in refusal(index(manifests=value))

    @pytest.mark.parametrize("value", [ABSENT, None, 0, "x", [], [CONFIG], True])
    def test_a_config_that_is_no_descriptor(self, value):
        assert "config" in refusal(image(config=value))

    @pytest.mark.parametrize("value", [0, "", [], {}, True, {"digest": CONFIG["digest"]}])
    def test_a_subject_that_is_no_descriptor(self, value):
        assert "subject" in refusal(image(subject=value))
        assert "subject" in refusal(index(subject=value))

    @pytest.mark.parametrize("extra", [{"manifests": CHILDREN}, {"manifests": []}, {"fsLayers": []}])
    def test_an_image_with_fields_of_another_kind_of_manifest(self, extra):
        assert "must not have" in refusal(image(**extra))
        assert "must not have" in refusal(image(mediaType=DOCKER_IMAGE, **extra))
        assert refusal(image(mediaType=ABSENT, **extra), "")

    @pytest.mark.parametrize("extra", [{"config": CONFIG}, {"layers": LAYERS}, {"layers": []}, {"fsLayers": [{}]}])
    def test_an_index_with_fields_of_another_kind_of_manifest(self, extra):
        assert "must not have" in refusal(index(**extra))
        assert "must not have" in refusal(index(mediaType=ABSENT, **extra), "")

    def test_an_index_sent_as_an_image_and_the_other_way_round(self):
        assert refusal(index(mediaType=IMAGE))
        assert refusal(image(mediaType=INDEX))

    @pytest.mark.parametrize("name", ["Layers", "MANIFESTS", "manifest\u017f", "MediaType", "schemaversion", "Subject"])
    def test_a_field_that_go_clients_take_for_another(self, name):
        assert "some clients" in refusal(image(**{name: []}))

    @pytest.mark.parametrize("name", ["Digest", "SIZE", "mediatype"])
    def test_a_descriptor_with_a_field_that_go_clients_take_for_another(self, name):
        assert "layers[0]" in refusal(image(layers=[descriptor(**{name: 1})]))

    @pytest.mark.parametrize(
        "twice", ['"schemaVersion": 2', '"layers": []', '"x": 1, "x": 1', '"x": [{"a": 1, "a": 1}]']
    )
    def test_a_key_that_occurs_twice_wherever_it_is(self, twice):
        content = json.dumps(image()).replace("{", "{" + twice + ", ", 1)
        with pytest.raises(ManifestInvalid, match="twice"):
            Document.parse(content.encode(), IMAGE)

    @pytest.mark.parametrize("size", [None, -1, 2**63, 2**64, 10**18 * 10, 1.0, 1e3, "2", True, False, [], {}, ABSENT])
    def test_a_size_that_is_no_count_of_bytes(self, size):
        assert "size" in refusal(image(layers=[changed(descriptor(), {"size": size})]))

    def test_the_largest_size_there_is_and_none_at_all_are_fine(self):
        assert parse(image(layers=[descriptor() | {"size": 2**63 - 1}])).blobs[1].size == 2**63 - 1
        assert parse(image(layers=[descriptor(b"")])).blobs[1].size == 0

    def test_a_size_of_five_thousand_digits(self):
        content = json.dumps(image(layers=[descriptor() | {"size": 777}])).replace("777", "7" * 5000)
        with pytest.raises(ManifestInvalid, match="5000 digits"):
            Document.parse(content.encode(), IMAGE)

    @pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400"])
    def test_a_number_that_is_not_finite_even_in_an_unknown_field(self, number):
        content = json.dumps(image(extra="@")).replace('"@"', number)
        with pytest.raises(ManifestInvalid, match="number"):
            Document.parse(content.encode(), IMAGE)

    @pytest.mark.parametrize(
        "digest", [ABSENT, None, 7, "", "sha256:", "sha256:" + "A" * 64, "md5:" + "0" * 32, "x" * 100_000, ["sha256:"]]
    )
    def test_a_malformed_digest(self, digest):
        assert "layers[1].digest" in refusal(image(layers=[LAYERS[0], changed(descriptor(), {"digest": digest})]))

    @pytest.mark.parametrize("media_type", [ABSENT, None, "", 7, [], "a/" + "b" * 254])
    def test_a_descriptor_without_a_media_type(self, media_type):
        assert "mediaType" in refusal(index(manifests=[changed(descriptor(), {"mediaType": media_type})]))

    @pytest.mark.parametrize("value", [7, [], {}, True, "a/" + "b" * 254])
    def test_an_artifact_type_that_is_none(self, value):
        assert "artifactType" in refusal(image(artifactType=value))
        assert "artifactType" in refusal(index(artifactType=value))

    @pytest.mark.parametrize("value", ["", 7, [], True, {"a": None}, {"a": 1}, {"a": []}, {"a": {"b": "c"}}])
    def test_annotations_that_are_no_map_of_strings(self, value):
        assert "annotation" in refusal(image(annotations=value))
        assert "annotation" in refusal(index(annotations=value))

    @pytest.mark.parametrize("value", [7, [], {}, True])
    def test_data_that_is_no_string(self, value):
        assert "data" in refusal(image(config=CONFIG | {"data": value}))

    @pytest.mark.parametrize("text", ["\0", "a\0b", "\ud800", "x\udfff"])
    def test_text_that_no_database_stores(self, text):
        assert refusal(image(annotations={"a": text}))
        assert refusal(image(annotations={text: "a"}))
        assert refusal(image(config=CONFIG | {"mediaType": text}))
        assert refusal(image(extra=[[text]]))
        assert refusal(image(**{text: 1}))

    def test_one_digest_with_two_sizes(self):
        liar = descriptor(b"first") | {"size": 6}
        assert "two sizes" in refusal(image(layers=[descriptor(b"first"), liar]))
        assert "two sizes" in refusal(image(subject=liar))
        assert "two sizes" in refusal(index(manifests=[CHILDREN[0], CHILDREN[0] | {"size": 4}]))

    def test_more_descriptors_than_anybody_needs(self):
        many = [descriptor()] * DESCRIPTORS
        assert len(parse(image(layers=many)).blobs) == DESCRIPTORS + 1
        assert "more than" in refusal(image(layers=[*many, descriptor()]))
        assert "more than" in refusal(index(manifests=[*many, descriptor()]))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
TYPES = st.sampled_from(["", IMAGE, INDEX, DOCKER_IMAGE, DOCKER_INDEX, ARTIFACT]) | st.text()
NEAR_DESCRIPTORS = st.fixed_dictionaries(
    {},
    optional={
        "mediaType": JSON | st.just(LAYER_TYPE),
        "digest": JSON | st.just(CONFIG["digest"]),
        "size": JSON | st.just(2),
        "data": JSON,
    },
)
NEAR_MANIFESTS = st.fixed_dictionaries(
    {"schemaVersion": st.just(2) | JSON},
    optional={
        "mediaType": st.sampled_from([IMAGE, INDEX]) | JSON,
        "config": NEAR_DESCRIPTORS | st.just(CONFIG) | JSON,
        "layers": st.lists(NEAR_DESCRIPTORS | st.just(CONFIG), max_size=3) | JSON,
        "manifests": st.lists(NEAR_DESCRIPTORS | st.just(CONFIG), max_size=3) | JSON,
        "subject": NEAR_DESCRIPTORS | st.just(CONFIG) | JSON,
        "annotations": st.dictionaries(st.text(), st.text(), max_size=3) | JSON,
        "artifactType": st.text() | JSON,
    },
)


def parsed_or_refused(content, content_type):
    try:
        return Document.parse(content, content_type)
    except ManifestInvalid:
        return None


class TestHostileBodies:
    @given(st.binary(), TYPES)
    def test_arbitrary_bytes_raise_nothing_but_manifest_invalid(self, content, content_type):
        parsed_or_refused(content, content_type)

    @given(JSON | NEAR_MANIFESTS, TYPES)
    def test_whatever_is_accepted_has_only_values_of_the_right_type(self, value, content_type):
        document = parsed_or_refused(json.dumps(value).encode(), content_type)
        if document is None:
            return
        found = [*document.blobs, *document.manifests, *document.elsewhere]
        found += [document.subject] if document.subject else []
        assert document.media_type in {IMAGE, INDEX, DOCKER_IMAGE, DOCKER_INDEX}
        assert not (document.blobs and document.manifests)
        for one in found:
            assert Digest.parse(str(one.digest)) == one.digest
            assert type(one.size) is int
            assert 0 <= one.size < 2**63
        assert "\0" not in "".join([document.artifact_type, *document.annotations, *document.annotations.values()])

    @given(st.data())
    def test_a_valid_manifest_is_read_the_same_whatever_unknown_fields_it_has(self, data):
        members = data.draw(st.sampled_from([image(), index()]))
        names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1).map(lambda name: "x-" + name)
        extra = data.draw(st.dictionaries(names, st.integers(-9, 9) | st.booleans() | st.just([{}]), max_size=3))
        assert parse(extra | members) == parse(members)

    @pytest.mark.parametrize(
        "part", ["[", "{", '{"a":', '[{"layers":', "[],", '{"config":{},"config":', '"', "\\", "9", "\0"]
    )
    def test_four_mebibytes_of_anything_are_refused_within_seconds(self, part):
        content = part.encode() * ((4 << 20) // len(part))
        start = b'{"schemaVersion":2,"config":'
        started = time.process_time()
        for attempt in (content, start + content, start + b'{"size":' + content):
            assert parsed_or_refused(attempt, IMAGE) is None
        assert time.process_time() - started < 3

    def test_a_manifest_of_four_mebibytes_is_read_quickly(self):
        annotations = {f"org.example.{number}": "x" * 1000 for number in range(4000)}
        content = json.dumps(image(annotations=annotations)).encode()
        started = time.process_time()
        assert Document.parse(content, IMAGE).annotations == annotations
        assert time.process_time() - started < 1


class TestDescriptorAsJson:
    def test_it_names_what_a_referrer_is(self):
        digest = Digest.of(b"")
        assert Descriptor(IMAGE, digest, 7, SIGNATURE_TYPE, {"a": "b"}).as_json() == {
            "mediaType": IMAGE,
            "digest": str(digest),
            "size": 7,
            "artifactType": SIGNATURE_TYPE,
            "annotations": {"a": "b"},
        }

    def test_what_it_does_not_know_is_left_out(self):
        assert Descriptor(IMAGE, Digest.of(b""), 0).as_json().keys() == {"mediaType", "digest", "size"}

    @given(
        st.integers(0, 2**63 - 1),
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1),
    )
    def test_it_is_read_back(self, size, media_type):
        written = Descriptor(media_type[:255], Digest.of(b""), size)
        assert Descriptor.read(json.loads(json.dumps(written.as_json())), "here") == written
