"""Finding, admitting, mounting and unlinking blobs. The layer index is the table of links."""

import logging
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, Q
from django.utils.timezone import now

from layers import index
from layers.index import SOUND
from layers.models import Blob, Layer, Naming, PendingDelete
from oci.addresses import Address
from oci.contents import Inside
from oci.digests import Digest
from oci.documents import Descriptor
from oci.errors import BlobUnknown
from repositories.locks import kept, living, locked
from repositories.models import Repository
from storage.driver import ObjectDamaged, ObjectMissing, Reader, blobs
from work.loop import duty
from work.messages import look_soon

log = logging.getLogger(__name__)


UNSEEN = {"finalized_at": None, **asdict(Inside(""))}  # what was seen in damaged bytes may be wrong


class BlobDamaged(Exception):
    """The object that the registry has of this digest was found damaged in this moment."""


def find_for_push(name: str, address: Address) -> Layer:
    """`index.find` for a client that will rely on the answer instead of pushing: it stays for at least half a grace.

    Writes only where no manifest names the layer and less than half of its grace is left. Raises BlobUnknown.
    """
    named = Naming.objects.filter(repository=OuterRef("repository"), digest=OuterRef("blob__digest"))
    layer = index.linked(name, address).annotate(named=Exists(named)).first()
    if layer is None:
        raise BlobUnknown(str(address))
    half = now() + settings.REGISTRY_GRACE / 2
    expiring = layer.due_at is not None and layer.due_at < half and not layer.named
    if expiring and not Layer.objects.filter(pk=layer.pk).update(due_at=now() + settings.REGISTRY_GRACE):
        raise BlobUnknown(str(address))  # collected in this very moment
    return layer


def read(blob: Blob, start: int, stop: int) -> Reader:
    """Bytes `start` to `stop` of the blob. Where storage has lost them the blob is quarantined: BlobUnknown."""
    try:
        return blobs().read(blob.key, start, stop)
    except (ObjectMissing, ObjectDamaged) as problem:
        log.error("blob %s is damaged, its object %s: %r", blob.digest, blob.key, problem)
        blob.quarantine()
        raise BlobUnknown(blob.digest) from problem


def unsound(digest: Digest) -> str:
    """The key of an object that should hold this digest and does not, or "". Looks into storage: ask before a
    transaction, and tell `admit`."""
    blob = Blob.objects.filter(digest=str(digest)).first()
    if blob is None or (blob.damaged_at is None and blobs().holds(blob.key, blob.size)):
        return ""
    return blob.key


def admit(
    repository: Repository, digest: Digest, key: str, size: int, unsound: str, inside: Inside | None = None
) -> None:
    """Make verified bytes a layer of the repository. The registry keeps one object for a digest: the older, unless
    that is the `unsound` one. Call it inside the transaction that ends the upload, which keeps the repository.

    `inside`: what is in the bytes, where somebody has looked already. Raises BlobDamaged where the older object turns
    out to be unsound only now.
    """
    # All this before the row is shared with anybody: of two who keep a row neither can change its key, and who waits
    # to do that would be waited for by both.
    known = Blob.objects.filter(digest=str(digest))
    sound = {"key": key, "size": size, "damaged_at": None, "due_at": now(), **UNSEEN}
    if unsound and known.filter(key=unsound).update(**sound):
        discard(unsound)
    seen = {"finalized_at": now(), **asdict(inside)} if inside else {}
    if seen:
        known.filter(finalized_at=None).update(**seen)
    blob = kept_blob(digest, key, size, seen)
    if blob.key != key:
        if blob.damaged_at:
            raise BlobDamaged(str(digest))
        discard(key)
    link(repository, blob)
    look_soon(Blob)


def kept_blob(digest: Digest, key: str, size: int, seen: dict[str, Any]) -> Blob:
    """The blob row of this digest, made if need be, and due: for a look at what is in it, unless that was `seen`. A
    collector may delete it between two statements: then again."""
    while True:
        made = Blob(digest=str(digest), key=key, size=size, due_at=now(), **seen)
        Blob.objects.bulk_create([made], ignore_conflicts=True)
        if found := kept(Blob.objects.filter(digest=str(digest))):
            return found[0]


def link(repository: Repository, blob: Blob) -> None:
    layer = Layer(repository=repository, blob=blob, due_at=now() + settings.REGISTRY_GRACE)
    Layer.objects.bulk_create(
        [layer], update_conflicts=True, unique_fields=["repository", "blob"], update_fields=["due_at"]
    )


def mount(digest: Digest, sources: Q, repository: Repository) -> bool:
    """Link a blob that one of the `sources` (a condition on repositories) has; False where none has it."""
    in_sources = Layer.objects.filter(blob=OuterRef("pk"), repository__in=Repository.objects.filter(sources))
    with transaction.atomic():
        if not living(repository):
            return False
        found = kept(Blob.objects.filter(SOUND, Exists(in_sources), digest=str(digest)))
        for blob in found:
            link(repository, blob)
    return bool(found)


def unlink(name: str, digest: Digest) -> bool:
    """Take the blob out of the repository, which is its owner's explicit wish, also while manifests name it: whether
    one does is returned. Raises BlobUnknown."""
    with transaction.atomic():
        Blob.objects.filter(digest=str(digest)).update(due_at=now())
        layer = (
            Layer.objects.select_for_update(of=("self",))
            .filter(repository__name=name, blob__digest=str(digest))
            .order_by("pk")
            .first()
        )
        if layer is None:
            raise BlobUnknown(str(digest))
        layer.delete()
        return Naming.objects.filter(repository=layer.repository_id, digest=str(digest)).exists()


def present(repository: Repository, digests: Iterable[str]) -> set[str]:
    """Those of the digests that are layers here, kept from deletion until the transaction ends."""
    found = dict(
        Layer.objects.filter(repository=repository, blob__damaged_at=None, blob__digest__in=set(digests)).values_list(
            "pk", "blob__digest"
        )
    )
    return {found[layer.pk] for layer in kept(Layer.objects.filter(pk__in=found))}


def name(repository: Repository, manifest: str, descriptors: Iterable[Descriptor]) -> None:
    """Record that the manifest names these layers and manifests, whether they are here or not."""
    named = {str(descriptor.digest): descriptor.media_type for descriptor in descriptors}
    namings = [
        Naming(repository=repository, manifest=manifest, digest=digest, media_type=media_type)
        for digest, media_type in sorted(named.items())
    ]
    Naming.objects.bulk_create(namings, ignore_conflicts=True)


def unname(repository_id: int, manifest: str) -> None:
    """The manifest is gone: every layer it named gets a new grace, after which a collector decides."""
    namings = Naming.objects.filter(repository=repository_id, manifest=manifest)
    layers = Layer.objects.filter(repository=repository_id, blob__digest__in=namings.values("digest"))
    locked(layers)
    layers.update(due_at=now() + settings.REGISTRY_GRACE)
    namings.delete()


def discard(key: str) -> None:
    """Have the object's bytes deleted, after the surrounding transaction."""
    PendingDelete.objects.bulk_create([PendingDelete(key=key, due_at=now())], ignore_conflicts=True)
    look_soon(PendingDelete)


def would_erase(pending: PendingDelete) -> str:
    return f"delete the bytes of {pending}: no blob and no upload has them any more"


@duty(PendingDelete, would_erase)
def erase(pending: PendingDelete) -> None:
    blobs().delete(pending.key)
    pending.delete()
