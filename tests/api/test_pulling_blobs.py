"""GET and HEAD of a blob: whole, in part, not at all, and only through its repository's own link."""

from datetime import timedelta

import pytest
from django.utils.timezone import now

from layers.models import Blob, Layer
from oci.digests import Digest
from storage.driver import blobs
from tests.images import image
from tests.registry import Registry, refusal, unnumbered

CONTENT = bytes(range(256)) * 40  # 10,240 bytes
SIZE = len(CONTENT)
HUGE = "9" * 5000


@pytest.fixture
def digest(registry):
    return registry.push_blob("team/app", CONTENT)


def test_a_blob_comes_whole_with_headers_that_let_everybody_keep_it(puller, digest):
    answer = puller.pull_blob("team/app", digest)
    assert answer.status_code == 200
    assert answer.getvalue() == CONTENT
    assert answer["Content-Length"] == str(SIZE)
    assert answer["Content-Type"] == "application/octet-stream"
    assert answer["Docker-Content-Digest"] == digest
    assert answer["Accept-Ranges"] == "bytes"
    assert answer["ETag"] == f'"{digest}"'
    assert "Content-Range" not in answer.headers
    caching = answer["Cache-Control"].split(", ")
    assert "private" in caching
    assert "immutable" in caching
    assert int(next(word for word in caching if word.startswith("max-age=")).removeprefix("max-age=")) >= 86400 * 30


@pytest.mark.parametrize("by", ["bearer", "basic"])
def test_head_says_what_get_says_without_the_bytes(by, puller, bob, digest):
    client = Registry(bob.username, by)
    head, get = client.ask("HEAD", f"/v2/team/app/blobs/{digest}"), client.pull_blob("team/app", digest)
    assert head.status_code == 200
    assert head.content == b""
    assert unnumbered(head) == unnumbered(get)


def test_a_blob_of_no_bytes_can_be_pulled(registry, puller):
    digest = registry.push_blob("team/app", b"")
    answer = puller.pull_blob("team/app", digest)
    assert (answer.status_code, answer.getvalue(), answer["Content-Length"]) == (200, b"", "0")
    assert puller.ask("HEAD", f"/v2/team/app/blobs/{digest}")["Content-Length"] == "0"
    assert refusal(puller.pull_blob("team/app", digest, Range="bytes=0-0")) == (416, "SIZE_INVALID")


def test_a_blob_answers_only_to_the_digest_it_was_pushed_under(registry, puller, digest):
    other = str(Digest.of(CONTENT, "sha512"))
    assert refusal(puller.pull_blob("team/app", other)) == (404, "BLOB_UNKNOWN")
    registry.push_blob("team/app", CONTENT, "sha512")
    assert puller.pull_blob("team/app", other)["Docker-Content-Digest"] == other
    assert puller.pull_blob("team/app", digest)["Docker-Content-Digest"] == digest


@pytest.mark.parametrize(
    "text",
    [
        "latest",
        "sha256:",
        "sha256:abc",
        f"sha256:{'A' * 64}",
        f"sha256:{'0' * 65}",
        f"sha512:{'0' * 64}",
        f"md5:{'0' * 32}",
        f"SHA256:{'0' * 64}",
        f"sha256:{'0' * 63}%00",
        f"sha256:{'0' * 64}%0a",
        "sha256:" + "0" * 5000,
    ],
)
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_malformed_digest_is_refused_as_one(method, text, owner):
    assert refusal(owner.ask(method, f"/v2/team/app/blobs/{text}")) == (400, "DIGEST_INVALID")
    assert owner.ask("HEAD", f"/v2/team/app/blobs/{text}").status_code == 400


@pytest.mark.parametrize("name", ["team/app", "team/none"])
def test_a_blob_that_is_not_there_is_unknown(name, puller, digest):
    unknown = f"sha256:{'0' * 64}"
    assert refusal(puller.pull_blob(name, unknown)) == (404, "BLOB_UNKNOWN")
    head = puller.ask("HEAD", f"/v2/{name}/blobs/{unknown}")
    assert (head.status_code, head.content) == (404, b"")


# --- Through the repository's link only -------------------------------------------------------------------------------


def test_a_blob_is_visible_only_in_repositories_that_link_it(registry, puller, digest):
    registry.push_blob("team/other", b"something else")
    assert puller.has_blob("team/app", digest)
    assert not puller.has_blob("team/other", digest)


def test_deleting_a_blob_here_leaves_it_there(registry, owner, puller, digest):
    registry.push_blob("team/other", CONTENT)
    assert owner.ask("DELETE", f"/v2/team/app/blobs/{digest}").status_code == 202
    assert not puller.has_blob("team/app", digest)
    assert puller.pull_blob("team/other", digest).getvalue() == CONTENT


