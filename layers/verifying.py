"""Whether stored bytes are still what their digest says. They were when they came; disks rot, and files get lost."""

from collections.abc import Callable, Iterator
from contextlib import closing
from enum import StrEnum

from django.db.models import QuerySet
from django.utils.timezone import now

from layers.models import Blob
from layers.services import UNSEEN
from oci.digests import Digest, Hasher
from repositories.connections import let_go_of_connection
from storage.driver import ObjectDamaged, ObjectMissing, blobs

BLOCK = 1024 * 1024  # bytes


class Verdict(StrEnum):
    SOUND = "sound"
    MISSING = "missing"
    SHORT = "short"
    OTHER = "other bytes"
    GONE = "gone"  # collected meanwhile, or pushed again: what was read is nobody's any more

    @property
    def damaged(self) -> bool:
        return self in (Verdict.MISSING, Verdict.SHORT, Verdict.OTHER)


def verify(blob: Blob, progress: Callable[[int], object] = lambda count: None) -> Verdict:
    """Read the blob's object, whole, and say what it is. A damaged one is quarantined: it counts as absent, until it is
    pushed again or found sound by another look.

    `progress` is told the size of each block, in bytes. Raises StorageAway and OSError where the object cannot be read:
    that tells nothing about it, and changes nothing.
    """
    let_go_of_connection()
    try:
        verdict = Verdict.SOUND if str(digest_of(blob, progress)) == blob.digest else Verdict.OTHER
    except ObjectMissing:
        verdict = Verdict.MISSING
    except ObjectDamaged:
        verdict = Verdict.SHORT
    return record(blob, verdict)


def in_turn(chosen: QuerySet[Blob], after: int = 0) -> Iterator[Blob]:
    """By id, beyond `after`. Each is looked up when its turn comes, hours after the first perhaps: with the key that it
    has then."""
    while blob := chosen.filter(pk__gt=after).order_by("pk").first():
        after = blob.pk
        yield blob


def digest_of(blob: Blob, progress: Callable[[int], object]) -> Digest:
    hasher, size = Hasher(Digest.parse(blob.digest).algorithm), 0
    with closing(blobs().read(blob.key, 0, blob.size)) as reader:
        while block := reader.read(BLOCK):
            hasher.update(block)
            size += len(block)
            progress(len(block))
    if size < blob.size:  # it has become shorter meanwhile
        raise ObjectDamaged(blob.key)
    return hasher.digest


def record(blob: Blob, verdict: Verdict) -> Verdict:
    """For the object that was read, and no other: the blob may have been healed or collected meanwhile."""
    row = Blob.objects.filter(pk=blob.pk, key=blob.key)
    if verdict.damaged:
        blob.quarantine()
    else:  # due: nobody has looked into it, or collected it, while it was in quarantine
        row.exclude(damaged_at=None).update(damaged_at=None, due_at=now(), **UNSEEN)
    return verdict if row.exists() else Verdict.GONE
