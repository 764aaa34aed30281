"""containerd's own client. Each test pushes from one namespace and pulls into another, which has nothing yet."""

from uuid import uuid4

import pytest

from tests.clients.layouts import Layout
from tests.clients.programs import fail, needed, succeed

pytestmark = pytest.mark.clients

HERE = "--plain-http"


@pytest.fixture
def ctr(containerd):
    return (*containerd, f"--namespace={uuid4().hex}")


@pytest.fixture
def other(containerd):
    return (*containerd, f"--namespace={uuid4().hex}")


@pytest.fixture
def login(registry):
    return f"--user=admin:{registry.admin_password}"


def pushed(ctr, login, registry, layout, name, directory):
    place, tar = f"{registry.registry}/{name}", directory / "image.tar"
    succeed("tar", "--create", "--file", tar, "--directory", layout.path, ".")
    succeed(*ctr, "images", "import", "--all-platforms", "--no-unpack", f"--base-name={place}", tar)
    succeed(*ctr, "images", "push", HERE, login, f"{place}:latest")


def pull(ctr, *options):
    """The snapshotter copies files: not every file system that holds temporary files takes overlays."""
    return (*ctr, "images", "pull", "--snapshotter=native", HERE, *options)


def exported(ctr, place, directory, *options):
    succeed(*ctr, "images", "export", *options, directory / "exported.tar", place)
    (directory / "exported").mkdir()
    succeed("tar", "--extract", "--file", directory / "exported.tar", "--directory", directory / "exported")
    return Layout(directory / "exported", "latest")


def test_a_wrong_password_is_called_that(ctr, registry, repository):
    said = fail(*pull(ctr, "--user=admin:wrong"), f"{registry.registry}/{repository}:latest")
    assert "failed to fetch oauth token: unexpected status: 401 Unauthorized" in said


@pytest.mark.parametrize("kind", ["image", "zstd"])
def test_what_is_pushed_comes_back_byte_for_byte(kind, ctr, other, login, registry, images, repository, tmp_path):
    original, place = getattr(images, kind), f"{registry.registry}/{repository}:latest"

    pushed(ctr, login, registry, original, repository, tmp_path)
    succeed(*pull(other, login), place)

    assert registry.digests(repository) == original.digests()
    copy = exported(other, place, tmp_path)
    assert copy.digest == original.digest
    assert copy.digests() == original.digests()


@pytest.mark.parametrize("kind", ["index", "debian"])
def test_what_is_fetched_and_not_unpacked_is_the_same_too(
    kind, ctr, other, login, registry, images, repository, tmp_path
):
    original, place = getattr(images, kind), f"{registry.registry}/{repository}:latest"

    pushed(ctr, login, registry, original, repository, tmp_path)
    succeed(*other, "content", "fetch", "--all-platforms", HERE, login, place)

    assert registry.digests(repository) == original.digests()
    copy = exported(other, place, tmp_path, "--all-platforms")
    assert copy.digest == original.digest
    assert copy.digests() == original.digests()


def test_one_platform_of_an_index_is_pulled(ctr, other, login, registry, images, repository, tmp_path):
    place = f"{registry.registry}/{repository}:latest"
    pushed(ctr, login, registry, images.index, repository, tmp_path)

    succeed(*pull(other, login, "--platform=linux/arm64"), place)

    (arm,) = (
        entry["digest"]
        for entry in images.index.manifest()["manifests"]
        if entry["platform"]["architecture"] == "arm64"
    )
    held = set(succeed(*other, "content", "ls", "--quiet").split())
    assert held == {images.index.digest} | images.index.digests(arm)


def test_what_was_pulled_is_mounted_in_another_repository(ctr, other, login, registry, images, repository, tmp_path):
    one, two = (f"{registry.registry}/{repository}{suffix}:latest" for suffix in ("", "-copy"))
    pushed(ctr, login, registry, images.image, repository, tmp_path)
    succeed(*pull(other, login), one)

    succeed(*other, "images", "tag", one, two)
    said = succeed(*other, "images", "push", HERE, login, "--http-dump", two)

    blobs = images.image.digests() - {images.image.digest}
    assert all(f"?mount={blob}&from={repository}" in said for blob in blobs)
    assert f"PUT /v2/{repository}-copy/blobs/" not in said
    assert registry.digests(f"{repository}-copy") == images.image.digests()


def test_a_deleted_image_cannot_be_pulled(ctr, login, registry, images, repository, tmp_path):
    pushed(ctr, login, registry, images.image, repository, tmp_path)
    place, creds = f"{registry.registry}/{repository}:latest", f"--creds=admin:{registry.admin_password}"
    succeed(needed("skopeo"), "delete", "--tls-verify=false", creds, f"docker://{place}")

    assert f"{place}: not found" in fail(*pull(ctr, login), place)


def test_only_a_public_repository_can_be_pulled_without_logging_in(
    ctr, other, login, registry, images, repository, tmp_path
):
    place = f"{registry.registry}/{repository}:latest"
    pushed(ctr, login, registry, images.image, repository, tmp_path)
    assert "insufficient_scope" in fail(*pull(other), place)

    registry.publish(repository)

    succeed(*pull(other), place)
    assert exported(other, place, tmp_path).digests() == images.image.digests()
    succeed(*other, "images", "tag", place, f"{place}-other")
    assert "insufficient_scope" in fail(*other, "images", "push", HERE, f"{place}-other")