# --- Parts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-99", 0, 100),
        ("bytes=100-199", 100, 200),
        ("bytes=10000-", 10000, SIZE),
        ("bytes=0-", 0, SIZE),
        (f"bytes={SIZE - 1}-", SIZE - 1, SIZE),
        (f"bytes=5-{SIZE + 1000}", 5, SIZE),
        (f"bytes=5-{HUGE}", 5, SIZE),
        ("bytes=-1", SIZE - 1, SIZE),
        ("bytes=-500", SIZE - 500, SIZE),
        (f"bytes=-{SIZE * 2}", 0, SIZE),
        (f"bytes=-{HUGE}", 0, SIZE),
        ("bytes=0000000000000000000000000000007-0000000000000000000000000000000009", 7, 10),
        ("Bytes=3-4", 3, 5),
    ],
)
def test_a_range_is_answered_with_just_these_bytes(wanted, start, stop, puller, digest):
    answer = puller.pull_blob("team/app", digest, Range=wanted)
    assert answer.status_code == 206
    assert answer.getvalue() == CONTENT[start:stop]
    assert answer["Content-Range"] == f"bytes {start}-{stop - 1}/{SIZE}"
    assert answer["Content-Length"] == str(stop - start)
    assert answer["Docker-Content-Digest"] == digest
    assert answer["Content-Type"] == "application/octet-stream"
    assert answer["ETag"] == f'"{digest}"'


@pytest.mark.parametrize("wanted", [f"bytes={SIZE}-", f"bytes={SIZE}-{SIZE + 5}", f"bytes={HUGE}-", "bytes=-0"])
def test_a_range_beyond_the_end_is_416_with_the_size(wanted, puller, digest):
    answer = puller.pull_blob("team/app", digest, Range=wanted)
    assert refusal(answer) == (416, "SIZE_INVALID")
    assert answer["Content-Range"] == f"bytes */{SIZE}"


def test_an_inverted_range_is_416_with_the_size(puller, digest):
    answer = puller.pull_blob("team/app", digest, Range="bytes=9-3")
    assert refusal(answer) == (416, "SIZE_INVALID")
    assert answer["Content-Range"] == f"bytes */{SIZE}"


@pytest.mark.parametrize(
    "wanted",
    [
        "items=0-9",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=a-b",
        "bytes=0x1-0x2",
        "bytes=--1",
        "bytes=1--1",
        "bytes=+1-2",
        "bytes=1.0-2.0",
        "bytes 0-9",
        "0-9",
        "bytes=0-9-",
        "bytes=\u0663-\u0664".encode().decode("latin-1"),
        "",
    ],
)
def test_another_unit_or_a_malformed_range_is_ignored(wanted, puller, digest):
    answer = puller.pull_blob("team/app", digest, Range=wanted)
    assert (answer.status_code, answer.getvalue()) == (200, CONTENT)
    assert "Content-Range" not in answer.headers


@pytest.mark.parametrize("wanted", ["bytes=0-1,5-6", "bytes=0-0,-1", "bytes=" + ",".join(["0-1"] * 1000)])
def test_several_ranges_get_one_answer_that_nobody_misreads(wanted, puller, digest):
    answer = puller.pull_blob("team/app", digest, Range=wanted)
    assert (answer.status_code, answer.getvalue()) == (200, CONTENT)
    assert answer["Content-Type"] == "application/octet-stream"


def test_if_range_makes_a_range_count_only_for_the_very_same_content(puller, digest):
    def status(validator: str) -> int:
        return puller.pull_blob("team/app", digest, Range="bytes=0-9", If_Range=validator).status_code

    assert status(f'"{digest}"') == 206
    assert status('"something else"') == 200
    assert status(f'W/"{digest}"') == 200  # weak: not good enough for a part
    assert status("Wed, 21 Oct 2026 07:28:00 GMT") == 200
    beyond = puller.pull_blob("team/app", digest, Range=f"bytes={SIZE}-", If_Range='"something else"')
    assert (beyond.status_code, beyond.getvalue()) == (200, CONTENT)


def test_a_range_is_not_for_head(puller, digest):
    answer = puller.ask("HEAD", f"/v2/team/app/blobs/{digest}", Range="bytes=0-9")
    assert (answer.status_code, answer["Content-Length"]) == (200, str(SIZE))


# --- What the client has already --------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("known", ['"{}"', 'W/"{}"', '"x", "{}"', '"x" , W/"{}"', "*"])
def test_what_the_client_has_already_is_not_sent_again(known, method, puller, digest):
    answer = puller.ask(method, f"/v2/team/app/blobs/{digest}", If_None_Match=known.format(digest))
    assert (answer.status_code, answer.content) == (304, b"")
    assert answer["ETag"] == f'"{digest}"'
    assert answer["Docker-Content-Digest"] == digest
    assert "immutable" in answer["Cache-Control"]
    assert "Content-Length" not in answer.headers


