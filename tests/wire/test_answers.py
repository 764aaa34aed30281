"""What goes back over the wire: headers on every answer of every status, errors without body for HEAD, exact ranges."""

import hashlib
import json
import random

import pytest

from oci.digests import Digest
from tests.wire.connection import Connection, is_ours

UNKNOWN = f"sha256:{'0' * 64}"
LAYER = random.Random(5).randbytes(3 * 1024 * 1024 + 17)  # more than any buffer on its way
DIGEST = str(Digest.of(LAYER))


@pytest.fixture
def layer(connection, name):
    """The path of a blob."""
    answer = connection.ask("POST", f"/v2/{name}/blobs/uploads/?digest={DIGEST}", LAYER)
    assert answer.status == 201
    return answer["Location"]


# --- Every status -----------------------------------------------------------------------------------------------------

TAGS = "&".join(f"tag=v{number}" for number in range(101))
REFUSALS = [
    (400, "NAME_INVALID", "GET", "/v2/BAD/tags/list", {}),
    (400, "DIGEST_INVALID", "GET", "/v2/NAME/blobs/sha256:abc", {}),
    (400, "UNSUPPORTED", "GET", "/v2/_catalog?n=x", {}),
    (400, "UNSUPPORTED", "GET", "/v2/", {"Host": "evil.example.com"}),
    (400, "UNSUPPORTED", "GET", "/v2/NAME/tags/list", {"Host": "evil.example.com"}),
    (401, "UNAUTHORIZED", "GET", "/v2/", {"Authorization": ""}),
    (401, "UNAUTHORIZED", "GET", "/v2/NAME/tags/list", {"Authorization": "Bearer x"}),
    (401, "DENIED", "GET", "/v2/another/tags/list", {}),
    (404, "NAME_UNKNOWN", "GET", "/v2/no/such/route", {}),
    (404, "NAME_UNKNOWN", "GET", "/v2/NAME/tags/list", {}),
    (404, "MANIFEST_UNKNOWN", "GET", "/v2/NAME/manifests/none", {}),
    (404, "BLOB_UNKNOWN", "GET", f"/v2/NAME/blobs/{UNKNOWN}", {}),
    (404, "BLOB_UPLOAD_UNKNOWN", "GET", "/v2/NAME/blobs/uploads/none", {}),
    (405, "UNSUPPORTED", "POST", "/v2/", {}),
    (405, "UNSUPPORTED", "DELETE", "/v2/NAME/blobs/uploads/", {}),
    (405, "UNSUPPORTED", "OPTIONS", "/v2/NAME/tags/list", {}),
    (413, "MANIFEST_INVALID", "PUT", "/v2/NAME/manifests/v1", {"Content-Length": "99999999"}),
    (414, "MANIFEST_INVALID", "PUT", f"/v2/NAME/manifests/{UNKNOWN}?{TAGS}", {}),
]


@pytest.mark.parametrize(("status", "code", "method", "path", "headers"), REFUSALS)
def test_every_refusal_is_in_the_envelope_with_the_registrys_headers(
    status, code, method, path, headers, connection, name
):
    answer = is_ours(connection.ask(method, path.replace("NAME", name), **headers))
    assert (answer.status, answer.code) == (status, code)
    if status == 401:
        assert answer["WWW-Authenticate"].startswith(f'Bearer realm="http://{connection.host}/token",service="')
    if status == 405:
        assert method not in answer["Allow"].split(", ")


@pytest.mark.parametrize(("status", "code", "method", "path", "headers"), [row for row in REFUSALS if row[2] == "GET"])
def test_a_refusal_of_head_has_no_body_and_leaves_the_connection_usable(
    status, code, method, path, headers, connection, name
):
    answer = is_ours(connection.ask("HEAD", path.replace("NAME", name), **headers))
    assert answer.status == status
    assert int(answer["Content-Length"]) > 0  # what GET would have said
    assert connection.is_open()


