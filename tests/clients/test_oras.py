import json

import pytest

from tests.clients.layouts import Layout
from tests.clients.programs import fail, needed, succeed

pytestmark = pytest.mark.clients

TO_HERE, FROM_HERE, HERE = "--to-plain-http", "--from-plain-http", "--plain-http"


@pytest.fixture
def oras():
    return needed("oras")


@pytest.fixture
def login(oras, registry):
    password = registry.admin_password
    succeed(oras, "login", HERE, "--username=admin", "--password-stdin", registry.registry, stdin=password)


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """oras names files as they were given, and takes only relative ones."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pushed(oras, registry, layout, name):
    succeed(
        oras, "cp", TO_HERE, "--from-oci-layout", f"{layout.path}:{layout.tag}", f"{registry.registry}/{name}:latest"
    )


def pulled(oras, registry, name, directory):
    target = f"{directory / 'pulled'}:latest"
    succeed(oras, "cp", FROM_HERE, "--to-oci-layout", f"{registry.registry}/{name}:latest", target)
    return Layout(directory / "pulled", "latest")


def test_a_wrong_password_is_called_that(oras, registry):
    said = fail(oras, "login", HERE, "--username=admin", "--password-stdin", registry.registry, stdin="wrong")
    assert "unauthorized: wrong user name or password" in said


@pytest.mark.parametrize("kind", ["image", "zstd", "index", "debian"])
def test_what_is_pushed_comes_back_byte_for_byte(kind, oras, login, registry, images, repository, tmp_path):
    original = getattr(images, kind)

    pushed(oras, registry, original, repository)

    assert registry.digests(repository) == original.digests()
    copy = pulled(oras, registry, repository, tmp_path)
    assert copy.digest == original.digest
    assert copy.digests() == original.digests()


def test_one_platform_of_an_index_can_be_pulled(oras, login, registry, images, repository):
    pushed(oras, registry, images.index, repository)

    place = f"{registry.registry}/{repository}:latest"
    described = json.loads(succeed(oras, "manifest", "fetch", HERE, "--descriptor", "--platform=linux/arm64", place))

    entries = images.index.manifest()["manifests"]
    assert [described["digest"]] == [e["digest"] for e in entries if e["platform"]["architecture"] == "arm64"]


def test_a_copy_to_another_repository_mounts_every_layer(oras, login, registry, images, repository):
    pushed(oras, registry, images.debian, repository)

    source, target = (f"{registry.registry}/{repository}{suffix}:latest" for suffix in ("", "-copy"))
    said = succeed(oras, "cp", FROM_HERE, TO_HERE, source, target)

    assert said.count("Mounted") == 3
    assert registry.digests(f"{repository}-copy") == images.debian.digests()


def test_what_is_attached_to_an_image_is_discovered(oras, login, registry, images, repository, workplace):
    pushed(oras, registry, images.image, repository)
    place = f"{registry.registry}/{repository}:latest"
    (workplace / "sbom.json").write_text("{}")
    (workplace / "signature").write_text("signed")

    kind = "--artifact-type=application/vnd.example."
    succeed(oras, "attach", HERE, f"{kind}sbom", "--annotation=by=us", place, "sbom.json:application/json")
    succeed(oras, "attach", HERE, f"{kind}signature", place, "signature:text/plain")

    found = json.loads(succeed(oras, "discover", HERE, "--format=json", place))["referrers"]
    assert {entry["artifactType"] for entry in found} == {
        "application/vnd.example.sbom",
        "application/vnd.example.signature",
    }
    found = json.loads(succeed(oras, "discover", HERE, "--format=json", f"{kind}sbom", place))["referrers"]
    assert [entry["annotations"]["by"] for entry in found] == ["us"]


def test_a_copy_with_all_that_refers_to_the_image_takes_it_along(oras, login, registry, images, repository, workplace):
    pushed(oras, registry, images.image, repository)
    source, target = (f"{registry.registry}/{repository}{suffix}:latest" for suffix in ("", "-copy"))
    (workplace / "sbom.json").write_text("{}")
    succeed(oras, "attach", HERE, "--artifact-type=application/vnd.example.sbom", source, "sbom.json:application/json")

    succeed(oras, "cp", "--recursive", FROM_HERE, TO_HERE, source, target)

    found = json.loads(succeed(oras, "discover", HERE, "--format=json", target))["referrers"]
    assert [entry["artifactType"] for entry in found] == ["application/vnd.example.sbom"]


def test_a_deleted_attachment_is_not_discovered_any_more(oras, login, registry, images, repository, workplace):
    pushed(oras, registry, images.image, repository)
    place = f"{registry.registry}/{repository}"
    (workplace / "sbom.json").write_text("{}")
    attach = ("attach", HERE, "--artifact-type=application/vnd.example.sbom", "--format=json")
    attached = json.loads(succeed(oras, *attach, f"{place}:latest", "sbom.json:application/json"))

    succeed(oras, "manifest", "delete", HERE, "--force", attached["reference"])

    found = json.loads(succeed(oras, "discover", HERE, "--format=json", f"{place}:latest"))["referrers"]
    assert found == []


def test_a_helm_chart_comes_back_as_it_was(oras, login, registry, repository, workplace):
    (workplace / "config.json").write_text('{"name": "chart", "version": "1.0.0"}')
    (workplace / "chart.tgz").write_bytes(bytes(range(256)) * 1000)
    place, helm = f"{registry.registry}/{repository}:1.0.0", "application/vnd.cncf.helm"
    config, chart = f"config.json:{helm}.config.v1+json", f"chart.tgz:{helm}.chart.content.v1.tar+gzip"

    succeed(oras, "push", HERE, place, "--config", config, chart)
    succeed(oras, "pull", HERE, place, "--output", "pulled", "--config", "config.json")

    for name in ("config.json", "chart.tgz"):
        assert (workplace / "pulled" / name).read_bytes() == (workplace / name).read_bytes()


def test_an_artifact_with_a_type_and_no_configuration_comes_back_as_it_was(
    oras, login, registry, repository, workplace
):
    (workplace / "model").write_bytes(bytes(range(256)) * 10_000)
    place = f"{registry.registry}/{repository}:latest"

    succeed(oras, "push", HERE, "--artifact-type=application/vnd.example.model", place, "model")
    succeed(oras, "pull", HERE, place, "--output", "pulled")

    assert registry.manifest(repository, "latest")[2]["artifactType"] == "application/vnd.example.model"
    assert (workplace / "pulled" / "model").read_bytes() == (workplace / "model").read_bytes()


def test_repositories_and_tags_are_listed(oras, login, registry, images, repository):
    pushed(oras, registry, images.image, repository)
    succeed(oras, "tag", HERE, f"{registry.registry}/{repository}:latest", "again", "more")

    listed = succeed(oras, "repo", "tags", HERE, f"{registry.registry}/{repository}").split()
    assert listed == ["again", "latest", "more"]
    assert repository in succeed(oras, "repo", "ls", HERE, registry.registry).split()


def test_a_blob_that_a_manifest_still_names_is_deleted_with_a_warning(oras, login, registry, images, repository):
    pushed(oras, registry, images.image, repository)
    config = images.image.manifest()["config"]["digest"]

    said = succeed(oras, "blob", "delete", HERE, "--force", f"{registry.registry}/{repository}@{config}")

    assert "a manifest of this repository still names this blob" in said
    assert "not found" in fail(oras, "blob", "fetch", HERE, "--output=-", f"{registry.registry}/{repository}@{config}")


def test_only_a_public_repository_can_be_pulled_without_logging_in(
    oras, login, registry, images, repository, workplace
):
    pushed(oras, registry, images.image, repository)
    place = f"{registry.registry}/{repository}:latest"
    succeed(oras, "logout", registry.registry)
    assert f"denied: log in to pull from {repository}" in fail(oras, "manifest", "fetch", HERE, place)

    registry.publish(repository)

    assert pulled(oras, registry, repository, workplace).digests() == images.image.digests()
    assert f"denied: log in to push to {repository}" in fail(oras, "tag", HERE, place, "other")
