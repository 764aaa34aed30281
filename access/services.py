"""What ends tokens, and the refresh tokens that outlive them."""

import secrets
from collections.abc import Iterable
from datetime import timedelta
from functools import partial

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.utils.crypto import salted_hmac

from access import clock, revocations
from access.models import RefreshToken, Revocation, User
from oci.errors import Unauthorized

UNUSED = timedelta(days=90)  # how long a refresh token lives unused
NOTED = timedelta(hours=1)  # its use is noted at most this often: a pull should not cost a write
CLOCK_SKEW = timedelta(minutes=5)  # how far the clocks of web machines and database may be apart
CLIENT_ID = 100  # characters of what the client calls itself
REFRESH_TOKENS_OF_A_USER = 1000  # `docker login` makes one each time and tells nobody when it throws one away


def revoke(subject: str) -> None:
    """Everything issued to a subject (`User.subject`) so far is void: bearer tokens within 2 s, refresh tokens now."""
    kind, _, pk = subject.partition(":")
    with transaction.atomic():
        if kind == "user":
            RefreshToken.objects.filter(user__in=list(_locked(pk))).delete()
        _record(subject=subject)


def revoke_repository(name: str) -> None:
    """What bearer tokens issued so far grant on this repository is void within 2 s, also if its name is taken again."""
    with transaction.atomic():
        _record(repository=name)


def revoke_refresh_tokens(tokens: Iterable[RefreshToken]) -> None:
    """These log in no more, and what they fetched is void. The other refresh tokens of their users go on."""
    with transaction.atomic():
        for token in tokens:
            token.delete()
            _record(subject=token.user.subject)


def _record(subject: str = "", repository: str = "") -> None:
    """Called inside a transaction. The moment is written again when that is over: until then a token could still be
    issued from what the database held before, with a later date than the revocation's."""
    _stamp(subject, repository)
    transaction.on_commit(partial(_stamp, subject, repository), robust=True)  # the first one holds in any case


def _stamp(subject: str, repository: str) -> None:
    now = clock.now()
    expires = now + timedelta(seconds=settings.REGISTRY_TOKEN_LIFETIME) + CLOCK_SKEW
    Revocation.objects.filter(expires_at__lt=now).delete()
    Revocation.objects.bulk_create(
        [Revocation(subject=subject, repository=repository, revoked_at=now, expires_at=expires)],
        update_conflicts=True,
        unique_fields=["subject", "repository"],
        update_fields=["revoked_at", "expires_at"],
    )
    revocations.forget()


def _locked(pk: int | str) -> QuerySet[User]:
    return User.objects.select_for_update().filter(pk=pk)


def _digest(token: str) -> str:
    return salted_hmac("access.refresh-token", token, algorithm="sha256").hexdigest()


def issue_refresh_token(user: User, client_id: str) -> str:
    """A new secret, which only the client keeps. Raises Unauthorized if the user changed since they were read."""
    token, now = secrets.token_urlsafe(32), clock.now()
    named = "".join(character for character in client_id[:CLIENT_ID] if character.isprintable())
    with transaction.atomic():
        # Whoever ends a user's tokens locks the same row, so none is made behind their back.
        if not _locked(user.pk).filter(password=user.password, is_active=True).exists():
            raise Unauthorized(message="the account has just changed: log in again")
        RefreshToken.objects.create(digest=_digest(token), user=user, client_id=named, created_at=now, last_used_at=now)
        newest = user.refresh_tokens.order_by("-last_used_at", "-pk")[:REFRESH_TOKENS_OF_A_USER]
        user.refresh_tokens.exclude(pk__in=list(newest.values_list("pk", flat=True))).delete()
        RefreshToken.objects.filter(last_used_at__lt=now - UNUSED).delete()
    return token


def use_refresh_token(token: str) -> User:
    """Whose it is. Raises Unauthorized."""
    now = clock.now()
    live = RefreshToken.objects.filter(last_used_at__gte=now - UNUSED, user__is_active=True)
    found = live.select_related("user").filter(digest=_digest(token)).first()
    if found is None:
        raise Unauthorized(message="the refresh token is void: log in again")
    if found.last_used_at < now - NOTED:
        RefreshToken.objects.filter(pk=found.pk).update(last_used_at=now)
    return found.user
