"""Debian's docker.io: the engine that it brings, with the command line that it brings."""

import io
import json
import subprocess
import tarfile

import pytest

from tests.clients.engines import forget_images, image_id
from tests.clients.images import layout_name
from tests.clients.layouts import differences, files_of_tar
from tests.clients.programs import fail, needed, succeed

pytestmark = pytest.mark.clients

# docker puts these into every container, over what the image has there.
DOCKERS_OWN = {".dockerenv", "dev", "dev/console", "dev/pts", "dev/shm", "etc", "proc", "sys"}
DOCKERS_OWN |= {"etc/hostname", "etc/hosts", "etc/mtab", "etc/resolv.conf"}


@pytest.fixture
def docker(docker_engine):
    yield docker_engine
    forget_images(docker_engine)


@pytest.fixture
def login(docker, registry):
    password = registry.admin_password
    succeed(*docker, "login", "--username=admin", "--password-stdin", registry.registry, stdin=password)


def pushed(docker, registry, layout, name, directory):
    """Returns the image's id. docker compresses again what it pushes: what arrives differs from the layout."""
    place = f"{registry.registry}/{name}:latest"
    succeed(needed("skopeo"), "copy", layout_name(layout), f"docker-archive:{directory / 'image.tar'}:{place}")
    succeed(*docker, "load", "--input", directory / "image.tar")
    succeed(*docker, "push", place)
    return image_id(docker, place)


def files(docker, place):
    container = succeed(*docker, "create", place, "/command").strip()
    exported = subprocess.run((*docker, "export", container), capture_output=True, check=True).stdout
    succeed(*docker, "rm", container)
    return files_of_tar(exported)


def test_a_wrong_password_is_called_that(docker, registry):
    said = fail(*docker, "login", "--username=admin", "--password-stdin", registry.registry, stdin="wrong")
    assert "unauthorized: wrong user name or password" in said


@pytest.mark.parametrize("kind", ["image", "debian"])
def test_what_is_pushed_comes_back_file_for_file(kind, docker, login, registry, images, repository, tmp_path):
    original = getattr(images, kind)
    place = f"{registry.registry}/{repository}:latest"

    image = pushed(docker, registry, original, repository, tmp_path)
    forget_images(docker)
    succeed(*docker, "pull", place)

    assert registry.manifest(repository, "latest")[1] == "application/vnd.docker.distribution.manifest.v2+json"
    assert image in registry.digests(repository)
    assert image_id(docker, place) == image
    assert differences(files(docker, place), original.files()).keys() <= DOCKERS_OWN


def test_an_oci_image_of_another_client_comes_back_file_for_file(docker, login, registry, images, repository):
    place = f"{registry.registry}/{repository}:latest"
    to_here = ("--dest-tls-verify=false", f"--dest-creds=admin:{registry.admin_password}")
    succeed(needed("skopeo"), "copy", *to_here, layout_name(images.image), f"docker://{place}")

    said = succeed(*docker, "pull", place)

    assert images.image.digest in said
    assert image_id(docker, place) == images.image.manifest()["config"]["digest"]


def test_a_second_push_sends_nothing_and_another_repository_mounts(
    docker, login, registry, images, repository, tmp_path
):
    pushed(docker, registry, images.image, repository, tmp_path)
    place = f"{registry.registry}/{repository}"

    assert succeed(*docker, "push", f"{place}:latest").count("Layer already exists") == 3
    succeed(*docker, "tag", f"{place}:latest", f"{place}-copy:latest")
    assert succeed(*docker, "push", f"{place}-copy:latest").count("Mounted from") == 3

    assert registry.digests(f"{repository}-copy") == registry.digests(repository)


def test_all_tags_of_a_repository_are_pushed_and_pulled(docker, login, registry, images, repository, tmp_path):
    image = pushed(docker, registry, images.image, repository, tmp_path)
    place = f"{registry.registry}/{repository}"
    for tag in ("a", "b"):
        succeed(*docker, "tag", f"{place}:latest", f"{place}:{tag}")
    succeed(*docker, "push", "--all-tags", place)
    assert registry.tags(repository) == ["a", "b", "latest"]

    forget_images(docker)
    succeed(*docker, "pull", "--all-tags", place)

    assert {image_id(docker, f"{place}:{tag}") for tag in ("a", "b", "latest")} == {image}


def test_each_platform_of_an_index_is_pulled(docker, login, registry, images, repository):
    place = f"{registry.registry}/{repository}:latest"
    to_here = ("--all", "--dest-tls-verify=false", f"--dest-creds=admin:{registry.admin_password}")
    succeed(needed("skopeo"), "copy", *to_here, layout_name(images.index), f"docker://{place}")

    for entry in images.index.manifest()["manifests"]:
        succeed(*docker, "pull", f"--platform=linux/{entry['platform']['architecture']}", place)
        assert image_id(docker, place) == images.index.manifest(entry["digest"])["config"]["digest"]


def test_a_manifest_list_is_pushed_and_read(docker, login, registry, images, repository, tmp_path):
    pushed(docker, registry, images.image, repository, tmp_path)
    one, both = (f"{registry.registry}/{repository}:{tag}" for tag in ("latest", "both"))

    succeed(*docker, "manifest", "create", "--insecure", both, one)
    succeed(*docker, "manifest", "push", "--insecure", both)

    _, media_type, manifest = registry.manifest(repository, "both")
    assert media_type == "application/vnd.docker.distribution.manifest.list.v2+json"
    assert json.loads(succeed(*docker, "manifest", "inspect", "--insecure", both)) == manifest


def test_a_deleted_image_cannot_be_pulled(docker, login, registry, images, repository, tmp_path):
    pushed(docker, registry, images.image, repository, tmp_path)
    place = f"{registry.registry}/{repository}:latest"
    creds = f"--creds=admin:{registry.admin_password}"
    succeed(needed("skopeo"), "delete", "--tls-verify=false", creds, f"docker://{place}")

    assert "manifest unknown" in fail(*docker, "pull", place)


def test_only_a_public_repository_can_be_pulled_without_logging_in(
    docker, login, registry, images, repository, tmp_path
):
    image = pushed(docker, registry, images.image, repository, tmp_path)
    place = f"{registry.registry}/{repository}:latest"
    succeed(*docker, "logout", registry.registry)
    forget_images(docker)
    assert f"denied: log in to pull from {repository}" in fail(*docker, "pull", place)

    registry.publish(repository)

    succeed(*docker, "pull", place)
    assert image_id(docker, place) == image
    assert f"denied: log in to push to {repository}" in fail(*docker, "push", place)


def test_an_imported_tar_is_pushed_by_a_new_name(docker, login, registry, repository, tmp_path):
    with tarfile.open(tmp_path / "root.tar", "w") as tar:
        member = tarfile.TarInfo("file")
        member.size = len(repository)
        tar.addfile(member, io.BytesIO(repository.encode()))
    place = f"{registry.registry}/{repository}:latest"
    succeed(*docker, "import", tmp_path / "root.tar", place)

    succeed(*docker, "push", place)

    assert len(registry.manifest(repository, "latest")[2]["layers"]) == 1
