"""What must be done later is a row with a due time; whoever looks finds it, whatever was killed in between."""

from datetime import timedelta

from django.db import models
from django.db.models import F, Q
from django.utils.timezone import now

CLAIM = timedelta(minutes=5)  # after which a worker that did not come back counts as dead
LONGEST_PAUSE = timedelta(hours=1)


class Due(models.Model):
    """A row whose duty falls due at `due_at`; None: nothing to do."""

    due_at = models.DateTimeField(null=True, blank=True, db_index=True)
    attempts = models.PositiveIntegerField(default=0)
    last_error = models.TextField(blank=True)
    claimed_until = models.DateTimeField(null=True, blank=True)

    class Meta:
        abstract = True

    @classmethod
    def waiting(cls) -> Q:
        """Due now, and in nobody's hands."""
        return Q(due_at__lte=now()) & (Q(claimed_until=None) | Q(claimed_until__lte=now()))

    def claim(self) -> bool:
        """Take the row: of several workers one succeeds."""
        mine = type(self)._default_manager.filter(self.waiting(), pk=self.pk)
        return mine.update(claimed_until=now() + CLAIM, attempts=F("attempts") + 1) == 1

    def put_off(self, problem: Exception) -> None:
        """The duty failed: try again later, after a pause that doubles each time. Whoever gave the row another due
        time meanwhile knows better."""
        pause = min(timedelta(seconds=2 ** min(self.attempts, 12)), LONGEST_PAUSE)
        type(self)._default_manager.filter(pk=self.pk, due_at__lte=now()).update(
            due_at=now() + pause, claimed_until=None, last_error=f"{type(problem).__name__}: {problem}"[:2000]
        )


class Pulse(models.Model):
    """One row: when a background process last looked for work."""

    beat_at = models.DateTimeField()

    def __str__(self) -> str:
        return str(self.beat_at)
