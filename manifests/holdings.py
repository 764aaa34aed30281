"""What a repository holds: what would go with it."""

from dataclasses import dataclass

from django.db.models import Exists, OuterRef, Sum

from layers.models import Blob, Layer
from repositories.models import Repository


@dataclass(frozen=True, slots=True)
class Holdings:
    tags: int
    manifests: int
    layers: int
    bytes: int  # of all its layers
    bytes_only_here: int  # of those that no other repository has


def holdings(repository: Repository) -> Holdings:
    here = Blob.objects.filter(Exists(repository.layers.filter(blob=OuterRef("pk"))))
    elsewhere = Layer.objects.filter(blob=OuterRef("pk")).exclude(repository=repository)
    return Holdings(
        tags=repository.tags.count(),
        manifests=repository.manifests.count(),
        layers=repository.layers.count(),
        bytes=stored(here),
        bytes_only_here=stored(here.exclude(Exists(elsewhere))),
    )


def stored(blobs) -> int:
    return blobs.aggregate(bytes=Sum("size"))["bytes"] or 0
