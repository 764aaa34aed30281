"""Uploads in chunks: in order, resumed at the offset that GET reports, cancelled, and only by who opened them."""

import uuid

import pytest

from layers.models import Blob, PendingDelete
from oci.digests import Digest
from tests.registry import Registry, refusal
from uploads.models import Upload

CONTENT = bytes(range(256)) * 16  # 4,096 bytes
DIGEST = str(Digest.of(CONTENT))
HUGE = "9" * 5000


@pytest.fixture
def location(registry):
    return registry.open_upload("team/app")


def accepted(answer, location, stored):
    """That a 202, 204 or a refusal tells where the upload is and how far."""
    assert answer["Location"] == location
    assert answer["Docker-Upload-UUID"] == location.rpartition("/")[2]
    assert answer["Range"] == f"0-{max(stored - 1, 0)}"
    return True


def stored(registry, location):
    answer = registry.ask("GET", location)
    assert answer.status_code == 204
    assert answer.content == b""
    last = int(answer["Range"].removeprefix("0-"))
    return last + 1 if last else 0


# --- In order ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ranged", [True, False])
def test_chunks_in_order_become_a_blob(ranged, registry, puller, location):
    for start in range(0, len(CONTENT), 1000):
        chunk = CONTENT[start : start + 1000]
        headers = {"Content_Range": f"{start}-{start + len(chunk) - 1}"} if ranged else {}
        answer = registry.ask("PATCH", location, chunk, **headers)
        assert answer.status_code == 202
        assert accepted(answer, location, start + len(chunk))
        assert accepted(registry.ask("GET", location), location, start + len(chunk))
    assert registry.ask("PUT", f"{location}?digest={DIGEST}").status_code == 201
    assert puller.pull_blob("team/app", DIGEST).getvalue() == CONTENT


def test_the_last_chunk_may_come_with_the_put(registry, puller, location):
    registry.ask("PATCH", location, CONTENT[:1000])
    last = f"1000-{len(CONTENT) - 1}"
    answer = registry.ask("PUT", f"{location}?digest={DIGEST}", CONTENT[1000:], Content_Range=last)
    assert answer.status_code == 201
    assert puller.pull_blob("team/app", DIGEST).getvalue() == CONTENT


def test_chunks_of_one_byte_and_of_none_are_chunks_too(registry, puller, location):
    assert accepted(registry.ask("PATCH", location, b""), location, 0)
    assert accepted(registry.ask("PATCH", location, CONTENT[:1]), location, 1)
    assert accepted(registry.ask("PATCH", location, b""), location, 1)
    assert accepted(registry.ask("PATCH", location, CONTENT[1:2]), location, 2)
    assert registry.ask("PUT", f"{location}?digest={DIGEST}", CONTENT[2:]).status_code == 201
    assert puller.pull_blob("team/app", DIGEST).getvalue() == CONTENT


def test_an_open_upload_tells_how_far_it_is_also_with_a_digest_appended(registry, location):
    registry.ask("PATCH", location, CONTENT[:10])
    for query in ("", f"?digest={DIGEST}", "?digest=nonsense"):
        answer = registry.ask("GET", location + query)
        assert answer.status_code == 204
        assert accepted(answer, location, 10)


def test_a_chunk_costs_at_most_three_queries(registry, location, at_most):
    registry.ask("PATCH", location, CONTENT[:10])
    with at_most(3):
        assert registry.ask("PATCH", location, CONTENT[10:]).status_code == 202


# --- Out of order -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [0, 5, 9, 11, 1000, 2**31, 2**63 - 1, 9_999_999_999_999_999_990])
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_a_chunk_out_of_order_is_refused_with_the_place_to_go_on(method, start, registry, puller, location):
    registry.ask("PATCH", location, CONTENT[:10])
    path = location if method == "PATCH" else f"{location}?digest={DIGEST}"
    answer = registry.ask(method, path, b"12345", Content_Range=f"{start}-{start + 4}")
    assert refusal(answer) == (416, "BLOB_UPLOAD_INVALID")
    assert accepted(answer, location, 10)
    assert registry.ask("PUT", f"{location}?digest={DIGEST}", CONTENT[10:]).status_code == 201
    assert puller.pull_blob("team/app", DIGEST).getvalue() == CONTENT


def test_a_chunk_that_was_sent_before_is_refused_and_counted_once(registry, location):
    for status in (202, 416):
        assert registry.ask("PATCH", location, CONTENT[:10], Content_Range="0-9").status_code == status
    assert stored(registry, location) == 10


@pytest.mark.parametrize(
    "header",
    [
        "bytes 10-14/100",
        "bytes=10-14",
        "bytes 10-14",
        "10-14/100",
        "10-14/*",
        "10-",
        "-14",
        "-",
        "",
        "10",
        "10 - 14",
        "10-14,20-24",
        "a-b",
        "0xa-0xe",
        "+10-14",
        "10--14",
        "1e1-14",
        "10.0-14",
        f"{HUGE}-{HUGE}",
        f"10-{HUGE}",
        "\u0661\u0660-\u0661\u0664".encode().decode("latin-1"),
        "10-14\t",
    ],
)
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_a_content_range_of_another_form_is_refused(header, method, registry, location):
    registry.ask("PATCH", location, CONTENT[:10])
    path = location if method == "PATCH" else f"{location}?digest={DIGEST}"
    answer = registry.ask(method, path, CONTENT[10:15], Content_Range=header)
    assert refusal(answer) == (400, "BLOB_UPLOAD_INVALID")
    assert accepted(answer, location, 10)
    assert stored(registry, location) == 10


