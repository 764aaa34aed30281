from typing import Any

from django.conf import settings
from django.db import models

from oci.errors import NameUnknown
from work.models import Due


class ByteOrderField(models.CharField):
    """Text that is compared and sorted byte by byte, as the spec wants names and tags, on every database."""

    def db_parameters(self, connection: Any) -> dict[str, Any]:
        parameters: dict[str, Any] = super().db_parameters(connection)
        if connection.vendor == "postgresql":
            parameters["collation"] = "C"  # SQLite and its BINARY collation need no telling
        return parameters


class Visibility(models.TextChoices):
    PRIVATE = "private"
    PUBLIC = "public"


def default_visibility() -> str:
    return settings.REGISTRY_DEFAULT_VISIBILITY


class Living(models.Manager["Repository"]):
    """Of those that are not deleted."""

    def get_queryset(self) -> models.QuerySet["Repository"]:
        return super().get_queryset().filter(deleted_at=None)

    def named(self, name: str) -> "Repository":
        try:
            return self.get(name=name)
        except Repository.DoesNotExist:
            raise NameUnknown(name) from None

    def for_push(self, name: str) -> "Repository":
        """The repository of this name; the first push makes it. It stays unseen until it holds something."""
        while True:  # one that somebody made may have been deleted again before we see it
            for repository in self.filter(name=name):
                return repository
            self.bulk_create([Repository(name=name)], ignore_conflicts=True)


class Repository(Due):
    """A name under which layers, manifests and tags are kept, and whether everybody may read them.

    A deleted one has lost its name at once (`former_name` keeps it for people), and is due until all it held is gone.
    """

    name = ByteOrderField(max_length=255, unique=True)
    visibility = models.CharField(max_length=10, choices=Visibility.choices, default=default_visibility)
    created_at = models.DateTimeField(auto_now_add=True)
    deleted_at = models.DateTimeField(null=True, blank=True)
    former_name = ByteOrderField(max_length=255, blank=True)

    objects = Living()
    every = models.Manager()  # also the deleted

    class Meta:
        ordering = ["name"]
        verbose_name_plural = "repositories"
        permissions = [
            ("pull_content", "Can pull from every repository"),
            ("push_content", "Can push to every repository (and pull)"),
            ("delete_content", "Can delete tags, manifests and layers in every repository"),
        ]

    def __str__(self) -> str:
        return self.name
