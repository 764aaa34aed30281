import pytest

from tests.clients.layouts import Layout, digest_of
from tests.clients.programs import fail, needed, succeed

pytestmark = pytest.mark.clients


@pytest.fixture
def crane():
    return (needed("crane"), "--insecure")


@pytest.fixture
def login(crane, registry):
    logged_in(crane, registry, registry.admin_password)


def logged_in(crane, registry, password):
    succeed(*crane, "auth", "login", "--username=admin", "--password-stdin", registry.registry, stdin=password)


def pushed(crane, registry, layout, name):
    succeed(*crane, "push", layout.path, f"{registry.registry}/{name}:latest")


def pulled(crane, registry, name, directory):
    succeed(*crane, "pull", "--format=oci", f"{registry.registry}/{name}:latest", directory / "pulled")
    return Layout(directory / "pulled", "latest")


def test_a_wrong_password_is_called_that(crane, registry, images, repository):
    logged_in(crane, registry, "wrong")  # crane only writes it down
    said = fail(*crane, "push", images.image.path, f"{registry.registry}/{repository}:latest")
    assert "wrong user name or password" in said


@pytest.mark.parametrize("kind", ["image", "zstd", "debian"])
def test_what_is_pushed_comes_back_byte_for_byte(kind, crane, login, registry, images, repository, tmp_path):
    original = getattr(images, kind)

    pushed(crane, registry, original, repository)

    assert registry.digests(repository) == original.digests()
    assert pulled(crane, registry, repository, tmp_path).digests() == original.digests()


def test_what_is_pushed_is_valid_for_crane(crane, login, registry, images, repository):
    pushed(crane, registry, images.image, repository)

    assert "PASS" in succeed(*crane, "validate", "--remote", f"{registry.registry}/{repository}:latest")


def test_an_index_of_two_platforms_comes_back_byte_for_byte(crane, login, registry, images, repository, tmp_path):
    succeed(*crane, "push", "--index", images.index.path, f"{registry.registry}/{repository}:latest")

    assert images.index.digests() <= registry.digests(repository)  # crane makes an index of its own around it
    assert pulled(crane, registry, repository, tmp_path).digests() == registry.digests(repository)


def test_one_platform_of_an_index_can_be_pulled(crane, login, registry, images, repository):
    succeed(*crane, "push", "--index", images.index.path, f"{registry.registry}/{repository}:latest")

    place = f"{registry.registry}/{repository}@{images.index.digest}"
    found = succeed(*crane, "digest", "--platform=linux/arm64", place).strip()

    entries = images.index.manifest()["manifests"]
    assert [found] == [entry["digest"] for entry in entries if entry["platform"]["architecture"] == "arm64"]


def test_a_manifest_and_a_blob_are_read_by_digest(crane, login, registry, images, repository):
    pushed(crane, registry, images.image, repository)
    place, blob = f"{registry.registry}/{repository}", images.image.manifest()["config"]["digest"]

    manifest = succeed(*crane, "manifest", f"{place}@{images.image.digest}")
    assert digest_of(manifest.encode()) == images.image.digest
    assert digest_of(succeed(*crane, "blob", f"{place}@{blob}").encode()) == blob


def test_a_copy_to_another_repository_mounts_every_layer(crane, login, registry, images, repository):
    pushed(crane, registry, images.debian, repository)

    said = succeed(*crane, "copy", *(f"{registry.registry}/{repository}{suffix}:latest" for suffix in ("", "-copy")))

    assert said.count("mounted blob") == 3
    assert registry.digests(f"{repository}-copy") == images.debian.digests()


def test_repositories_and_tags_are_listed(crane, login, registry, images, repository):
    pushed(crane, registry, images.image, repository)
    succeed(*crane, "tag", f"{registry.registry}/{repository}:latest", "again")

    assert succeed(*crane, "ls", f"{registry.registry}/{repository}").split() == ["again", "latest"]
    assert repository in succeed(*crane, "catalog", registry.registry).split()


def test_a_deleted_tag_leaves_the_image_and_a_deleted_image_is_gone(crane, login, registry, images, repository):
    pushed(crane, registry, images.image, repository)

    succeed(*crane, "delete", f"{registry.registry}/{repository}:latest")
    assert registry.tags(repository) == []
    assert registry.has(repository, images.image.digest)

    succeed(*crane, "delete", f"{registry.registry}/{repository}@{images.image.digest}")
    said = fail(*crane, "manifest", f"{registry.registry}/{repository}@{images.image.digest}")
    assert "MANIFEST_UNKNOWN" in said


def test_only_a_public_repository_can_be_pulled_without_logging_in(
    crane, login, registry, images, repository, tmp_path
):
    pushed(crane, registry, images.image, repository)
    succeed(*crane, "auth", "logout", registry.registry)
    assert f"log in to pull from {repository}" in fail(
        *crane, "pull", f"{registry.registry}/{repository}:latest", tmp_path / "refused"
    )

    registry.publish(repository)

    assert pulled(crane, registry, repository, tmp_path).digests() == images.image.digests()
    said = fail(*crane, "tag", f"{registry.registry}/{repository}:latest", "other")
    assert f"log in to push to {repository}" in said
