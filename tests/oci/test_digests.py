import hashlib
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oci import hashing
from oci.digests import ALGORITHMS, Digest, Hasher
from oci.errors import DigestInvalid

EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_a_digest_is_read_and_written_the_same():
    assert Digest.parse(f"sha256:{EMPTY}") == Digest("sha256", EMPTY)
    assert str(Digest("sha256", EMPTY)) == f"sha256:{EMPTY}"
    assert Digest.parse(f"sha512:{EMPTY}{EMPTY}") == Digest("sha512", EMPTY * 2)


def test_the_digest_of_content_is_sha256_unless_asked_for_another():
    assert str(Digest.of(b"")) == f"sha256:{EMPTY}"
    assert Digest.of(b"abc", "sha512").hex == hashlib.sha512(b"abc").hexdigest()


@pytest.mark.parametrize(
    "text",
    [
        "", ":", "sha256", "sha256:", f":{EMPTY}", EMPTY, f"sha256:{EMPTY.upper()}", f"SHA256:{EMPTY}",
        f"sha256:{EMPTY[1:]}", f"sha256:{EMPTY}0", f"sha256:{EMPTY}\n", f"sha256: {EMPTY[1:]}", f"sha512:{EMPTY}",
        f"sha384:{EMPTY}", f"md5:{EMPTY}", f"sha256:{EMPTY[1:]}g", f"sha256:{EMPTY[1:]}٣", f"sha256::{EMPTY}",
        f"tarsum.v1+sha256:{EMPTY}", "sha256:\0", "\ud800", f"sha256:{EMPTY}:", "sha256:../../etc/passwd",
    ],
)  # fmt: skip
def test_what_is_no_digest_is_refused(text):
    with pytest.raises(DigestInvalid):
        Digest.parse(text)


@pytest.mark.parametrize("start", ["", "sha256:", "sha512:", "sha256:" + EMPTY])
def test_an_endless_digest_is_refused_at_once_and_not_repeated_in_full(start):
    started = time.process_time()
    with pytest.raises(DigestInvalid) as refused:
        Digest.parse(start + "0" * 10_000_000)
    assert time.process_time() - started < 0.1
    assert len(refused.value.detail) <= 255
    assert len(refused.value.message) <= 255


@given(st.text())
def test_no_text_raises_anything_but_digest_invalid(text):
    for attempt in (text, f"sha256:{text}", f"sha512:{text}"):
        with pytest.raises(DigestInvalid):
            Digest.parse(attempt)


@given(st.binary(), st.sampled_from(ALGORITHMS))
def test_every_digest_of_content_is_read_back(content, algorithm):
    assert Digest.parse(str(Digest.of(content, algorithm))) == Digest.of(content, algorithm)


@pytest.mark.parametrize("algorithm", ["", "md5", "sha1", "SHA256", "sha256\0", "x" * 300])
def test_an_unknown_algorithm_is_refused(algorithm):
    with pytest.raises(DigestInvalid):
        Hasher(algorithm)
    with pytest.raises(DigestInvalid):
        Digest.of(b"", algorithm)


@given(st.lists(st.binary(max_size=300)), st.sampled_from(ALGORITHMS))
def test_an_upload_in_chunks_has_the_digest_of_the_whole_after_every_chunk(chunks, algorithm):
    state, sent = b"", b""
    for chunk in chunks:
        hasher = Hasher(algorithm, state)
        hasher.update(chunk)
        sent, state = sent + chunk, hasher.state
        assert hasher.digest == Digest.of(sent, algorithm)
    assert Hasher(algorithm, state).digest == Digest.of(sent, algorithm)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_asking_for_state_or_digest_changes_nothing(algorithm):
    hasher = Hasher(algorithm)
    hasher.update(b"some")
    assert (hasher.state, hasher.digest) == (hasher.state, hasher.digest)
    hasher.update(b" more")
    assert hasher.digest == Digest.of(b"some more", algorithm)
    assert hasher.algorithm == algorithm


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_state_fits_its_column(algorithm):
    hasher = Hasher(algorithm)
    hasher.update(bytes(127))
    assert len(hasher.state) <= 215


def test_a_state_of_the_other_algorithm_is_no_state():
    with pytest.raises(ValueError, match="sha512"):
        Hasher("sha512", Hasher("sha256").state)


def test_other_threads_run_while_a_large_buffer_is_hashed():
    if hashing.engine().__name__ != "Libcrypto":
        pytest.skip("only libcrypto hashes without the GIL")
    buffer, done, beats = bytearray(1 << 27), threading.Event(), []

    def beat():
        while not done.wait(0.001):
            beats.append(time.monotonic())

    heart = threading.Thread(target=beat)
    heart.start()
    Hasher("sha512").update(buffer)
    done.set()
    heart.join()
    assert len(beats) > 5
