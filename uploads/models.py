import uuid
from datetime import timedelta

from django.conf import settings
from django.db import models
from django.utils.timezone import now

from oci.digests import Digest, Hasher
from repositories.models import Repository
from work.models import Due

REMEMBERED = timedelta(hours=24)  # how long a finished upload answers a repeated PUT


class State(models.TextChoices):
    OPEN = "open"
    FINISHED = "finished"


class Upload(Due):
    """A blob on its way in. The row is the truth: bytes in storage beyond `offset` do not exist.

    `generation` names the request that may write: each takes the upload by putting a fresh one there, and whoever
    finds another than its own has been superseded. Random, so that taking needs no reading first.
    `due_at` is when the upload expires: after the last activity, and a while after it was finished.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    repository = models.ForeignKey(Repository, on_delete=models.PROTECT, related_name="uploads")
    opener = models.CharField(max_length=255)
    key = models.CharField(max_length=100, unique=True)
    state = models.CharField(max_length=10, choices=State.choices, default=State.OPEN)
    generation = models.UUIDField(default=uuid.uuid4)
    offset = models.BigIntegerField(default=0)
    algorithm = models.CharField(max_length=10, default="sha256")
    hash_state = models.BinaryField(default=b"")
    digest = models.CharField(max_length=140, blank=True)
    started_at = models.DateTimeField(auto_now_add=True)
    active_at = models.DateTimeField(default=now)

    def __str__(self) -> str:
        return str(self.id)

    def hasher(self, wanted: str = "") -> Hasher:
        """A hasher that has seen the bytes up to `offset`, of the wanted algorithm while there are none."""
        if self.offset == 0:
            return Hasher(wanted or self.algorithm)
        return Hasher(self.algorithm, bytes(self.hash_state))

    def record(self, offset: int, hasher: Hasher) -> bool:
        """The offset moves; it must be over bytes that are on stable storage. False: superseded, nothing moved."""
        moment = now()
        self.offset = offset
        moved = self.mine().update(
            offset=offset,
            algorithm=hasher.algorithm,
            hash_state=hasher.state,
            active_at=moment,
            due_at=moment + settings.REGISTRY_UPLOAD_EXPIRY,
        )
        return moved == 1

    def end(self, size: int, digest: Digest) -> bool:
        """The upload became a blob. The row stays a while, so that a repeated PUT is answered again."""
        moment = now()
        ended = self.mine().update(
            state=State.FINISHED,
            offset=size,
            digest=str(digest),
            active_at=moment,
            due_at=moment + REMEMBERED,
        )
        return ended == 1

    def mine(self) -> models.QuerySet["Upload"]:
        """The row, as long as this request may write to it."""
        return Upload.objects.filter(pk=self.pk, generation=self.generation, state=State.OPEN)
