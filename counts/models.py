"""How often what was pulled, and what each day brought: the numbers behind the admin's charts."""

from django.db import models

from work.models import Due


class Pulled(models.Model):
    """A row that clients pull, and how often they did. The newest pulls are not in it yet (`counts.counting`)."""

    pulls = models.PositiveBigIntegerField(default=0)
    last_pulled_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        abstract = True


class Day(Due):
    """One day, in UTC. It is due every ten minutes while it lasts: then `stored_bytes` is looked up anew, so that at
    its end it has the last value. A day on which nothing was pulled or pushed has a row too, once there is a first."""

    date = models.DateField(primary_key=True)
    pulls = models.PositiveBigIntegerField(default=0)  # of manifests and blobs
    pushes = models.PositiveBigIntegerField(default=0)  # of manifests
    stored_bytes = models.PositiveBigIntegerField(default=0)

    class Meta:
        ordering = ["date"]

    def __str__(self) -> str:
        return str(self.date)
