"""Finding out, once, what is inside a blob that came."""

import logging
from dataclasses import asdict

from django.utils.timezone import now

from layers.contents import LookFailed, look_inside
from layers.models import Blob
from repositories.connections import let_go_of_connection
from storage.driver import ObjectDamaged, ObjectMissing
from work.loop import BrokenOff, stopping

log = logging.getLogger(__name__)


def finalize(blob: Blob) -> None:
    """Look into the blob, write down what was seen, and give the row no other due time than somebody else may have
    given it meanwhile. It may run twice, and end anywhere: then it is due again.

    Nothing is written of an object that is no longer the blob's. Raises LookFailed, StorageAway, OSError, and BrokenOff
    soon after this process was asked to end; a blob whose object is gone or too short is quarantined, as when it is
    read.
    """
    same = Blob.objects.filter(pk=blob.pk, key=blob.key)
    let_go_of_connection()
    try:
        same.update(finalized_at=now(), **asdict(look_inside(blob.key, blob.size, unwanted=stopping)))
    except LookFailed as problem:
        if stopping.is_set():
            raise BrokenOff from problem
        raise
    except (ObjectMissing, ObjectDamaged) as problem:
        log.error("blob %s is damaged, its object %s: %r", blob.digest, blob.key, problem)
        blob.quarantine()
    same.filter(due_at=blob.due_at).update(due_at=None)
