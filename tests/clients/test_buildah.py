from pathlib import Path

import pytest

from tests.clients.images import layout_name
from tests.clients.layouts import differences, files_of_directory
from tests.clients.programs import fail, needed, succeed

pytestmark = pytest.mark.clients

HERE = "--tls-verify=false"


@pytest.fixture
def buildah(tmp_path):
    return buildah_in(tmp_path / "first")


@pytest.fixture
def other(tmp_path):
    """Another one, with storage of its own: what it pulls comes from the registry and not from what the first has."""
    return buildah_in(tmp_path / "other")


def buildah_in(directory):
    return (needed("buildah"), "--storage-driver=vfs", "--root", directory / "storage", "--runroot", directory / "run")


@pytest.fixture
def login(buildah, registry):
    password = registry.admin_password
    succeed(*buildah, "login", HERE, "--username=admin", "--password-stdin", registry.registry, stdin=password)


def pushed(buildah, registry, layout, name, *options):
    """Returns the image's id. buildah compresses again what it pushes: what arrives may differ from the layout."""
    image = succeed(*buildah, "pull", "--quiet", layout_name(layout)).split()[-1]
    succeed(*buildah, "push", HERE, *options, image, f"docker://{registry.registry}/{name}:latest")
    return image


def files(buildah, image):
    container = succeed(*buildah, "from", "--pull-never", image).split()[-1]
    return files_of_directory(Path(succeed(*buildah, "mount", container).strip()))


def test_a_wrong_password_is_called_that(buildah, registry):
    said = fail(*buildah, "login", HERE, "--username=admin", "--password-stdin", registry.registry, stdin="wrong")
    assert "invalid username/password" in said


@pytest.mark.parametrize("format", ["oci", "v2s2"])
def test_what_is_pushed_comes_back_file_for_file(format, buildah, other, login, registry, images, repository):
    image = pushed(buildah, registry, images.image, repository, f"--format={format}")

    assert succeed(*other, "pull", "--quiet", HERE, f"{registry.registry}/{repository}:latest").split()[-1] == image
    assert f"sha256:{image}" in registry.digests(repository)
    assert not differences(files(other, image), images.image.files())


def test_an_image_is_built_on_one_that_the_registry_has(buildah, other, login, registry, images, repository, tmp_path):
    pushed(buildah, registry, images.image, repository)
    (tmp_path / "Containerfile").write_text(f"FROM {registry.registry}/{repository}:latest\nCOPY new /new\n")
    (tmp_path / "new").write_text("new")
    place = f"{registry.registry}/{repository}-on-it:latest"

    succeed(*other, "build", HERE, "--isolation=chroot", "--layers", "--tag", place, tmp_path)
    succeed(*other, "push", HERE, place)

    base, built = (registry.manifest(f"{repository}{suffix}", "latest")[2] for suffix in ("", "-on-it"))
    assert built["layers"][:-1] == base["layers"]
    assert not differences(files(other, place), images.image.files() | {"new": files_of_directory(tmp_path)["new"]})


def test_an_index_of_two_platforms_is_pushed(buildah, login, registry, images, repository):
    succeed(*buildah, "manifest", "create", "localhost/both")
    succeed(*buildah, "manifest", "add", "--all", "localhost/both", layout_name(images.index))

    target = f"docker://{registry.registry}/{repository}:latest"
    succeed(*buildah, "manifest", "push", "--all", HERE, "localhost/both", target)

    entries = registry.manifest(repository, "latest")[2]["manifests"]
    assert {entry["platform"]["architecture"] for entry in entries} == {"amd64", "arm64"}
    assert {entry["digest"] for entry in entries} < images.index.digests()
    assert len(registry.digests(repository)) == len(images.index.digests())


def test_only_a_public_repository_can_be_pulled_without_logging_in(buildah, other, login, registry, images, repository):
    image = pushed(buildah, registry, images.image, repository)
    succeed(*buildah, "logout", registry.registry)
    said = fail(*buildah, "pull", HERE, f"{registry.registry}/{repository}:latest")
    assert f"denied: log in to pull from {repository}" in said

    registry.publish(repository)

    assert succeed(*buildah, "pull", "--quiet", HERE, f"{registry.registry}/{repository}:latest").split()[-1] == image
    said = fail(*buildah, "push", HERE, image, f"docker://{registry.registry}/{repository}:other")
    assert f"denied: log in to push to {repository}" in said
