"""Layers that nothing needs any more go, then blobs that no repository has, while pushes go on.

Nothing is searched for: whatever takes away what may have been the last need of a layer or a blob gives it a due time.
Here the row is locked, and *then* looked at, in a statement of its own: PostgreSQL shows a statement what was committed
when it began, and locking may have waited for a push that names the layer or links the blob. Who pushes keeps the same
row (`repositories.locks`), so either the push finds it gone, or it is found to be needed here.
"""

from django.db import transaction
from django.db.models import Exists, OuterRef, Q
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


LINKED = Exists(Layer.objects.filter(blob=OuterRef("pk")))
# What is in a damaged blob cannot be found out, until it is healed.
UNKNOWN = LINKED & Q(finalized_at=None, damaged_at=None)


def would_look_into(blob: Blob) -> str:
    return f"look into blob {blob} ({blob.size:,} bytes): nobody has yet"


@duty(Blob, would_look_into, slow=True, only=UNKNOWN)
def look_into(blob: Blob) -> None:
    """Find out what is in a new blob. Apart from its end, which shall not wait until many have been looked into."""
    finalizing.finalize(blob)


def is_linked(blob: Blob) -> bool:
    return Layer.objects.filter(blob=blob.pk).exists()


def would_tend(blob: Blob) -> str:
    if not is_linked(blob):
        return f"delete blob {blob} ({blob.size:,} bytes): no repository has it"
    return f"keep blob {blob}: a repository has it"


@duty(Blob, would_tend, only=~UNKNOWN)
def tend(blob: Blob) -> None:
    """Delete a blob that no repository has."""
    row = Blob.objects.filter(pk=blob.pk)
    with transaction.atomic():
        current = row.select_for_update().first()
        if current is None:
            return
        if is_linked(current):
            row.filter(UNKNOWN).update(due_at=now())  # it was pushed again in this moment
            row.exclude(UNKNOWN).update(due_at=None)
        else:
            current.delete()
            discard(current.key)


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
