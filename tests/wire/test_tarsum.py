"""A layer that is pushed and pulled by its TarSum over a socket, also spelled as in 2014: the plus sign as it is."""

import pytest

from oci.digests import Digest
from tests.tars import LATER, LAYER, OTHER, TARSUM
from tests.wire.connection import chunked, is_ours

SPELLED = [TARSUM, TARSUM.replace("+", "%2B")]


@pytest.mark.parametrize("spelled", SPELLED)
def test_docker_pushes_chunks_and_names_the_tarsum_at_the_end(spelled, connection, upload, name):
    body = chunked(LAYER[:50], LAYER[50:])
    patched = connection.ask("PATCH", upload, body, Content_Length="", Transfer_Encoding="chunked")
    assert patched.status == 202
    answer = is_ours(connection.ask("PUT", f"{upload}?digest={spelled}", b""))
    assert answer.status == 201, answer.body
    assert answer["Docker-Content-Digest"] == str(Digest.of(LAYER))
    assert answer["Location"] == f"/v2/{name}/blobs/{Digest.of(LAYER)}"
    for address in (*SPELLED, str(Digest.of(LAYER))):
        for method in ("HEAD", "GET"):
            pulled = is_ours(connection.ask(method, f"/v2/{name}/blobs/{address}"))
            assert (pulled.status, pulled["Content-Length"]) == (200, str(len(LAYER)))
            assert pulled["Docker-Content-Digest"] == str(Digest.of(LAYER))
            assert ("immutable" in pulled["Cache-Control"]) == (address == str(Digest.of(LAYER)))
        assert pulled.body == LAYER


@pytest.mark.parametrize("spelled", SPELLED)
def test_other_bytes_are_refused_and_the_connection_goes_on(spelled, connection, upload, name):
    assert is_ours(connection.ask("PUT", f"{upload}?digest={spelled}", OTHER)).code == "DIGEST_INVALID"
    assert connection.ask("GET", f"/v2/{name}/blobs/{spelled}").code == "BLOB_UNKNOWN"
    answer = connection.ask("POST", f"/v2/{name}/blobs/uploads/?digest={spelled}", LATER)
    assert (answer.status, answer["Docker-Content-Digest"]) == (201, str(Digest.of(LATER)))
    assert connection.ask("GET", f"/v2/{name}/blobs/{spelled}").body == LATER


@pytest.mark.parametrize("spelled", SPELLED)
def test_a_manifest_has_no_tarsum(spelled, connection, name):
    """Answered in the loop, where the path is plain, and else by a thread."""
    answer = is_ours(connection.ask("GET", f"/v2/{name}/manifests/{spelled}"))
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")