def test_success_carries_the_registrys_headers_too(connection, name, layer):
    for method, path, status in [
        ("GET", "/v2/", 200),
        ("GET", layer, 200),
        ("HEAD", layer, 200),
        ("GET", f"/v2/{name}/tags/list", 200),
        ("GET", f"/v2/{name}/referrers/{UNKNOWN}", 200),
        ("GET", "/v2/_catalog", 200),
        ("DELETE", layer, 202),
    ]:
        assert is_ours(connection.ask(method, path)).status == status
    is_ours(connection.ask("POST", f"/v2/{name}/blobs/uploads/", b""))
    assert is_ours(connection.ask("GET", "/v2/", If_None_Match="x")).status == 200


def test_locations_are_paths_without_scheme_and_host(connection, name, layer):
    assert layer == f"/v2/{name}/blobs/{DIGEST}"
    assert connection.ask("POST", f"/v2/{name}/blobs/uploads/", b"")["Location"].startswith(
        f"/v2/{name}/blobs/uploads/"
    )


@pytest.mark.parametrize("path", ["/v2/team/app/", "/v2/team/app/tags/list/", "/v2//", "/v2/x/../y", "//v2/", "/v2/?x"])
def test_nothing_below_v2_is_redirected(path, connection):
    assert connection.ask("GET", path).status in (200, 401, 404)


def test_nothing_below_v2_is_compressed(connection, name, layer):
    for path in (layer, f"/v2/{name}/tags/list", "/v2/_catalog", "/v2/no/such/route"):
        answer = connection.ask("GET", path, Accept_Encoding="gzip, br, zstd")
        assert "content-encoding" not in answer.headers
        assert "vary" not in answer.headers


def test_health_is_told_to_any_host(server):
    with Connection(server) as connection:
        for path in ("/healthz", "/readyz"):
            answer = connection.ask("GET", path, Host="evil.example.com")
            assert (answer.status, json.loads(answer.body)["status"]) == (200, "ok")


# --- Blobs ------------------------------------------------------------------------------------------------------------


def test_a_blob_comes_byte_for_byte(connection, layer):
    answer = connection.ask("GET", layer)
    assert hashlib.sha256(answer.body).hexdigest() == DIGEST.removeprefix("sha256:")
    assert answer["Content-Length"] == str(len(LAYER))


@pytest.mark.parametrize(
    ("start", "stop"),
    [
        (0, 1),
        (1, 2),
        (4095, 4097),
        (0, 1 << 20),
        (1 << 20, 1 << 21),
        (len(LAYER) - 1, len(LAYER)),
        (12_345, len(LAYER)),
    ],
)
def test_a_part_comes_byte_for_byte_and_no_byte_more(start, stop, connection, layer):
    answer = connection.ask("GET", layer, Range=f"bytes={start}-{stop - 1}")
    assert answer.status == 206
    assert answer.body == LAYER[start:stop]
    assert answer["Content-Range"] == f"bytes {start}-{stop - 1}/{len(LAYER)}"
    assert connection.ask("GET", "/v2/").status == 200  # nothing of the blob is left in the connection


def test_many_parts_on_one_connection_make_the_whole(connection, layer):
    step = 1 << 18
    parts = [
        connection.ask("GET", layer, Range=f"bytes={at}-{at + step - 1}").body for at in range(0, len(LAYER), step)
    ]
    assert b"".join(parts) == LAYER


def test_a_range_that_is_not_there_leaves_the_connection_usable(connection, layer):
    answer = is_ours(connection.ask("GET", layer, Range=f"bytes={len(LAYER)}-"))
    assert (answer.status, answer["Content-Range"]) == (416, f"bytes */{len(LAYER)}")
    assert connection.is_open()


def test_head_and_304_have_no_body(connection, layer):
    assert connection.ask("HEAD", layer)["Content-Length"] == str(len(LAYER))
    assert connection.ask("GET", layer, If_None_Match=f'"{DIGEST}"').status == 304
    assert connection.ask("GET", layer, Range="bytes=0-4").body == LAYER[:5]


def test_a_reader_that_leaves_disturbs_nobody(connect, layer):
    reader = connect()
    reader.send(reader.head("GET", layer))
    reader.socket.recv(1000)
    reader.socket.close()
    assert connect().ask("GET", layer).body == LAYER
