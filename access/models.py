from __future__ import annotations

from typing import Any

from django.contrib.auth.models import AbstractUser, Permission
from django.db import models, transaction
from django.db.models import Q
from django.utils.functional import cached_property


class User(AbstractUser):
    """Who may log in. Ours from the first migration on, since Django lets nobody change its mind later."""

    rehashing = False  # a stronger hash of the same password is being stored

    @property
    def subject(self) -> str:
        """How tokens, uploads and revocations name this user; never given to another one."""
        return f"user:{self.pk}"

    @cached_property
    def content_permissions(self) -> frozenset[str]:
        """Codenames of the permissions on repositories that were given to this user or to a group of theirs."""
        given = Permission.objects.filter(Q(user=self) | Q(group__user=self), content_type__app_label="repositories")
        return frozenset(given.values_list("codename", flat=True))

    def check_password(self, raw_password: str | None) -> bool:
        self.rehashing = True
        try:
            return super().check_password(raw_password)
        finally:
            self.rehashing = False

    def save(self, *args: Any, **kwargs: Any) -> None:
        """In one transaction with the revocation that `access.signals` writes when tokens end with the old values."""
        with transaction.atomic():
            super().save(*args, **kwargs)


class RefreshToken(models.Model):
    """Lets a client fetch bearer tokens without a password; void 90 days after it was last used."""

    digest = models.CharField(max_length=64, unique=True)  # keyed hash: the table alone logs nobody in
    user = models.ForeignKey(User, models.CASCADE, related_name="refresh_tokens")
    client_id = models.CharField(max_length=100, blank=True)  # what the client calls itself
    created_at = models.DateTimeField()
    last_used_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.client_id or 'a client'} of {self.user_id}"


class Revocation(models.Model):
    """Bearer tokens of a subject, or for a repository, that were issued up to `revoked_at` are void.

    Names are text, since what they name may be gone. Both times are the database's. The row is needed until the last
    token it voids has expired.
    """

    subject = models.CharField(max_length=255, blank=True)
    repository = models.CharField(max_length=255, blank=True)
    revoked_at = models.DateTimeField()
    expires_at = models.DateTimeField(db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["subject", "repository"], name="one_revocation_a_name")]

    def __str__(self) -> str:
        return self.subject or self.repository
