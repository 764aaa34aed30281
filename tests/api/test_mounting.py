"""POST with `mount`: a blob that the caller may read elsewhere is linked here, and else an upload begins; nothing in
between tells whether it exists."""

import pytest

from layers.models import Blob, Layer
from oci.digests import Digest
from repositories.models import Repository
from tests.registry import Registry, refusal, unnumbered

CONTENT = b"a shared layer"
DIGEST = str(Digest.of(CONTENT))
UNKNOWN = str(Digest.of(b"never pushed"))
BOTH = "repository:team/app:pull,push repository:team/base:pull"


@pytest.fixture
def base(registry):
    """A private repository that has the blob."""
    registry.push_blob("team/base", CONTENT)
    return Repository.objects.get(name="team/base")


@pytest.fixture
def narrow(registry, alice, base):
    """A client whose token holds only what the challenge named: nothing of the source."""
    return Registry(alice.username)


@pytest.fixture
def wide(alice, base):
    """A client that fetched its token for the source too, as docker does."""
    client = Registry(alice.username)
    client.scope = BOTH
    client.tokens[BOTH] = client.token(*BOTH.split())
    return client


def mount(client, query, body=b""):
    return client.ask("POST", f"/v2/team/app/blobs/uploads/?{query}", body)


def is_mounted(answer, digest=DIGEST):
    assert answer.status_code == 201, answer.content
    assert answer["Location"] == f"/v2/team/app/blobs/{digest}"
    assert answer["Docker-Content-Digest"] == digest
    return True


def is_an_upload(client, answer):
    """One like any other, that a blob can be pushed with."""
    assert (answer.status_code, answer.content) == (202, b"")
    assert answer["Location"] == f"/v2/team/app/blobs/uploads/{answer['Docker-Upload-UUID']}"
    assert answer["Range"] == "0-0"
    assert not Layer.objects.filter(repository__name="team/app").exists()
    digest = Digest.of(b"pushed after all")
    assert client.ask("PUT", f"{answer['Location']}?digest={digest}", b"pushed after all").status_code == 201
    return True


def test_a_blob_of_a_repository_that_the_token_may_pull_from_is_mounted(wide, puller):
    assert is_mounted(mount(wide, f"mount={DIGEST}&from=team/base"))
    assert puller.pull_blob("team/app", DIGEST).getvalue() == CONTENT
    assert Blob.objects.count() == 1


def test_with_a_password_all_that_its_user_may_pull_counts(alice, base, puller):
    assert is_mounted(mount(Registry(alice.username, by="basic"), f"mount={DIGEST}&from=team/base"))
    assert puller.has_blob("team/app", DIGEST)


def test_a_public_source_is_readable_by_any_credential(narrow, base):
    base.visibility = "public"
    base.save()
    assert is_mounted(mount(narrow, f"mount={DIGEST}&from=team/base"))


def test_without_a_source_any_that_the_caller_may_read_will_do(wide):
    assert is_mounted(mount(wide, f"mount={DIGEST}"))


def test_without_a_source_what_the_caller_may_not_read_is_not_found(narrow):
    assert is_an_upload(narrow, mount(narrow, f"mount={DIGEST}"))


def test_a_source_that_the_credential_may_not_pull_from_gives_an_upload(narrow):
    assert is_an_upload(narrow, mount(narrow, f"mount={DIGEST}&from=team/base"))


def test_an_unknown_blob_gives_an_upload(wide):
    assert is_an_upload(wide, mount(wide, f"mount={UNKNOWN}&from=team/base"))


@pytest.mark.parametrize("source", ["team/none", "", "NOT/a/name", "%00", "a" * 5000, "..", "team/other"])
def test_a_source_that_is_unknown_or_no_name_at_all_gives_an_upload(source, wide):
    assert is_an_upload(wide, mount(wide, f"mount={DIGEST}&from={source}"))


def test_an_answer_never_tells_whether_the_blob_exists(narrow):
    def shape(digest):
        answer = mount(narrow, f"mount={digest}&from=team/base")
        upload_id = answer["Docker-Upload-UUID"]
        headers = {name: value.replace(upload_id, "ID") for name, value in unnumbered(answer).items()}
        return answer.status_code, headers, answer.content

    assert shape(DIGEST) == shape(UNKNOWN)


def test_another_source_than_the_one_that_has_it_gives_an_upload(registry, alice, base):
    registry.push_blob("team/empty", b"not that one")
    assert is_an_upload(registry, mount(Registry(alice.username, by="basic"), f"mount={DIGEST}&from=team/empty"))


def test_a_damaged_blob_is_not_mounted(wide):
    Blob.objects.update(damaged_at="2026-01-01T00:00:00Z")
    assert is_an_upload(wide, mount(wide, f"mount={DIGEST}&from=team/base"))


@pytest.mark.parametrize(
    "digest", ["", "latest", "sha256:abc", "sha256:" + "0" * 5000, "md5:0", "%00", "tarsum.v1%2Bsha256:" + "0" * 64]
)
def test_a_malformed_digest_is_refused(digest, wide):
    assert refusal(mount(wide, f"mount={digest}&from=team/base")) == (400, "DIGEST_INVALID")


def test_a_mount_from_the_repository_itself_works(registry):
    registry.push_blob("team/app", CONTENT)
    assert is_mounted(mount(registry, f"mount={DIGEST}&from=team/app"))


def test_a_mount_that_comes_to_nothing_may_be_for_sha512(wide, puller):
    digest = Digest.of(CONTENT, "sha512")
    answer = mount(wide, f"mount={digest}&from=team/base&digest-algorithm=sha512")
    assert answer.status_code == 202
    assert wide.ask("PUT", f"{answer['Location']}?digest={digest}", CONTENT).status_code == 201
    assert is_mounted(mount(wide, f"mount={digest}"), str(digest))


def test_a_mounted_blob_gets_a_grace_and_outlives_its_source(wide, owner, puller):
    assert is_mounted(mount(wide, f"mount={DIGEST}&from=team/base"))
    assert owner.ask("DELETE", f"/v2/team/base/blobs/{DIGEST}").status_code == 202
    assert puller.pull_blob("team/app", DIGEST).getvalue() == CONTENT
    assert Layer.objects.get(repository__name="team/app").due_at is not None


def test_a_mount_that_comes_to_nothing_makes_no_repository_visible(wide, owner):
    mount(wide, f"mount={UNKNOWN}&from=team/base")
    assert owner.ask("GET", "/v2/_catalog").json() == {"repositories": ["team/base"]}
