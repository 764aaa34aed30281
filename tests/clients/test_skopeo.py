import concurrent.futures
import json

import pytest

from tests.clients.images import layout_name
from tests.clients.layouts import Layout
from tests.clients.programs import fail, needed, succeed

pytestmark = pytest.mark.clients

TO_HERE, FROM_HERE, HERE = "--dest-tls-verify=false", "--src-tls-verify=false", "--tls-verify=false"


@pytest.fixture
def skopeo():
    return needed("skopeo")


@pytest.fixture
def login(skopeo, registry):
    succeed(
        skopeo, "login", HERE, "--username=admin", "--password-stdin", registry.registry, stdin=registry.admin_password
    )


def pushed(skopeo, registry, layout, name, *options):
    succeed(
        skopeo, "copy", "--all", TO_HERE, *options, layout_name(layout), f"docker://{registry.registry}/{name}:latest"
    )


def pulled(skopeo, registry, name, directory):
    source = f"docker://{registry.registry}/{name}:latest"
    succeed(skopeo, "copy", "--all", FROM_HERE, source, f"oci:{directory / 'pulled'}:latest")
    return Layout(directory / "pulled", "latest")


def test_a_wrong_password_is_called_that(skopeo, registry):
    said = fail(skopeo, "login", HERE, "--username=admin", "--password-stdin", registry.registry, stdin="wrong")
    assert "invalid username/password" in said


@pytest.mark.parametrize("kind", ["image", "zstd", "index", "debian"])
def test_what_is_pushed_comes_back_byte_for_byte(kind, skopeo, login, registry, images, repository, tmp_path):
    original = getattr(images, kind)

    pushed(skopeo, registry, original, repository)

    assert registry.digests(repository) == original.digests()
    copy = pulled(skopeo, registry, repository, tmp_path)
    assert copy.digest == original.digest
    assert copy.digests() == original.digests()


def test_a_docker_schema2_image_keeps_its_media_type(skopeo, login, registry, images, repository, tmp_path):
    pushed(skopeo, registry, images.image, repository, "--format=v2s2")

    _, media_type, manifest = registry.manifest(repository, "latest")
    assert media_type == manifest["mediaType"] == "application/vnd.docker.distribution.manifest.v2+json"
    succeed(skopeo, "copy", FROM_HERE, f"docker://{registry.registry}/{repository}:latest", f"dir:{tmp_path / 'dir'}")
    assert json.loads((tmp_path / "dir" / "manifest.json").read_bytes()) == manifest


def test_one_platform_of_an_index_can_be_pulled(skopeo, login, registry, images, repository, tmp_path):
    pushed(skopeo, registry, images.index, repository)

    source = f"docker://{registry.registry}/{repository}:latest"
    succeed(skopeo, "copy", FROM_HERE, "--override-arch=arm64", source, f"oci:{tmp_path / 'arm'}:latest")

    of_arm = [entry for entry in images.index.manifest()["manifests"] if entry["platform"]["architecture"] == "arm64"]
    assert Layout(tmp_path / "arm", "latest").digest == of_arm[0]["digest"]


def test_an_image_is_copied_to_another_repository(skopeo, login, registry, images, repository):
    pushed(skopeo, registry, images.image, repository)

    source, target = (f"docker://{registry.registry}/{repository}{suffix}:latest" for suffix in ("", "-copy"))
    succeed(skopeo, "copy", FROM_HERE, TO_HERE, source, target)

    assert registry.digests(f"{repository}-copy") == images.image.digests()


def test_tags_are_listed_and_a_deleted_image_is_gone(skopeo, login, registry, images, repository):
    place = f"docker://{registry.registry}/{repository}"
    for tag in ("b", "a", "C"):
        succeed(skopeo, "copy", TO_HERE, layout_name(images.image), f"{place}:{tag}")
    assert json.loads(succeed(skopeo, "list-tags", HERE, place))["Tags"] == ["C", "a", "b"]

    succeed(skopeo, "delete", HERE, f"{place}:a")

    assert json.loads(succeed(skopeo, "list-tags", HERE, place))["Tags"] == []  # skopeo deletes by digest
    assert "manifest unknown" in fail(skopeo, "inspect", HERE, f"{place}:a")


def test_only_a_public_repository_can_be_pulled_without_logging_in(skopeo, registry, images, repository, tmp_path):
    succeed(
        skopeo,
        *("copy", TO_HERE, f"--dest-creds=admin:{registry.admin_password}"),
        *(layout_name(images.image), f"docker://{registry.registry}/{repository}:latest"),
    )
    said = fail(skopeo, "inspect", HERE, f"docker://{registry.registry}/{repository}:latest")
    assert f"log in to pull from {repository}" in said

    registry.publish(repository)

    assert pulled(skopeo, registry, repository, tmp_path).digests() == images.image.digests()
    target = f"docker://{registry.registry}/{repository}:other"
    assert f"log in to push to {repository}" in fail(skopeo, "copy", TO_HERE, layout_name(images.image), target)


def test_to_strangers_a_private_repository_looks_like_none(skopeo, login, registry, images, repository):
    pushed(skopeo, registry, images.image, repository)
    succeed(skopeo, "logout", registry.registry)

    private = fail(skopeo, "inspect", HERE, f"docker://{registry.registry}/{repository}:latest")
    absent = fail(skopeo, "inspect", HERE, f"docker://{registry.registry}/{repository}-absent:latest")

    assert private.partition("level=")[2] == absent.replace("-absent", "").partition("level=")[2]


def test_six_that_push_one_image_at_once_all_succeed(skopeo, login, registry, images, repository):
    with concurrent.futures.ThreadPoolExecutor(6) as six:
        pushes = [six.submit(pushed, skopeo, registry, images.debian, repository) for _ in range(6)]
        for push in pushes:
            push.result()

    assert registry.digests(repository) == images.debian.digests()


def test_an_image_that_is_already_there_is_not_sent_again(skopeo, login, registry, images, repository):
    pushed(skopeo, registry, images.debian, repository)
    held = bytes_held(registry)

    pushed(skopeo, registry, images.debian, repository)
    pushed(skopeo, registry, images.debian, f"{repository}-elsewhere")

    assert registry.digests(f"{repository}-elsewhere") == images.debian.digests()
    assert bytes_held(registry) - held < 100_000  # manifests are rows


def bytes_held(registry):
    return sum(path.stat().st_size for path in (registry.data / "blobs").rglob("*") if path.is_file())
