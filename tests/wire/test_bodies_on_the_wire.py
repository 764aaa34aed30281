"""How bodies arrive: with a length, in chunks, longer and shorter than announced, garbled, or not at all."""

import socket
import time

import pytest

from oci.digests import Digest
from serving.inputs import BLOCK
from tests.images import IMAGE, bytes_of, image
from tests.wire.connection import Closed, Connection, chunked, is_ours

CONTENT = bytes(range(256)) * 1024  # 256 KiB
DIGEST = Digest.of(CONTENT)
LONG = CONTENT * 4  # several times what the registry reads at once
CHUNKED = {"Transfer_Encoding": "chunked"}


def stored(connection, location):
    """Bytes that count."""
    answer = connection.ask("GET", location)
    assert answer.status == 204
    last = int(answer["Range"].removeprefix("0-"))
    return last + 1 if last else 0


def pulled(connection, name, digest=DIGEST):
    answer = connection.ask("GET", f"/v2/{name}/blobs/{digest}")
    assert answer.status == 200
    return answer.body


def accepted(answer, location, size):
    assert answer.status == 202
    assert answer["Location"] == location
    assert answer["Range"] == f"0-{size - 1}"
    assert answer["Docker-Upload-UUID"] == location.rpartition("/")[2]
    return True


# --- As docker and others send them -----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 1000, 32 * 1024, len(CONTENT)])
def test_a_body_in_chunks_is_stored_as_it_is(size, connection, name, upload):
    chunks = [CONTENT[start : start + size] for start in range(0, len(CONTENT) if size > 1 else 300, size)]
    body = b"".join(chunks)
    assert accepted(send_chunks(connection, "PATCH", upload, *chunks), upload, len(body))
    digest = Digest.of(body)
    assert connection.ask("PUT", f"{upload}?digest={digest}", b"").status == 201
    assert pulled(connection, name, digest) == body


def send_chunks(connection, method, path, *chunks, **headers):
    connection.send(connection.head(method, path, **CHUNKED, **headers) + chunked(*chunks))
    return connection.answer(method)


def test_a_put_may_carry_a_whole_layer_in_chunks(connection, name, upload):
    assert send_chunks(connection, "PUT", f"{upload}?digest={DIGEST}", CONTENT[:1], CONTENT[1:]).status == 201
    assert pulled(connection, name) == CONTENT


def test_a_post_may_carry_a_whole_layer_in_chunks(connection, name):
    assert send_chunks(connection, "POST", f"/v2/{name}/blobs/uploads/?digest={DIGEST}", CONTENT).status == 201
    assert pulled(connection, name) == CONTENT


def test_a_manifest_may_come_in_chunks(connection, name):
    connection.ask("POST", f"/v2/{name}/blobs/uploads/?digest={Digest.of(b'{}')}", b"{}")
    manifest = bytes_of(image(b"{}"))
    path = f"/v2/{name}/manifests/v1"
    assert send_chunks(connection, "PUT", path, manifest[:10], manifest[10:], Content_Type=IMAGE).status == 201
    assert connection.ask("GET", path).body == manifest


def test_an_empty_body_in_chunks_is_an_empty_chunk(connection, upload):
    answer = send_chunks(connection, "PATCH", upload)
    assert (answer.status, answer["Range"]) == (202, "0-0")


def test_chunk_extensions_and_trailers_mean_nothing(connection, upload):
    body = b'5;a=b;c="d;e"\r\nhello\r\n0\r\nX-Trailer: x\r\nDigest: y\r\n\r\n'
    connection.send(connection.head("PATCH", upload, **CHUNKED) + body)
    assert accepted(connection.answer(), upload, 5)
    assert connection.is_open()


def test_a_body_in_chunks_may_have_a_content_range(connection, name, upload):
    half = len(CONTENT) // 2
    for start in (0, half):
        headers = {"Content_Range": f"{start}-{start + half - 1}"}
        answer = send_chunks(connection, "PATCH", upload, CONTENT[start : start + half], **headers)
        assert accepted(answer, upload, start + half)
    assert connection.ask("PUT", f"{upload}?digest={DIGEST}", b"").status == 201
    assert pulled(connection, name) == CONTENT


def test_chunks_out_of_order_are_refused_with_the_place_to_go_on(connection, upload):
    send_chunks(connection, "PATCH", upload, b"12345")
    answer = is_ours(send_chunks(connection, "PATCH", upload, b"12345", Content_Range="0-4"))
    assert (answer.status, answer.code) == (416, "BLOB_UPLOAD_INVALID")
    assert (answer["Location"], answer["Range"]) == (upload, "0-4")


