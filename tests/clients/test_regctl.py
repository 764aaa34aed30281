import pytest

from tests.clients.layouts import Layout
from tests.clients.programs import fail, needed, succeed

pytestmark = pytest.mark.clients


@pytest.fixture
def regctl(registry):
    return (needed("regctl"), "--verbosity=error", "--host", f"reg={registry.registry},tls=disabled")


@pytest.fixture
def login(regctl, registry):
    logged_in = ("registry", "login", "--user=admin", "--pass-stdin", registry.registry)
    succeed(*regctl, *logged_in, stdin=str(registry.admin_password))


def pushed(regctl, registry, layout, name):
    succeed(*regctl, "image", "copy", f"ocidir://{layout.path}:{layout.tag}", f"{registry.registry}/{name}:latest")


def pulled(regctl, registry, name, directory):
    succeed(*regctl, "image", "copy", f"{registry.registry}/{name}:latest", f"ocidir://{directory / 'pulled'}:latest")
    return Layout(directory / "pulled", "latest")


def test_a_wrong_password_is_called_that(regctl, registry):
    said = fail(*regctl, "registry", "login", "--user=admin", "--pass-stdin", registry.registry, stdin="wrong")
    assert "unauthorized" in said


@pytest.mark.parametrize("kind", ["image", "zstd", "index", "debian"])
def test_what_is_pushed_comes_back_byte_for_byte(kind, regctl, login, registry, images, repository, tmp_path):
    original = getattr(images, kind)

    pushed(regctl, registry, original, repository)

    assert registry.digests(repository) == original.digests()
    copy = pulled(regctl, registry, repository, tmp_path)
    assert copy.digest == original.digest
    assert copy.digests() == original.digests()


def test_a_large_layer_is_pushed_in_chunks(regctl, login, registry, images, repository):
    chunked = f"reg={registry.registry},tls=disabled,blobChunk=1000000,blobMax=1000000"

    source, target = f"ocidir://{images.debian.path}:latest", f"{registry.registry}/{repository}:latest"
    succeed(*regctl[:-1], chunked, "image", "copy", source, target)

    assert registry.digests(repository) == images.debian.digests()


def test_an_image_is_copied_to_another_repository(regctl, login, registry, images, repository):
    pushed(regctl, registry, images.index, repository)

    source, target = (f"{registry.registry}/{repository}{suffix}:latest" for suffix in ("", "-copy"))
    succeed(*regctl, "image", "copy", source, target)

    assert registry.digests(f"{repository}-copy") == images.index.digests()


def test_an_artifact_with_a_subject_is_found_and_comes_back_as_it_was(regctl, login, registry, images, repository):
    pushed(regctl, registry, images.image, repository)
    place, kind = f"{registry.registry}/{repository}:latest", "application/vnd.example.signature"

    put = ("artifact", "put", f"--artifact-type={kind}", f"--subject={place}")
    succeed(*regctl, *put, stdin="signed")

    assert kind in succeed(*regctl, "artifact", "tree", place)
    found = succeed(*regctl, "artifact", "list", place, "--format={{range .Descriptors}}{{.ArtifactType}}{{end}}")
    assert found.strip() == kind
    assert succeed(*regctl, "artifact", "get", f"--subject={place}", f"--filter-artifact-type={kind}") == "signed"


def test_an_index_is_made_of_images_that_are_there(regctl, login, registry, images, repository):
    pushed(regctl, registry, images.index, repository)
    place = f"{registry.registry}/{repository}"
    children = [entry["digest"] for entry in images.index.manifest()["manifests"]]

    succeed(*regctl, "index", "create", f"{place}:made", *(f"--ref={place}@{child}" for child in children))

    made = registry.manifest(repository, "made")[2]
    assert {entry["digest"] for entry in made["manifests"]} == set(children)


def test_repositories_and_tags_are_listed_page_by_page(regctl, login, registry, images, repository):
    pushed(regctl, registry, images.image, repository)
    place = f"{registry.registry}/{repository}"
    for tag in ("a", "b", "c"):
        succeed(*regctl, "image", "copy", f"{place}:latest", f"{place}:{tag}")

    assert succeed(*regctl, "tag", "ls", place).split() == ["a", "b", "c", "latest"]
    assert succeed(*regctl, "tag", "ls", "--limit=2", place).split() == ["a", "b"]
    assert succeed(*regctl, "tag", "ls", "--limit=2", "--last=b", place).split() == ["c", "latest"]
    assert repository in succeed(*regctl, "repo", "ls", registry.registry).split()


def test_a_deleted_tag_leaves_the_image_and_a_deleted_image_is_gone(regctl, login, registry, images, repository):
    pushed(regctl, registry, images.image, repository)
    place = f"{registry.registry}/{repository}"

    succeed(*regctl, "tag", "rm", f"{place}:latest")
    assert registry.tags(repository) == []
    assert registry.has(repository, images.image.digest)

    succeed(*regctl, "manifest", "delete", f"{place}@{images.image.digest}")
    assert "MANIFEST_UNKNOWN" in fail(*regctl, "manifest", "get", f"{place}@{images.image.digest}")


def test_only_a_public_repository_can_be_pulled_without_logging_in(
    regctl, login, registry, images, repository, tmp_path
):
    pushed(regctl, registry, images.image, repository)
    place = f"{registry.registry}/{repository}:latest"
    succeed(*regctl, "registry", "logout", registry.registry)
    assert "unauthorized" in fail(*regctl, "manifest", "get", place)

    registry.publish(repository)

    assert pulled(regctl, registry, repository, tmp_path).digests() == images.image.digests()
    assert "unauthorized" in fail(*regctl, "image", "copy", place, f"{registry.registry}/{repository}:other")
