"""Background work in a test's own time: hours pass at once, and what is due is done here and now."""

from datetime import timedelta

from django.db.models import F
from django.utils.timezone import now

from layers.models import Blob, Layer, PendingDelete
from manifests.models import Manifest
from repositories.models import Repository
from uploads.models import Upload
from work.loop import run_due
from work.models import Due

COLLECTED: tuple[type[Due], ...] = (Upload, PendingDelete, Layer, Blob, Manifest, Repository)


def pass_by(time: timedelta) -> None:
    for model in COLLECTED:
        model._base_manager.update(due_at=F("due_at") - time, claimed_until=F("claimed_until") - time)


def collect_everything() -> None:
    """Until every grace is over, and nothing is left to do."""
    for _ in range(20):
        if not any(model._base_manager.exclude(due_at=None).exists() for model in COLLECTED):
            return
        pass_by(timedelta(hours=30))
        run_due()
    problems = [error for model in COLLECTED for error in model._base_manager.values_list("last_error", flat=True)]
    raise AssertionError(f"it does not end: {[problem for problem in problems if problem]}")


def look_quickly(blob: Blob) -> None:
    """Instead of `layers.finalizing.finalize`, which starts a process."""
    Blob.objects.filter(pk=blob.pk, key=blob.key).update(finalized_at=now())
    Blob.objects.filter(pk=blob.pk, due_at=blob.due_at).update(due_at=None)