def test_more_chunks_than_the_content_range_announced_are_refused(connection, connect, upload):
    answer = is_ours(send_chunks(connection, "PATCH", upload, b"12345", b"6", Content_Range="0-4"))
    assert (answer.status, answer.code) == (400, "SIZE_INVALID")
    assert answer["Location"] == upload
    assert stored(connect(), upload) in (0, 5)


def test_fewer_chunks_than_the_content_range_announced_are_kept_and_refused(connection, upload):
    answer = is_ours(send_chunks(connection, "PATCH", upload, b"123", Content_Range="0-4"))
    assert (answer.status, answer.code) == (400, "SIZE_INVALID")
    assert (answer["Location"], answer["Range"]) == (upload, "0-2")
    assert stored(connection, upload) == 3


# --- Expect: 100-continue ---------------------------------------------------------------------------------------------


def test_who_waits_for_100_continue_gets_it(connection, upload):
    connection.send(connection.head("PATCH", upload, Content_Length="5", Expect="100-continue"))
    assert connection._until(b"\r\n\r\n").startswith(b"HTTP/1.1 100 ")
    connection.send(b"hello")
    assert accepted(connection.answer(), upload, 5)


def test_who_sends_without_waiting_for_100_continue_is_served_too(connection, upload):
    assert accepted(connection.ask("PATCH", upload, b"hello", Expect="100-continue"), upload, 5)


def test_another_expectation_is_refused(connection, upload):
    answer = connection.ask("PATCH", upload, b"hello", Expect="a miracle")
    assert answer.status == 417


# --- Longer, shorter, garbled -----------------------------------------------------------------------------------------


def test_bytes_beyond_the_announced_length_are_not_part_of_the_blob(connection, connect, upload):
    connection.send(connection.head("PATCH", upload, Content_Length="5") + b"hello, this is too much\r\n\r\n")
    assert accepted(connection.answer(), upload, 5)
    assert connection.answer().status == 400  # what follows is no request
    with pytest.raises(Closed):
        connection.answer()
    assert stored(connect(), upload) == 5


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_a_body_that_ends_early_keeps_what_came(method, connection, connect, name, upload):
    path = upload if method == "PATCH" else f"{upload}?digest={DIGEST}"
    connection.send(connection.head(method, path, Content_Length=str(len(CONTENT))) + CONTENT[:100_000])
    connection.socket.shutdown(socket.SHUT_WR)
    answer = is_ours(connection.answer())
    assert (answer.status, answer.code) == (400, "SIZE_INVALID")
    assert (answer["Location"], answer["Range"]) == (upload, "0-99999")
    again = connect()
    assert stored(again, upload) == 100_000
    assert again.ask("PUT", f"{upload}?digest={DIGEST}", CONTENT[100_000:]).status == 201
    assert pulled(again, name) == CONTENT


def test_a_client_that_vanishes_leaves_an_upload_that_can_be_resumed(connection, connect, name, upload):
    sent = LONG[:700_000]
    connection.send(connection.head("PATCH", upload, **CHUNKED) + b"%x\r\n%b\r\n" % (len(sent), sent))
    connection.socket.close()
    again, deadline = connect(), time.monotonic() + 10
    while (kept := stored(again, upload)) < len(sent) - BLOCK:
        assert time.monotonic() < deadline, f"only {kept} bytes were kept"
        time.sleep(0.05)
    assert kept <= len(sent)
    digest = Digest.of(LONG)
    headers = {"Content_Range": f"{kept}-{len(LONG) - 1}"}
    assert again.ask("PUT", f"{upload}?digest={digest}", LONG[kept:], **headers).status == 201
    assert pulled(again, name, digest) == LONG


def test_a_client_that_falls_silent_is_told_what_was_kept(connection, connect, upload):
    connection.send(connection.head("PATCH", upload, Content_Length=str(len(LONG))) + LONG[:700_000])
    answer = is_ours(connection.answer())
    assert (answer.status, answer.code, answer["Location"]) == (400, "SIZE_INVALID", upload)
    kept = stored(connect(), upload)
    assert answer["Range"] == f"0-{kept - 1}"
    assert 700_000 - BLOCK <= kept <= 700_000


def test_a_single_post_that_ends_early_leaves_nothing(connection, connect, name):
    path = f"/v2/{name}/blobs/uploads/?digest={DIGEST}"
    connection.send(connection.head("POST", path, Content_Length=str(len(CONTENT))) + CONTENT[:1000])
    connection.socket.shutdown(socket.SHUT_WR)
    assert (answer := is_ours(connection.answer())).status == 400
    assert answer.code == "SIZE_INVALID"
    assert connect().ask("HEAD", f"/v2/{name}/blobs/{DIGEST}").status == 404


