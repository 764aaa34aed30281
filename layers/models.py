from django.db import models

from repositories.models import ByteOrderField, Repository
from work.models import Due


class Blob(Due):
    """Bytes the registry holds, once per digest, whoever pushed them. A damaged one is as good as absent, until the
    next push of the same bytes gives it a sound object."""

    digest = ByteOrderField(max_length=140, unique=True)
    size = models.BigIntegerField()
    key = models.CharField(max_length=100, unique=True)
    created_at = models.DateTimeField(auto_now_add=True)
    damaged_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return self.digest


class Layer(Due):
    """A blob as one repository has it: who may pull from the repository may pull the blob through this link, and
    through no other. `due_at` is the end of its grace: until then it stays, whether a manifest names it or not."""

    repository = models.ForeignKey(Repository, on_delete=models.PROTECT, related_name="layers")
    blob = models.ForeignKey(Blob, on_delete=models.PROTECT, related_name="layers")
    linked_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["repository", "blob"], name="one_layer_per_repository_and_blob")]

    def __str__(self) -> str:
        return f"{self.blob} in {self.repository}"


class Naming(models.Model):
    """That a manifest of the repository names this digest. Text, not foreign keys: a layer may be deleted and pushed
    again while manifests name it."""

    repository = models.ForeignKey(Repository, on_delete=models.PROTECT, related_name="namings")
    manifest = ByteOrderField(max_length=140)
    digest = ByteOrderField(max_length=140)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["repository", "digest", "manifest"], name="one_naming_per_manifest")
        ]
        indexes = [models.Index(fields=["repository", "manifest"], name="namings_of_a_manifest")]

    def __str__(self) -> str:
        return f"{self.manifest} names {self.digest}"


class PendingDelete(Due):
    """A storage key whose bytes must go."""

    key = models.CharField(max_length=100, unique=True)

    def __str__(self) -> str:
        return self.key
