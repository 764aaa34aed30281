"""Who may read what without an account: what is public, and nothing else."""

import pytest

from oci.digests import Digest
from repositories.models import Repository
from tests.registry import Registry, challenge, refusal

LAYER = str(Digest.of(b"a layer"))


@pytest.fixture
def public(registry):
    registry.push_image("team/public", "v1")
    Repository.objects.update(visibility="public")
    registry.push_image("team/private", "v1")


def reads(client, name):
    """Statuses of everything that can be read."""
    paths = ("manifests/v1", f"blobs/{LAYER}", "tags/list", f"referrers/{LAYER}")
    return {client.ask("GET", f"/v2/{name}/{path}").status_code for path in paths}


@pytest.mark.usefixtures("public")
def test_everybody_may_read_what_is_public_with_an_anonymous_token(anonymous):
    assert reads(anonymous, "team/public") == {200}
    assert anonymous.pull_blob("team/public", LAYER).getvalue() == b"a layer"
    assert anonymous.ask("HEAD", f"/v2/team/public/blobs/{LAYER}").status_code == 200


@pytest.mark.usefixtures("public")
def test_nobody_may_read_anything_without_a_token(anonymous):
    answer = anonymous.once("GET", "/v2/team/public/manifests/v1", b"", "", {})
    assert refusal(answer) == (401, "UNAUTHORIZED")
    assert challenge(answer)["scope"] == "repository:team/public:pull"


@pytest.mark.usefixtures("public")
@pytest.mark.parametrize("by", ["bearer", "basic"])
def test_what_is_public_may_be_read_with_any_account(by, carol):
    client = Registry(carol.username, by)
    assert reads(client, "team/public") == {200}
    assert reads(client, "team/private") == {401 if by == "bearer" else 403}


@pytest.mark.usefixtures("public")
def test_what_is_private_or_absent_looks_the_same_to_strangers(anonymous, stranger):
    for client in (anonymous, stranger):
        assert reads(client, "team/private") == reads(client, "team/none") == {401}
        messages = [
            client.pull_manifest(name, "v1").json()["errors"][0]["message"].replace(name, "NAME")
            for name in ("team/private", "team/none")
        ]
        assert messages[0] == messages[1]


@pytest.mark.usefixtures("public")
def test_a_person_reads_why_the_anonymous_are_refused(anonymous):
    message = anonymous.pull_manifest("team/private", "v1").json()["errors"][0]["message"]
    assert "log in" in message


@pytest.mark.usefixtures("public")
@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_what_is_public_is_not_open_to_change(method, anonymous, stranger):
    for client in (anonymous, stranger):
        assert refusal(client.ask(method, "/v2/team/public/manifests/v1")) == (401, "DENIED")
        assert refusal(client.ask("POST", "/v2/team/public/blobs/uploads/")) == (401, "DENIED")


def test_a_repository_is_as_visible_as_the_setting_says_when_it_is_first_pushed_to(registry, anonymous, settings):
    registry.push_image("team/first", "v1")
    settings.REGISTRY_DEFAULT_VISIBILITY = "public"
    registry.push_image("team/second", "v1")
    registry.push_image("team/first", "v2")
    assert reads(anonymous, "team/first") == {401}
    assert reads(anonymous, "team/second") == {200}