@pytest.mark.parametrize("by", ["tag", "digest"])
def test_a_manifest_shorter_than_announced_is_never_stored(by, connection, connect, name):
    connection.ask("POST", f"/v2/{name}/blobs/uploads/?digest={Digest.of(b'{}')}", b"{}")
    manifest = bytes_of(image(b"{}"))  # whole by itself, so only the length tells
    path = f"/v2/{name}/manifests/{'v1' if by == 'tag' else Digest.of(manifest)}"
    connection.send(connection.head("PUT", path, Content_Length=str(len(manifest) + 1), Content_Type=IMAGE) + manifest)
    connection.socket.shutdown(socket.SHUT_WR)
    answer = is_ours(connection.answer())
    assert (answer.status, answer.code) == (400, "SIZE_INVALID")
    assert connect().ask("GET", path).status == 404


GARBLED = {
    "no size": b"\r\nhello\r\n0\r\n\r\n",
    "a size that is no number": b"xyz\r\nhello\r\n0\r\n\r\n",
    "a negative size": b"-5\r\nhello\r\n0\r\n\r\n",
    "0x": b"0x5\r\nhello\r\n0\r\n\r\n",
    "an impossible size": b"f" * 32 + b"\r\nhello",
    "a size of 5,000 digits": b"f" * 5000 + b"\r\nhello",
    "a size that never ends": b"1" * 100_000,
    "an underscore": b"1_0\r\nhello\r\n0\r\n\r\n",
    "no line end after the chunk": b"5\r\nhelloworld0\r\n\r\n",
    "no last chunk": b"5\r\nhello\r\n",
    "an end in a chunk": b"ff\r\nhello",
    "bare LF": b"5\nhello\n0\n\n",
    "NUL": b"5\0\r\nhello\r\n0\r\n\r\n",
    "a bad extension": b"5;\x00\r\nhello\r\n0\r\n\r\n",
    "a bad trailer": b"5\r\nhello\r\n0\r\nno trailer at all\r\n\r\n",
    "a forbidden trailer": b"5\r\nhello\r\n0\r\nContent-Length: 7\r\n\r\n",
}


@pytest.mark.parametrize("what", GARBLED)
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_malformed_chunks_move_the_offset_only_over_what_is_stored(method, what, connection, connect, upload):
    send_chunks(connection, "PATCH", upload, b"before ")
    path = upload if method == "PATCH" else f"{upload}?digest={Digest.of(b'before hello')}"
    connection.send(connection.head(method, path, **CHUNKED) + GARBLED[what])
    connection.socket.shutdown(socket.SHUT_WR)
    answer = is_ours(connection.answer())
    assert (answer.status, answer.code) == (400, "SIZE_INVALID")
    assert answer["Location"] == upload
    again = connect()
    assert stored(again, upload) in (7, 12)
    assert answer["Range"] == f"0-{stored(again, upload) - 1}"
    content = b"before " if stored(again, upload) == 7 else b"before hello"
    assert again.ask("PUT", f"{upload}?digest={Digest.of(content)}", b"").status == 201


@pytest.mark.parametrize(
    "coding",
    ["gzip, chunked", "identity, chunked", "chunked, chunked", "gzip", "identity", "CHUNKED", "x"],
)
def test_a_transfer_coding_is_understood_or_refused_but_never_ignored(coding, connection, connect, upload):
    connection.send(connection.head("PATCH", upload, Transfer_Encoding=coding) + chunked(b"hello"))
    answer = connection.answer()
    if answer.status == 202:
        assert accepted(answer, upload, 5)
    else:
        assert answer.status in (400, 501)  # 501: what RFC 9112 has for a coding that nobody knows
    assert stored(connect(), upload) == (5 if answer.status == 202 else 0)


