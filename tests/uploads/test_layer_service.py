"""The layer service as a program uses it: bytes in, bytes out, whatever became of the process in between."""

import doctest
import gzip
import hashlib
import io
import tarfile
from datetime import timedelta

import pytest
from django.utils.timezone import now

from layers.models import Blob, Layer, Naming, PendingDelete
from oci.digests import Digest
from oci.errors import (
    BlobUnknown,
    BlobUploadUnknown,
    ChunkOutOfOrder,
    DigestInvalid,
    NameInvalid,
    SizeInvalid,
)
from oci.tarsum import TarSum
from repositories import deletion
from repositories.models import Repository
from tests.images import LAYER as LAYER_TYPE
from tests.images import image
from tests.server import ROOT
from tests.tars import LAYER, OTHER_TARSUM, TARSUM
from uploads import layer_service
from uploads.models import Upload

NAME, WHO = "team/app", "backup job"
CONTENT = bytes(range(256)) * 20_000  # more than four blocks of a reader
DIGEST = Digest.of(CONTENT)

pytestmark = pytest.mark.django_db


def stored(content: bytes, name: str = NAME) -> Digest:
    upload = layer_service.upload(name, WHO)
    upload.write(content)
    return upload.finish(len(content), Digest.of(content))


@pytest.mark.parametrize("name", ["deleted", "Team/App", "team/app/", ""])
def test_what_no_repository_can_be_called_is_refused(name):
    stored(CONTENT)
    upload = layer_service.upload(NAME, WHO)
    deletion.delete(NAME)
    name = Repository.every.get().name if name == "deleted" else name
    for ask in (
        lambda: layer_service.exists(name, DIGEST),
        lambda: layer_service.fetch(name, DIGEST),
        lambda: layer_service.upload(name, WHO),
        lambda: layer_service.resume(name, upload.id, WHO),
    ):
        with pytest.raises(NameInvalid):
            ask()
    assert Repository.every.count() == 1


# --- In ---------------------------------------------------------------------------------------------------------------


def test_a_layer_goes_in_and_comes_out():
    assert not layer_service.exists(NAME, DIGEST)
    assert stored(CONTENT) == DIGEST
    assert layer_service.exists(NAME, DIGEST)
    assert layer_service.exists(NAME, str(DIGEST))
    with layer_service.fetch(NAME, DIGEST) as layer:
        assert layer.read() == CONTENT


@pytest.mark.parametrize(
    "given",
    [
        CONTENT,
        bytearray(CONTENT),
        memoryview(CONTENT),
        io.BytesIO(CONTENT),
        [CONTENT[:1], b"", CONTENT[1:]],
        iter([memoryview(CONTENT)[:70], bytearray(CONTENT[70:])]),
    ],
    ids=["bytes", "bytearray", "memoryview", "file", "list", "iterator"],
)
def test_what_is_written_may_be_bytes_a_file_or_an_iterable(given):
    upload = layer_service.upload(NAME, WHO)
    assert upload.write(given) == len(CONTENT)
    assert upload.finish(len(CONTENT), DIGEST) == DIGEST


def test_an_iterable_may_use_its_buffer_again():
    def blocks():
        buffer = bytearray(1000)
        for start in range(0, len(CONTENT), 1000):
            buffer[:] = CONTENT[start : start + 1000]
            yield buffer

    upload = layer_service.upload(NAME, WHO)
    upload.write(blocks())
    upload.finish(len(CONTENT), DIGEST)


@pytest.mark.parametrize("given", ["text", ["text"], [1, 2, 3], io.StringIO("text"), 5, None])
def test_what_is_not_bytes_is_refused_and_writes_nothing(given):
    upload = layer_service.upload(NAME, WHO)
    with pytest.raises(TypeError):
        upload.write(given)
    assert upload.offset == layer_service.resume(NAME, upload.id, WHO).offset == 0


def test_every_write_is_durable_and_any_process_goes_on_from_there():
    begun = layer_service.upload(NAME, WHO)
    for start in range(0, 1000, 100):
        assert begun.write(CONTENT[start : start + 100]) == start + 100
        found = layer_service.resume(NAME, begun.id, WHO)
        assert (found.id, found.offset, found.who) == (begun.id, start + 100, WHO)
        assert found.started_at == Upload.objects.get().started_at
        assert now() - timedelta(minutes=5) < found.started_at <= now()
    found.write(CONTENT[1000:])
    assert found.finish(len(CONTENT), DIGEST) == DIGEST


def test_a_file_that_fails_loses_only_what_it_did_not_give():
    class Torn(io.BytesIO):
        def read(self, size=-1):
            if self.tell() >= 3 * 1024 * 1024:
                raise RuntimeError("the tape is torn")
            return super().read(size)

    upload = layer_service.upload(NAME, WHO)
    with pytest.raises(RuntimeError, match="torn"):
        upload.write(Torn(CONTENT))
    assert upload.offset == 3 * 1024 * 1024
    upload.write(CONTENT[upload.offset :])
    upload.finish(len(CONTENT), DIGEST)


