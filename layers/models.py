from django.db import models
from django.utils.timezone import now

from counts.models import Pulled
from repositories.models import ByteOrderField, Repository
from work.models import Due


class Contents(models.TextChoices):
    UNKNOWN = "", "not looked into yet"
    TAR = "tar", "a tar"
    OTHER = "other", "not a tar"
    BROKEN = "broken", "ends early, or is malformed"
    TOO_MUCH = "too much", "more than may be looked into"


class Blob(Due):
    """Bytes the registry holds, once per digest, whoever pushed them. A damaged one is as good as absent, until the
    next push of the same bytes gives it a sound object.

    What is inside is found out once, after it came (`finalized_at`); where it is no tar only some of it is known. Two
    duties share `due_at`: finding that out, and deleting a blob that no repository has any more.
    """

    digest = ByteOrderField(max_length=140, unique=True)
    size = models.BigIntegerField()
    key = models.CharField(max_length=100, unique=True)
    created_at = models.DateTimeField(auto_now_add=True)
    damaged_at = models.DateTimeField(null=True, blank=True)

    finalized_at = models.DateTimeField(null=True, blank=True)
    contents = models.CharField(max_length=10, choices=Contents.choices, blank=True)
    remark = models.CharField(max_length=500, blank=True)  # what was seen, where that is not simply a tar
    compression = models.CharField(max_length=10, blank=True)  # "none", "gzip", "zstd"
    diff_id = ByteOrderField(max_length=140, blank=True)  # digest of the uncompressed bytes
    tarsum = ByteOrderField(max_length=140, blank=True)  # version 1
    files = models.BigIntegerField(null=True, blank=True)  # regular ones: a hard link is another name of one
    uncompressed_size = models.BigIntegerField(null=True, blank=True)  # bytes

    class Meta:
        indexes = [
            models.Index(fields=["diff_id"], condition=~models.Q(diff_id=""), name="blobs_by_diff_id"),
            models.Index(fields=["tarsum"], condition=~models.Q(tarsum=""), name="blobs_by_tarsum"),
        ]

    def __str__(self) -> str:
        return self.digest

    def quarantine(self) -> None:
        """Count it as absent. What was found out is true of the object that it has here: it may have another by now."""
        Blob.objects.filter(pk=self.pk, key=self.key, damaged_at=None).update(damaged_at=now())


class Layer(Due, Pulled):
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
    """That a manifest of the repository names this digest, a blob's or another manifest's. Text, not foreign keys: a
    layer may be deleted and pushed again while manifests name it."""

    repository = models.ForeignKey(Repository, on_delete=models.PROTECT, related_name="namings")
    manifest = ByteOrderField(max_length=140)
    digest = ByteOrderField(max_length=140)
    media_type = models.CharField(max_length=255, blank=True)  # as the manifest describes it

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