@pytest.mark.parametrize(
    "headers",
    [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: 5.0\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: \xb2\r\n",
        f"Content-Length: {'9' * 5000}\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    ],
)
def test_a_length_that_two_readers_could_read_differently_is_refused(headers, connection, connect, upload):
    head = connection.head("PATCH", upload)[:-2] + headers.encode("latin-1") + b"\r\n"
    connection.send(head + b"hello")
    assert connection.answer().status == 400
    with pytest.raises(Closed):
        connection.answer()
    assert stored(connect(), upload) == 0


@pytest.mark.parametrize("length", [10**18, 2**63 - 1, 2**63, 10**30, 10**4000])
def test_a_length_that_never_comes_costs_no_memory(length, connection, connect, name, upload):
    connection.send(connection.head("PATCH", upload, Content_Length=str(length)) + b"hello")
    connection.socket.shutdown(socket.SHUT_WR)
    answer = is_ours(connection.answer())
    assert (answer.status, answer.code) == (400, "SIZE_INVALID")
    assert stored(connect(), upload) == 5
    other = connect()
    other.send(other.head("PUT", f"/v2/{name}/manifests/v1", Content_Length=str(length), Content_Type=IMAGE))
    assert (answer := is_ours(other.answer())).status == 413
    assert answer.code == "MANIFEST_INVALID"


# --- Afterwards on the same connection --------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 10, 10_000])
@pytest.mark.parametrize("how", ["length", "chunks"])
def test_a_small_body_that_nobody_read_does_not_disturb_the_next_request(how, size, connection, name):
    path = f"/v2/{name}/blobs/uploads/00000000-0000-0000-0000-000000000000"
    body = b"GET /v2/ HTTP/1.1\r\n\r\n"[:size].ljust(size, b"x")
    answer = connection.ask("PATCH", path, body) if how == "length" else send_chunks(connection, "PATCH", path, body)
    assert (is_ours(answer).status, answer.code) == (404, "BLOB_UPLOAD_UNKNOWN")
    assert connection.is_open()


@pytest.mark.parametrize("how", ["length", "chunks"])
def test_a_large_body_that_nobody_read_ends_the_connection_after_the_answer(how, connect, name):
    path = f"/v2/{name}/blobs/uploads/00000000-0000-0000-0000-000000000000"
    connection = connect()
    framing = {"Content_Length": str(10**9)} if how == "length" else CHUNKED
    connection.send(connection.head("PATCH", path, **framing))
    answer = is_ours(connection.answer())
    assert (answer.status, answer.code) == (404, "BLOB_UPLOAD_UNKNOWN")
    assert connect().is_open()


def test_requests_that_come_together_are_answered_one_after_the_other(connection, name):
    paths = ["/v2/", f"/v2/{name}/tags/list", "/v2/nowhere", "/v2/"]
    connection.send(b"".join(connection.head("GET", path) for path in paths))
    assert [is_ours(connection.answer()).status for _ in paths] == [200, 404, 404, 200]


# --- Two writers ------------------------------------------------------------------------------------------------------


def test_a_newer_writer_proceeds_and_the_older_ends_soon(connect, name, upload):
    older, newer = connect(), connect()
    older.send(older.head("PATCH", upload, Content_Length=str(len(CONTENT))) + CONTENT[:100_000])
    time.sleep(0.3)  # it has the upload now
    began = time.monotonic()
    newer.send(newer.head("PUT", f"{upload}?digest={DIGEST}", Content_Length=str(len(CONTENT))) + CONTENT)
    answer = is_ours(older.answer())
    assert time.monotonic() - began < 5
    assert answer.status in (409, 416)
    assert answer.code == "BLOB_UPLOAD_INVALID"
    assert newer.answer("PUT").status == 201
    assert pulled(connect(), name) == CONTENT


def test_a_cancel_that_meets_a_writer_ends_it_cleanly(connect, upload):
    writer, other = connect(), connect()
    writer.send(writer.head("PATCH", upload, Content_Length=str(len(CONTENT))) + CONTENT[:100_000])
    time.sleep(0.3)
    began = time.monotonic()
    assert other.ask("DELETE", upload).status == 204
    answer = is_ours(writer.answer())
    assert time.monotonic() - began < 5
    assert answer.status in (404, 409, 416)
    assert other.ask("GET", upload).status == 404


def test_six_clients_that_push_the_same_layer_at_once_all_succeed(server, connect, name):
    pushers: list[Connection] = [connect() for _ in range(6)]
    locations = [pusher.ask("POST", f"/v2/{name}/blobs/uploads/", b"")["Location"] for pusher in pushers]
    for pusher, location in zip(pushers, locations, strict=True):
        pusher.send(pusher.head("PUT", f"{location}?digest={DIGEST}", Content_Length=str(len(CONTENT))) + CONTENT[:-1])
    for pusher in pushers:
        pusher.send(CONTENT[-1:])
    assert [pusher.answer("PUT").status for pusher in pushers] == [201] * 6
    assert pulled(connect(), name) == CONTENT


def test_a_garbled_body_that_nobody_read_is_no_fault_of_the_servers(server, name):
    before = len(server.log)
    with Connection(server) as stranger:
        stranger.send(stranger.head("PATCH", f"/v2/{name}/blobs/uploads/x", **CHUNKED) + b"ZZ\r\nabc\r\n")
        assert stranger.answer("PATCH").status == 401
        assert not stranger.is_open()
    assert server.log[before:] == ""
