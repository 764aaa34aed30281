from typing import Any

from django.db import models

from counts.models import Pulled
from oci.digests import Digest
from oci.documents import Descriptor
from repositories.models import ByteOrderField, Repository
from work.models import Due


class Manifest(Due, Pulled):
    """A manifest's exact bytes, and what has to be known about them without reading them again. `due_at` is set when
    the last index that named it may have gone: an untagged child does not outlive its indexes for long."""

    repository = models.ForeignKey(Repository, on_delete=models.PROTECT, related_name="manifests")
    digest = ByteOrderField(max_length=140)
    media_type = models.CharField(max_length=255)
    artifact_type = models.CharField(max_length=255, blank=True)
    size = models.PositiveIntegerField()
    content = models.BinaryField()
    subject = ByteOrderField(max_length=140, blank=True)
    annotations = models.JSONField(default=dict)
    pushed_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["repository", "digest"], name="one_manifest_per_digest")]
        indexes = [
            models.Index(fields=["repository", "subject", "id"], condition=~models.Q(subject=""), name="referrers")
        ]

    def __str__(self) -> str:
        return self.digest

    @property
    def descriptor(self) -> dict[str, Any]:
        """What a list of referrers says about it ("Listing Referrers")."""
        digest = Digest.parse(self.digest)
        return Descriptor(self.media_type, digest, self.size, self.artifact_type, self.annotations).as_json()


class Tag(models.Model):
    """A name that points to a manifest. One row, moved in one statement: a reader sees the old one or the new."""

    repository = models.ForeignKey(Repository, on_delete=models.PROTECT, related_name="tags")
    name = ByteOrderField(max_length=128)
    # DO_NOTHING: tags go before their manifest does, in `services.delete`, not in Django's emulated cascade.
    manifest = models.ForeignKey(Manifest, on_delete=models.DO_NOTHING, related_name="tags")
    moved_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["repository", "name"], name="one_tag_per_name")]

    def __str__(self) -> str:
        return self.name
