"""What must be done later is a row with a due time; whoever looks finds it, whatever was killed in between."""

from datetime import datetime, timedelta
from typing import Any

from django.db import models
from django.db.models import F, Q
from django.utils.timezone import now

CLAIM = timedelta(seconds=60)  # after which a worker that has not renewed it counts as dead
LONGEST_PAUSE = timedelta(hours=1)


class Due(models.Model):
    """A row whose duty falls due at `due_at`; None: nothing to do."""

    due_at = models.DateTimeField(null=True, blank=True, db_index=True)
    attempts = models.PositiveIntegerField(default=0)  # since the duty last succeeded
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
        until = now() + CLAIM
        mine = type(self)._base_manager.filter(self.waiting(), pk=self.pk)
        if mine.update(claimed_until=until, attempts=F("attempts") + 1) != 1:
            return False
        self.claimed_until, self.attempts = until, self.attempts + 1
        return True

    def renew(self) -> None:
        """The duty takes long: keep the row from others for as long again."""
        until = now() + CLAIM
        if self._mine().update(claimed_until=until):
            self.claimed_until = until

    def settle(self, was_due_at: datetime | None) -> None:
        """The duty is done: what is left of the row is free for its next one. Where the duty left the row due as it
        was, which it should not, the claim stays, so that it is not done over and over without a pause."""
        self._mine().exclude(due_at=was_due_at).update(claimed_until=None, attempts=0, last_error="")

    def put_off(self, problem: Exception) -> None:
        """The duty failed: try again later, after a pause that doubles each time. Whoever gave the row another due
        time meanwhile knows better."""
        pause = min(timedelta(seconds=2 ** min(self.attempts - 1, 12)), LONGEST_PAUSE)
        self._mine().filter(due_at__lte=now()).update(
            due_at=now() + pause, claimed_until=None, last_error=f"{type(problem).__name__}: {problem}"[:2000]
        )

    def let_go(self) -> None:
        """The process ends before the duty does: somebody else may begin anew, at once."""
        self._mine().update(claimed_until=None, attempts=F("attempts") - 1)

    def _mine(self) -> models.QuerySet[Any]:
        """The row, as long as the claim that was made, or the lack of one, is still the newest."""
        return type(self)._base_manager.filter(pk=self.pk, claimed_until=self.claimed_until)


class Pulse(models.Model):
    """One row: when a background process last looked for work."""

    beat_at = models.DateTimeField()

    def __str__(self) -> str:
        return str(self.beat_at)
