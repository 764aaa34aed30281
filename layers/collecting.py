"""Layers that nothing needs any more go, then blobs that no repository has, while pushes go on.

Nothing is searched for: whatever takes away what may have been the last need of a layer or a blob gives it a due time.
Here the row is locked, and *then* looked at, in a statement of its own: PostgreSQL shows a statement what was committed
when it began, and locking may have waited for a push that names the layer or links the blob. Who pushes keeps the same
row (`repositories.locks`), so either the push finds it gone, or it is found to be needed here.
"""

from django.db import transaction
from django.utils.timezone import now

from layers import finalizing
from layers.models import Blob, Layer, Naming
from layers.services import discard
from repositories.deletion import BATCH, clears
from repositories.locks import locked
from repositories.models import Repository
from work.loop import duty


def is_named(layer: Layer) -> bool:
    return Naming.objects.filter(repository=layer.repository_id, digest=layer.blob.digest).exists()


def would_collect(layer: Layer) -> str:
    if is_named(layer):
        return f"keep layer {layer}: a manifest names it"
    return f"take layer {layer} away: no manifest names it, and its grace is over"


@duty(Layer, would_collect)
def collect(layer: Layer) -> None:
    """The grace is over: the layer stays if a manifest of its repository names it."""
    due = Layer.objects.filter(pk=layer.pk, due_at__lte=now())  # a moment before the look: later graces are respected
    if is_named(layer):
        due.update(due_at=None)
        return
    with transaction.atomic():
        Blob.objects.filter(pk=layer.blob_id).update(due_at=now())
        if not due.select_for_update(of=("self",)).values_list("pk"):
            return
        if is_named(layer):
            due.update(due_at=None)
        else:
            layer.delete()


def would_tend(blob: Blob) -> str:
    if not blob.layers.exists():
        return f"delete blob {blob} ({blob.size:,} bytes): no repository has it"
    if unknown(blob):
        return f"look into blob {blob} ({blob.size:,} bytes): nobody has yet"
    return f"keep blob {blob}: a repository has it"


def unknown(blob: Blob) -> bool:
    """Whether what is in it is still to be found out; of a damaged one it cannot be, until it is healed."""
    return blob.finalized_at is None and blob.damaged_at is None


@duty(Blob, would_tend, slow=True)
def tend(blob: Blob) -> None:
    """Delete a blob that no repository has, find out what is in a new one."""
    with transaction.atomic():
        current = Blob.objects.select_for_update().filter(pk=blob.pk).first()
        if current is None:
            return
        if not Layer.objects.filter(blob=current).exists():
            current.delete()
            discard(current.key)
            return
        if not unknown(current):
            Blob.objects.filter(pk=current.pk).update(due_at=None)
            return
    finalizing.finalize(current)


@clears
def clear(repository: Repository) -> None:
    """The layers of a deleted repository go at once; their blobs are looked at after that."""
    while layers := list(repository.layers.order_by("pk")[:BATCH].values_list("pk", "blob")):
        with transaction.atomic():
            blobs = Blob.objects.filter(pk__in=[blob for _, blob in layers])
            locked(blobs)
            blobs.update(due_at=now())
            links = Layer.objects.filter(pk__in=[layer for layer, _ in layers])
            locked(links)
            links.delete()