@pytest.mark.parametrize("header", ["10-13", "10-15", "10-9", "14-10", "10-99999999999", "10-10"])
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_a_content_range_of_another_length_than_the_body_is_refused_before_a_byte_is_read(
    header, method, registry, location, monkeypatch
):
    registry.ask("PATCH", location, CONTENT[:10])
    monkeypatch.setattr("wire.bodies.Body.__iter__", lambda self: pytest.fail("a byte was read"))
    path = location if method == "PATCH" else f"{location}?digest={DIGEST}"
    answer = registry.ask(method, path, CONTENT[10:15], Content_Range=header)
    assert refusal(answer) == (400, "SIZE_INVALID")
    assert accepted(answer, location, 10)
    assert stored(registry, location) == 10


# --- Cancelling -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sent", [b"", CONTENT])
def test_a_cancelled_upload_is_gone_and_so_are_its_bytes(sent, registry, puller, location):
    registry.ask("PATCH", location, sent)
    key = Upload.objects.get().key
    answer = registry.ask("DELETE", location)
    assert (answer.status_code, answer.content) == (204, b"")
    for method in ("GET", "PATCH", "DELETE"):
        assert refusal(registry.ask(method, location)) == (404, "BLOB_UPLOAD_UNKNOWN")
    assert refusal(registry.ask("PUT", f"{location}?digest={DIGEST}", CONTENT)) == (404, "BLOB_UPLOAD_UNKNOWN")
    assert list(PendingDelete.objects.values_list("key", flat=True)) == [key]
    assert not Blob.objects.exists()


# --- Whose it is ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "PATCH", "PUT", "DELETE"])
def test_an_upload_of_somebody_else_is_unknown_even_to_a_superuser(method, registry, owner, location):
    registry.ask("PATCH", location, CONTENT)
    assert refusal(owner.ask(method, f"{location}?digest={DIGEST}")) == (404, "BLOB_UPLOAD_UNKNOWN")
    assert stored(registry, location) == len(CONTENT)


@pytest.mark.parametrize("method", ["GET", "PATCH", "PUT", "DELETE"])
def test_an_upload_under_another_name_is_unknown(method, registry, location):
    registry.ask("PATCH", location, CONTENT)
    registry.push_blob("team/other", b"exists too")
    elsewhere = location.replace("team/app", "team/other")
    assert refusal(registry.ask(method, f"{elsewhere}?digest={DIGEST}")) == (404, "BLOB_UPLOAD_UNKNOWN")
    assert stored(registry, location) == len(CONTENT)


def test_an_upload_goes_on_with_another_kind_of_credential_of_the_same_user(registry, alice, puller, location):
    registry.ask("PATCH", location, CONTENT[:10])
    again = Registry(alice.username, by="basic")
    assert stored(again, location) == 10
    assert again.ask("PUT", f"{location}?digest={DIGEST}", CONTENT[10:]).status_code == 201
    assert puller.pull_blob("team/app", DIGEST).getvalue() == CONTENT


@pytest.mark.parametrize(
    "upload_id", ["x", "0", str(uuid.UUID(int=7)), "a" * 5000, "%00", "..", "%F0%9F%90%8B", "1" * 32, "-", "'"]
)
@pytest.mark.parametrize("method", ["GET", "PATCH", "PUT", "DELETE"])
def test_an_upload_that_never_was_is_unknown(upload_id, method, registry):
    answer = registry.ask(method, f"/v2/team/app/blobs/uploads/{upload_id}?digest={DIGEST}", b"x")
    assert refusal(answer) == (404, "BLOB_UPLOAD_UNKNOWN")


# --- Storage that lost bytes of an upload -----------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["gone", "short"])
@pytest.mark.damages_storage
def test_an_upload_that_storage_has_lost_has_to_start_again(damage, registry, location, blob_directory):
    registry.ask("PATCH", location, CONTENT)
    path = blob_directory / Upload.objects.get().key
    path.unlink() if damage == "gone" else path.write_bytes(CONTENT[:-1])
    assert refusal(registry.ask("PATCH", location, b"more")) == (404, "BLOB_UPLOAD_UNKNOWN")
    assert registry.push_blob("team/app", CONTENT) == DIGEST


def test_bytes_beyond_the_offset_do_not_exist(registry, puller, location, blob_directory):
    registry.ask("PATCH", location, CONTENT[:10])
    with (blob_directory / Upload.objects.get().key).open("ab") as file:
        file.write(b"left by a process that died")
    assert stored(registry, location) == 10
    assert registry.ask("PUT", f"{location}?digest={DIGEST}", CONTENT[10:]).status_code == 201
    assert puller.pull_blob("team/app", DIGEST).getvalue() == CONTENT