def test_who_does_not_know_that_another_wrote_meanwhile_is_told_and_changes_nothing():
    mine = layer_service.upload(NAME, WHO)
    theirs = layer_service.resume(NAME, mine.id, WHO)
    theirs.write(CONTENT)
    with pytest.raises(ChunkOutOfOrder):
        mine.write(b"other bytes")
    with pytest.raises(ChunkOutOfOrder):
        mine.finish(0, Digest.of(b""))
    assert layer_service.resume(NAME, mine.id, WHO).finish(len(CONTENT), DIGEST) == DIGEST


def test_an_upload_belongs_to_its_repository_and_to_who_began_it():
    upload = layer_service.upload(NAME, WHO)
    for name, upload_id, who in [(NAME, upload.id, "somebody else"), ("team/other", upload.id, WHO), (NAME, "x", WHO)]:
        with pytest.raises(BlobUploadUnknown):
            layer_service.resume(name, upload_id, who)


def test_a_cancelled_upload_is_gone_with_its_bytes():
    upload = layer_service.upload(NAME, WHO)
    upload.write(CONTENT)
    upload.cancel()
    for again in (upload.cancel, lambda: upload.write(b"x"), lambda: layer_service.resume(NAME, upload.id, WHO)):
        with pytest.raises(BlobUploadUnknown):
            again()
    assert PendingDelete.objects.count() == 1


# --- What is said about it has to be true -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "refused"),
    [
        ({"length": len(LAYER) - 1, "digest": Digest.of(LAYER)}, SizeInvalid),
        ({"length": len(LAYER) + 1, "tarsum": TARSUM}, SizeInvalid),
        ({"length": len(LAYER), "digest": DIGEST}, DigestInvalid),
        ({"length": len(LAYER), "tarsum": OTHER_TARSUM}, DigestInvalid),
        ({"length": len(LAYER), "digest": DIGEST, "tarsum": TARSUM}, DigestInvalid),
        ({"length": len(LAYER), "digest": Digest.of(LAYER), "tarsum": OTHER_TARSUM}, DigestInvalid),
    ],
)
def test_if_one_thing_is_not_true_the_upload_is_over(said, refused):
    upload = layer_service.upload(NAME, WHO)
    upload.write(LAYER)
    with pytest.raises(refused):
        upload.finish(**said)
    assert not Upload.objects.exists()
    assert not Blob.objects.exists()
    with pytest.raises(BlobUploadUnknown):
        upload.finish(len(LAYER), Digest.of(LAYER))


@pytest.mark.parametrize("said", [{}, {"digest": "latest"}, {"tarsum": str(DIGEST)}, {"digest": TARSUM}])
def test_what_is_neither_digest_nor_tarsum_is_refused_and_the_upload_stays(said):
    upload = layer_service.upload(NAME, WHO)
    upload.write(LAYER)
    with pytest.raises(DigestInvalid):
        upload.finish(len(LAYER), **said)
    assert upload.finish(len(LAYER), Digest.of(LAYER)) == Digest.of(LAYER)


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("tarsum", [None, TARSUM, TarSum.parse(TARSUM)])
def test_a_digest_and_a_tarsum_may_both_be_said(algorithm, tarsum):
    upload, digest = layer_service.upload(NAME, WHO), Digest.of(LAYER, algorithm)
    upload.write(LAYER)
    assert upload.finish(len(LAYER), digest, tarsum) == digest
    assert layer_service.exists(NAME, TARSUM) == (tarsum is not None)


def test_with_a_tarsum_alone_the_sha256_is_the_address():
    upload = layer_service.upload(NAME, WHO, "sha512")
    upload.write(LAYER)
    assert upload.finish(len(LAYER), tarsum=TARSUM) == Digest.of(LAYER)
    with layer_service.fetch(NAME, TARSUM) as layer:
        assert (layer.digest, layer.read()) == (Digest.of(LAYER), LAYER)


def test_finishing_may_be_repeated_with_the_same_words():
    upload = layer_service.upload(NAME, WHO)
    upload.write(LAYER)
    for _ in range(2):
        assert upload.finish(len(LAYER), Digest.of(LAYER), TARSUM) == Digest.of(LAYER)
    for other in ({"length": 1, "tarsum": TARSUM}, {"length": len(LAYER), "tarsum": OTHER_TARSUM}):
        with pytest.raises(BlobUploadUnknown):
            upload.finish(**other)


# --- Out --------------------------------------------------------------------------------------------------------------