@pytest.mark.parametrize("known", ['"x"', "{}", '"{}', "", '"sha256:0"'])
def test_another_etag_or_none_gets_the_blob(known, puller, digest):
    answer = puller.pull_blob("team/app", digest, If_None_Match=known.format(digest))
    assert (answer.status_code, answer.getvalue()) == (200, CONTENT)


def test_an_etag_does_not_open_what_is_not_there(puller):
    digest = f"sha256:{'0' * 64}"
    answer = puller.pull_blob("team/app", digest, If_None_Match=f'"{digest}"')
    assert refusal(answer) == (404, "BLOB_UNKNOWN")


# --- Where storage can be asked directly, or has lost the bytes -------------------------------------------------------


def test_where_storage_can_sign_urls_the_client_is_sent_there(puller, digest, monkeypatch):
    monkeypatch.setattr(type(blobs()), "redirect", lambda self, key: f"https://storage.example.com/{key}?signature=x")
    answer = puller.pull_blob("team/app", digest)
    assert answer.status_code == 307
    assert answer["Location"] == f"https://storage.example.com/{Blob.objects.get().key}?signature=x"


@pytest.mark.damages_storage
@pytest.mark.parametrize("damage", ["gone", "short"])
def test_a_blob_that_storage_has_lost_is_unknown_until_it_is_pushed_again(
    damage, registry, puller, digest, blob_directory
):
    path = blob_directory / Blob.objects.get().key
    path.unlink() if damage == "gone" else path.write_bytes(CONTENT[:-1])
    assert refusal(puller.pull_blob("team/app", digest)) == (404, "BLOB_UNKNOWN")
    assert not puller.has_blob("team/app", digest)
    registry.push_blob("team/app", CONTENT)
    assert puller.has_blob("team/app", digest)
    assert puller.pull_blob("team/app", digest).getvalue() == CONTENT


# --- Who was told "exists" may rely on it -----------------------------------------------------------------------------


@pytest.fixture
def expiring(digest, settings):
    """The layer, with a little less than half of its grace left."""
    layer = Layer.objects.get()
    layer.due_at = now() + settings.REGISTRY_GRACE / 2 - timedelta(seconds=1)
    layer.save()
    return layer


def head(client, digest):
    assert client.ask("HEAD", f"/v2/team/app/blobs/{digest}").status_code == 200


def test_head_with_a_token_that_may_push_renews_a_grace_that_is_half_over(registry, alice, digest, expiring, settings):
    head(Registry(alice.username), digest)  # which fetches a token for pulling
    assert Layer.objects.get().due_at == expiring.due_at
    head(registry, digest)  # which has pushed
    assert Layer.objects.get().due_at > now() + settings.REGISTRY_GRACE - timedelta(minutes=1)


def test_head_by_somebody_who_may_only_pull_renews_nothing(bob, digest, expiring):
    head(Registry(bob.username, by="basic"), digest)
    assert Layer.objects.get().due_at == expiring.due_at


def test_head_renews_nothing_while_more_than_half_of_the_grace_is_left(alice, digest, expiring, settings):
    plenty = now() + settings.REGISTRY_GRACE / 2 + timedelta(minutes=1)
    Layer.objects.update(due_at=plenty)
    head(Registry(alice.username, by="basic"), digest)
    assert Layer.objects.get().due_at == plenty


def test_head_renews_nothing_that_a_manifest_names(alice, registry, digest, settings):
    config = registry.push_blob("team/app", b"{}")
    registry.push_manifest("team/app", image(b"{}", CONTENT))
    soon = now() + timedelta(seconds=10)
    Layer.objects.update(due_at=soon)
    for named in (config, digest):
        head(Registry(alice.username, by="basic"), named)
    assert set(Layer.objects.values_list("due_at", flat=True)) == {soon}


def test_get_renews_nothing(registry, digest, expiring):
    assert registry.pull_blob("team/app", digest).status_code == 200
    assert Layer.objects.get().due_at == expiring.due_at


def test_head_costs_one_query_and_two_when_it_renews(registry, digest, settings, at_most):
    with at_most(1):
        head(registry, digest)
    Layer.objects.update(due_at=now() + timedelta(seconds=10))
    with at_most(2):
        head(registry, digest)
    assert Layer.objects.get().due_at > now() + timedelta(hours=1)
    with at_most(1):
        head(registry, digest)


def test_get_costs_one_query(registry, puller, digest, at_most):
    puller.pull_blob("team/app", digest)
    with at_most(1):
        assert puller.pull_blob("team/app", digest).getvalue() == CONTENT
