"""Manifests that were children of an index and are nothing any more, and what a deleted repository had."""

from django.db import transaction
from django.utils.timezone import now

from layers.models import Naming
from manifests import services
from manifests.models import Manifest, Tag
from repositories.deletion import BATCH, clears
from repositories.locks import locked
from repositories.models import Repository
from work.loop import duty


def is_needed(manifest: Manifest) -> bool:
    named = Naming.objects.filter(repository=manifest.repository_id, digest=manifest.digest)
    return manifest.tags.exists() or named.exists()


def would(manifest: Manifest) -> str:
    where = f"manifest {manifest} of {manifest.repository}"
    if is_needed(manifest):
        return f"keep {where}: a tag or an index has it"
    return f"delete {where}: the index that named it was deleted, and its grace is over"


@duty(Manifest, would)
def collect(manifest: Manifest) -> None:
    """An index that named it was deleted, a grace ago: it goes too, unless it has a tag or another index names it.

    Who pushes it, or an index that names it, locks the row as this does; so it is looked at after that.
    """
    due = Manifest.objects.filter(pk=manifest.pk, due_at__lte=now())
    with transaction.atomic():
        if not services.hold(manifest) or not due.exists():
            return
        if is_needed(manifest):
            due.update(due_at=None)
        else:
            services.remove(manifest)


@clears
def clear(repository: Repository) -> None:
    """As clients delete them, so that one who still does, and this, do not get into each other's way."""
    while tags := list(repository.tags.order_by("name").values_list("pk", flat=True)[:BATCH]):
        with transaction.atomic():
            locked(Tag.objects.filter(pk__in=tags), "name")
            Tag.objects.filter(pk__in=tags).delete()
    while manifests := list(repository.manifests.only("pk", "repository_id", "digest", "media_type")[:BATCH]):
        for manifest in manifests:
            with transaction.atomic():
                if services.hold(manifest):
                    services.remove(manifest)
