"""What is true of the database and of storage whenever no request is running. Each function returns what is not."""

import hashlib
import posixpath
from collections.abc import Iterable, Iterator
from typing import Any

from layers.models import Blob, Layer, Naming, PendingDelete
from manifests.models import Manifest, Tag
from oci.digests import Digest
from oci.documents import Document
from repositories.models import Repository
from storage.driver import blobs
from uploads.models import State, Upload


def blobs_without_their_object() -> Iterable[str]:
    """Bytes were verified before they became visible, and are still what they were."""
    for blob in Blob.objects.filter(damaged_at=None):
        content = stored().get(blob.key)
        if content is None:
            yield f"blob {blob} has no object {blob.key}"
        elif len(content) != blob.size:
            yield f"blob {blob} has {blob.size} bytes, its object {len(content)}"
        elif digest_of(content, blob.digest) != blob.digest:
            yield f"the object of blob {blob} holds other bytes"


def objects_that_nobody_knows() -> Iterable[str]:
    known = {
        *Blob.objects.values_list("key", flat=True),
        *Upload.objects.filter(state=State.OPEN).values_list("key", flat=True),
        *PendingDelete.objects.values_list("key", flat=True),
    }
    return (f"object {key} has no row" for key in stored().keys() - known)


def blobs_that_are_to_be_deleted() -> Iterable[str]:
    lost = Blob.objects.filter(key__in=PendingDelete.objects.values("key"))
    return (f"the object of blob {blob} is to be deleted" for blob in lost)


def uploads_without_their_bytes() -> Iterable[str]:
    for upload in Upload.objects.filter(state=State.OPEN):
        content = stored().get(upload.key)
        if content is None or len(content) < upload.offset:
            yield f"upload {upload} counts {upload.offset} bytes that are not stored"
        elif upload.offset and str(upload.hasher().digest) != digest_of(
            content[: upload.offset], f"{upload.algorithm}:"
        ):
            yield f"the hash state of upload {upload} is not that of its bytes"


def tags_without_a_manifest() -> Iterable[str]:
    for tag in Tag.objects.all():
        if not Manifest.objects.filter(pk=tag.manifest_id, repository=tag.repository_id).exists():
            yield f"tag {tag} of {tag.repository} points to no manifest of it"


def manifests_that_are_not_what_they_say() -> Iterable[str]:
    for manifest in Manifest.objects.all():
        content = bytes(manifest.content)
        if digest_of(content, manifest.digest) != manifest.digest or len(content) != manifest.size:
            yield f"manifest {manifest} holds other bytes"
        namings = Naming.objects.filter(repository=manifest.repository_id, manifest=manifest.digest)
        if set(namings.values_list("digest", flat=True)) != named_by(manifest):
            yield f"what manifest {manifest} names is not what was written down"


def manifests_without_what_they_name() -> Iterable[str]:
    for manifest in Manifest.objects.filter(repository__deleted_at=None):
        document = read(manifest)
        layers = Layer.objects.filter(repository=manifest.repository_id, blob__damaged_at=None)
        linked = set(layers.values_list("blob__digest", flat=True))
        beside = set(Manifest.objects.filter(repository=manifest.repository_id).values_list("digest", flat=True))
        missing = {str(blob.digest) for blob in document.blobs} - linked
        missing |= {str(child.digest) for child in document.manifests} - beside
        yield from (f"manifest {manifest} of {manifest.repository} lacks {digest}" for digest in sorted(missing))


def namings_by_nobody() -> Iterable[str]:
    for naming in Naming.objects.all():
        if not Manifest.objects.filter(repository=naming.repository_id, digest=naming.manifest).exists():
            yield f"{naming}, but there is no such manifest in {naming.repository}"


def what_nobody_will_look_at() -> Iterable[str]:
    """Nothing is searched for: what nothing needs has to be due, or it stays for ever."""
    for layer in Layer.objects.filter(due_at=None, repository__deleted_at=None):
        if not Naming.objects.filter(repository=layer.repository_id, digest=layer.blob.digest).exists():
            yield f"layer {layer} is named by no manifest, and will never be collected"
    for blob in Blob.objects.filter(due_at=None):
        if not blob.layers.exists():
            yield f"blob {blob} is in no repository, and will never be collected"
        elif blob.finalized_at is None and blob.damaged_at is None:
            yield f"nobody will look into blob {blob}"
    for upload in Upload.objects.filter(due_at=None):
        yield f"upload {upload} never expires"
    for repository in Repository.every.exclude(deleted_at=None).filter(due_at=None):
        yield f"what {repository.former_name} held will never go"


def what_nothing_needs() -> Iterable[str]:
    """Whatever is left after every grace is over and all has been collected is needed by something."""
    for layer in Layer.objects.all():
        if not Naming.objects.filter(repository=layer.repository_id, digest=layer.blob.digest).exists():
            yield f"layer {layer} is named by no manifest"
    yield from (f"blob {blob} is in no repository" for blob in Blob.objects.filter(layers=None))
    yield from (f"manifest {manifest} is still due" for manifest in Manifest.objects.exclude(due_at=None))
    yield from (f"{repository.former_name} is still there" for repository in Repository.every.exclude(deleted_at=None))
    keys = set(Blob.objects.values_list("key", flat=True))
    yield from (f"object {key} is of no blob" for key in stored().keys() - keys)


def stored() -> dict[str, bytes]:
    """Every object there is, by key."""
    contents = {}
    for key in keys_below(""):
        with storage().open(key) as file:
            contents[key] = file.read()
    return contents


def keys_below(directory: str) -> Iterator[str]:
    directories, files = storage().listdir(directory)
    yield from (posixpath.join(directory, file) for file in files)
    for below in directories:
        yield from keys_below(posixpath.join(directory, below))


def storage() -> Any:
    """The driver as what it is too, one of Django's storages: that can be looked through."""
    return blobs()


def digest_of(content: bytes, like: str) -> str:
    """By hashlib, which the registry's own hashers do not use."""
    algorithm = Digest.parse(like).algorithm if like[-1] != ":" else like[:-1]
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


def named_by(manifest: Manifest) -> set[str]:
    document = read(manifest)
    return {str(each.digest) for each in document.blobs + document.elsewhere + document.manifests}


def read(manifest: Manifest) -> Document:
    return Document.parse(bytes(manifest.content), manifest.media_type)


STORAGE: list[Any] = [blobs_without_their_object, objects_that_nobody_knows, uploads_without_their_bytes]
INDEX: list[Any] = [
    blobs_that_are_to_be_deleted,
    tags_without_a_manifest,
    manifests_that_are_not_what_they_say,
    namings_by_nobody,
    what_nobody_will_look_at,
]
PROMISE: list[Any] = [manifests_without_what_they_name]
COLLECTED: list[Any] = [what_nothing_needs]
