import json
from pathlib import Path

import pytest

from tests.clients.images import layout_name
from tests.clients.layouts import differences, files_of_directory
from tests.clients.programs import fail, needed, succeed

pytestmark = pytest.mark.clients

HERE = "--tls-verify=false"


@pytest.fixture
def podman(short_path):
    return podman_in(short_path / "first")


@pytest.fixture
def other(short_path):
    """Another one, with storage of its own: what it pulls comes from the registry and not from what the first has."""
    return podman_in(short_path / "other")


def podman_in(directory):
    places = ("--root", directory / "storage", "--runroot", directory / "run", "--tmpdir", directory / "tmp")
    return (needed("podman"), "--storage-driver=vfs", *places)


@pytest.fixture
def login(podman, registry):
    password = registry.admin_password
    succeed(*podman, "login", HERE, "--username=admin", "--password-stdin", registry.registry, stdin=password)


def pushed(podman, registry, layout, name, *options):
    """Returns the image's id. podman compresses again what it pushes: what arrives may differ from the layout."""
    image = succeed(*podman, "pull", "--quiet", layout_name(layout)).split()[-1]
    succeed(*podman, "push", HERE, *options, image, f"{registry.registry}/{name}:latest")
    return image


def pulled(podman, registry, name, *options):
    return succeed(*podman, "pull", "--quiet", HERE, *options, f"{registry.registry}/{name}:latest").split()[-1]


def files(podman, image):
    return files_of_directory(Path(succeed(*podman, "image", "mount", image).strip()))


def test_a_wrong_password_is_called_that(podman, registry):
    said = fail(*podman, "login", HERE, "--username=admin", "--password-stdin", registry.registry, stdin="wrong")
    assert "invalid username/password" in said


@pytest.mark.parametrize("kind", ["image", "debian"])
def test_what_is_pushed_comes_back_file_for_file(kind, podman, other, login, registry, images, repository):
    original = getattr(images, kind)

    image = pushed(podman, registry, original, repository)

    assert pulled(other, registry, repository) == image
    assert f"sha256:{image}" in registry.digests(repository)
    assert not differences(files(other, image), original.files())


def test_zstd_layers_come_back_file_for_file(podman, login, registry, images, repository):
    succeed(
        *(needed("skopeo"), "copy", "--dest-tls-verify=false", layout_name(images.zstd)),
        f"docker://{registry.registry}/{repository}:latest",
    )

    image = pulled(podman, registry, repository)

    assert not differences(files(podman, image), images.zstd.files())


def test_podman_itself_pushes_zstd_layers(podman, other, login, registry, repository, tmp_path):
    (tmp_path / "Containerfile").write_text("FROM scratch\nCOPY new /new\n")
    (tmp_path / "new").write_bytes(repository.encode() * 10_000)  # nothing that podman knows as gzip already
    succeed(*podman, "build", "--isolation=chroot", "--tag=localhost/new", tmp_path)

    succeed(
        *podman, "push", HERE, "--compression-format=zstd", "localhost/new", f"{registry.registry}/{repository}:latest"
    )

    layers = registry.manifest(repository, "latest")[2]["layers"]
    assert [layer["mediaType"] for layer in layers] == ["application/vnd.oci.image.layer.v1.tar+zstd"]
    assert files(other, pulled(other, registry, repository))["new"] == files_of_directory(tmp_path)["new"]


def test_a_docker_schema2_image_comes_back_file_for_file(podman, other, login, registry, images, repository):
    pushed(podman, registry, images.image, repository, "--format=v2s2")

    assert registry.manifest(repository, "latest")[1] == "application/vnd.docker.distribution.manifest.v2+json"
    assert not differences(files(other, pulled(other, registry, repository)), images.image.files())


def test_an_index_is_pushed_and_each_platform_pulled(podman, login, registry, images, repository, short_path):
    succeed(*podman, "manifest", "create", "localhost/both")
    succeed(*podman, "manifest", "add", "--all", "localhost/both", layout_name(images.index))

    target = f"docker://{registry.registry}/{repository}:latest"
    succeed(*podman, "manifest", "push", "--all", HERE, "localhost/both", target)

    entries = registry.manifest(repository, "latest")[2]["manifests"]
    assert {entry["platform"]["architecture"] for entry in entries} == {"amd64", "arm64"}
    for entry in entries:
        other = podman_in(short_path / entry["platform"]["architecture"])
        image = pulled(other, registry, repository, f"--platform=linux/{entry['platform']['architecture']}")
        assert not differences(files(other, image), images.index.files(entry["digest"]))


def test_tags_are_listed(podman, login, registry, images, repository):
    image = pushed(podman, registry, images.image, repository)
    succeed(*podman, "push", HERE, image, f"{registry.registry}/{repository}:again")

    place = f"{registry.registry}/{repository}"
    listed = json.loads(succeed(*podman, "search", HERE, "--list-tags", "--format=json", place))
    assert listed == [{"Name": place, "Tags": ["again", "latest"]}]


def test_an_image_is_pushed_again_and_to_another_repository(podman, login, registry, images, repository):
    image = pushed(podman, registry, images.image, repository)

    succeed(*podman, "push", HERE, image, f"{registry.registry}/{repository}:latest")
    succeed(*podman, "push", HERE, image, f"{registry.registry}/{repository}-copy:latest")

    assert registry.digests(f"{repository}-copy") == registry.digests(repository)


def test_a_deleted_image_cannot_be_pulled(podman, login, registry, images, repository):
    pushed(podman, registry, images.image, repository)
    succeed(needed("skopeo"), "delete", HERE, f"docker://{registry.registry}/{repository}:latest")

    assert "manifest unknown" in fail(*podman, "pull", HERE, f"{registry.registry}/{repository}:latest")


def test_only_a_public_repository_can_be_pulled_without_logging_in(podman, other, login, registry, images, repository):
    image = pushed(podman, registry, images.image, repository)
    succeed(*podman, "logout", registry.registry)
    said = fail(*podman, "pull", HERE, f"{registry.registry}/{repository}:latest")
    assert f"denied: log in to pull from {repository}" in said

    registry.publish(repository)

    assert pulled(podman, registry, repository) == image
    said = fail(*podman, "push", HERE, image, f"{registry.registry}/{repository}:other")
    assert f"denied: log in to push to {repository}" in said
