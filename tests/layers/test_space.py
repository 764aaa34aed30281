"""Stored bytes are the bytes of what is left, to the byte, whatever was deleted in whichever order."""

import random
from typing import Any

import pytest

from layers import finalizing
from manifests import services
from manifests.models import Manifest
from oci.digests import Digest
from repositories import deletion
from tests import integrity
from tests.collecting import collect_everything, look_quickly
from tests.images import INDEX, bytes_of, described, image, index
from tests.registry import Registry
from uploads.models import Upload

pytestmark = pytest.mark.django_db

IMAGES = 20
REPOSITORIES = ("team/app", "team/other", "team/third")

Image = tuple[str, dict[str, Any], list[bytes]]  # repository, manifest, blobs


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    monkeypatch.setattr(finalizing, "finalize", look_quickly)


@pytest.fixture(params=[1, pytest.param(2, marks=pytest.mark.faults)])
def chance(request) -> random.Random:
    return random.Random(request.param)


@pytest.fixture
def images(registry: Registry, chance: random.Random) -> list[Image]:
    """Images that share layers, in their repository and with others; some of the same bytes were uploaded twice, some
    mounted, and some uploads never finished."""
    layers = [chance.randbytes(chance.randrange(2_000)) for _ in range(12)] + [b""]
    pushed = []
    for number in range(IMAGES):
        name, blobs = chance.choice(REPOSITORIES), [b'{"number":%d}' % number, *chance.sample(layers, 4)]
        for blob in blobs:
            mount = f"?mount={Digest.of(blob)}&from={chance.choice(REPOSITORIES)}" if chance.random() < 0.5 else ""
            answer = registry.ask("POST", f"/v2/{name}/blobs/uploads/{mount}")
            if answer.status_code == 202 and chance.random() < 0.9:
                registry.ask("PUT", f"{answer['Location']}?digest={Digest.of(blob)}", blob)
            elif answer.status_code == 202:
                registry.ask("PATCH", answer["Location"], b"half of a layer")
                registry.push_blob(name, blob)
        manifest = image(*blobs)
        registry.push_manifest(name, manifest, f"tag-{number}")
        pushed.append((name, manifest, blobs))
    return pushed


def stored() -> int:
    return sum(map(len, integrity.stored().values()))


def bytes_of_all(images: list[Image]) -> int:
    return sum(map(len, {blob for _, _, blobs in images for blob in blobs}))


def all_is_collected() -> bool:
    collect_everything()
    return [problem for check in integrity.COLLECTED for problem in check()] == [] and not Upload.objects.exists()


def test_stored_bytes_are_those_of_the_images_that_are_left(images, chance):
    assert all_is_collected()
    assert stored() == bytes_of_all(images)
    chance.shuffle(images)
    while images:
        name, manifest, _ = images.pop()
        services.delete(name, Digest.of(bytes_of(manifest)))
        assert all_is_collected()
        assert stored() == bytes_of_all(images)
    assert integrity.stored() == {}


def test_all_that_was_pushed_is_gone_when_all_was_deleted_before_anybody_collected(images, chance):
    chance.shuffle(images)
    for name, manifest, _ in images:
        services.delete(name, Digest.of(bytes_of(manifest)))
    assert all_is_collected()
    assert integrity.stored() == {}


def test_indexes_take_their_images_along_unless_a_tag_or_another_index_has_them(images, registry, chance):
    for number in range(IMAGES):
        services.untag(images[number][0], f"tag-{number}")
    indexes = []
    for name in REPOSITORIES:
        here = [each for each in images if each[0] == name]
        for children in (here[:4], here[2:]):
            content = index(*[described(manifest) for _, manifest, _ in children])
            registry.push_manifest(name, content, media_type=INDEX)
            indexes.append((name, content, children))
    kept = next(each for each in images if each[0] == indexes[0][0])
    registry.push_manifest(kept[0], kept[1], "kept")
    chance.shuffle(indexes)
    while indexes:
        name, content, _ = indexes.pop()
        services.delete(name, Digest.of(bytes_of(content)))
        assert all_is_collected()
        assert stored() == bytes_of_all([kept, *(each for _, _, children in indexes for each in children)])
    assert Manifest.objects.count() == 1


def test_repositories_take_all_along_that_no_other_has(images, chance):
    names = sorted({name for name, _, _ in images})
    chance.shuffle(names)
    for name in names:
        deletion.delete(name)
        images = [each for each in images if each[0] != name]
        assert all_is_collected()
        assert stored() == bytes_of_all(images)
    assert integrity.stored() == {}