def test_a_layer_is_read_from_any_place_like_any_binary_file():
    stored(CONTENT)
    with layer_service.fetch(NAME, DIGEST) as layer, io.BytesIO(CONTENT) as like:
        assert layer.readable()
        assert layer.seekable()
        assert not layer.writable()
        steps = [(0, 0), (5_000_000, 0), (-300, 1), (100, 1), (-10, 2), (10, 2), (len(CONTENT), 0), (77, 0), (-77, 1)]
        for offset, whence in steps:
            assert layer.seek(offset, whence) == like.seek(offset, whence) == layer.tell()
            assert layer.read(3_000_000) == like.read(3_000_000)
            assert layer.tell() == like.tell()
        ours, theirs = bytearray(1000), bytearray(1000)
        layer.seek(-500, io.SEEK_END)
        like.seek(-500, io.SEEK_END)
        assert layer.readinto(ours) == like.readinto(theirs) == 500
        assert ours == theirs
        for wrong in ((-1, 0), (-6_000_000, 1), (-6_000_000, 2)):
            with pytest.raises(ValueError, match="before the first byte"):
                layer.seek(*wrong)
    with pytest.raises(ValueError, match="closed"):
        layer.read(1)


def test_tarfile_reads_a_layer_where_it_is():
    stored(gzip.decompress(LAYER))
    with layer_service.fetch(NAME, Digest.of(gzip.decompress(LAYER))) as layer, tarfile.open(fileobj=layer) as tar:
        (member,) = tar.getmembers()
        assert tar.extractfile(member).read()


def test_a_layer_without_bytes():
    stored(b"")
    with layer_service.fetch(NAME, Digest.of(b"")) as layer:
        assert (layer.size, layer.read(), layer.seek(0, io.SEEK_END)) == (0, b"", 0)


def test_a_layer_knows_what_it_is():
    stored(CONTENT)
    with layer_service.fetch(NAME, str(DIGEST)) as layer:
        assert (layer.size, layer.digest) == (len(CONTENT), DIGEST)
        assert layer.media_type == "application/octet-stream"
        assert layer.came_at == Layer.objects.get().linked_at


def test_its_media_type_is_the_one_that_the_newest_manifest_here_gives_it():
    stored(CONTENT)
    here, there = Repository.objects.get(), Repository.objects.create(name="team/other")
    for repository, manifest, media_type in [
        (here, "c", "application/x-first"),
        (here, "b", "application/x-last"),
        (here, "a", ""),
        (there, "d", "application/x-elsewhere"),
    ]:
        Naming.objects.create(repository=repository, manifest=manifest, digest=str(DIGEST), media_type=media_type)
    with layer_service.fetch(NAME, DIGEST) as layer:
        assert layer.media_type == "application/x-last"
    Naming.objects.all().delete()  # manifests that are not there


def test_a_layer_that_clients_pushed_is_the_same_one(registry):
    registry.push_blob(NAME, CONTENT)
    registry.push_blob(NAME, b"{}")
    registry.push_manifest(NAME, image(b"{}", CONTENT), "latest")
    with layer_service.fetch(NAME, DIGEST) as layer:
        assert (layer.media_type, layer.read()) == (LAYER_TYPE, CONTENT)
    assert not layer_service.exists("team/other", DIGEST)
    with pytest.raises(BlobUnknown):
        layer_service.fetch("team/other", DIGEST)


@pytest.mark.parametrize("address", ["latest", "", "sha256:", "tarsum.v1+sha256:0", "sha256:" + 64 * "A"])
def test_what_is_no_address_is_refused(address):
    for ask in (layer_service.exists, layer_service.fetch):
        with pytest.raises(DigestInvalid):
            ask(NAME, address)


@pytest.mark.damages_storage
@pytest.mark.parametrize("damage", ["gone", "short", "cut while it is read"])
def test_bytes_that_storage_has_lost_are_never_silently_missing(damage, blob_directory):
    stored(CONTENT)
    path = blob_directory / Blob.objects.get().key
    with layer_service.fetch(NAME, DIGEST) as layer:
        if damage == "cut while it is read":
            assert layer.read(10) == CONTENT[:10]
        path.unlink() if damage == "gone" else path.write_bytes(CONTENT[:-1])
        with pytest.raises(BlobUnknown):
            layer.read()
    assert not layer_service.exists(NAME, DIGEST)
    stored(CONTENT)
    assert layer_service.exists(NAME, DIGEST)


# --- The document -----------------------------------------------------------------------------------------------------


def test_the_example_in_the_document_does_what_it_shows(tmp_path, monkeypatch):
    (tmp_path / "layer.tar.gz").write_bytes(LAYER)
    monkeypatch.chdir(tmp_path)
    example = (ROOT / "docs/layer-service.md").read_text()
    test = doctest.DocTestParser().get_doctest(example.replace("```", "\n"), {}, "docs/layer-service.md", None, 0)
    told: list[str] = []
    result = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=told.append)
    assert result.failed == 0, "".join(told)
    assert result.attempted > 10
    assert hashlib.sha256(LAYER).hexdigest() in example
