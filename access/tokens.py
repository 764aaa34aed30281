"""Bearer tokens: signed claims (JWT, RFC 7519) with the `access` list of Docker's token specification."""

import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

import jwt
from django.conf import settings

from access import revocations
from oci.errors import Unauthorized
from oci.scopes import Scope

ALGORITHM = "HS256"
REQUIRED = ["iss", "aud", "sub", "iat", "exp", "jti"]
REMEMBERED = 1024  # verified tokens a process keeps


@dataclass(frozen=True, slots=True)
class Token:
    """What a genuine token says. Times are seconds since 1970: `issued_at` by the database's clock, with milliseconds;
    `expires_at` by the clock of the process that issued it."""

    subject: str
    issued_at: float
    expires_at: int
    scopes: tuple[Scope, ...]


def issue(subject: str, scopes: Iterable[Scope], read_at: datetime) -> str:
    """A token for a subject ("" is anonymous). `read_at`: database time before the rights were read, so that
    whatever is revoked after that voids the token."""
    claims = {
        "iss": settings.REGISTRY_SERVICE,
        "aud": settings.REGISTRY_SERVICE,
        "sub": subject,
        "iat": int(read_at.timestamp() * 1000) / 1000,
        "exp": int(time.time()) + settings.REGISTRY_TOKEN_LIFETIME,
        "jti": uuid.uuid4().hex,
        "access": [{"type": scope.type, "name": scope.name, "actions": sorted(scope.actions)} for scope in scopes],
    }
    return jwt.encode(claims, settings.REGISTRY_TOKEN_KEY, ALGORITHM)


def accept(text: str) -> Token:
    """A token that holds now, without what was revoked since. Raises Unauthorized, and Unavailable without database."""
    try:
        token = _verified(text, settings.REGISTRY_TOKEN_KEY, settings.REGISTRY_SERVICE)
    # Also what hostile headers make the parser raise, and claims of another form than ours.
    except (jwt.PyJWTError, ValueError, TypeError, LookupError, RecursionError) as problem:
        raise Unauthorized(message="the token is not one of this registry's") from problem
    if token.expires_at <= time.time():
        raise Unauthorized(message="the token has expired")
    revoked = revocations.current()
    if token.issued_at <= revoked.subjects.get(token.subject, 0.0):
        raise Unauthorized(message="the token was revoked: log in again")
    held = tuple(s for s in token.scopes if token.issued_at > _ended(s, revoked))
    return token if held == token.scopes else Token(token.subject, token.issued_at, token.expires_at, held)


def _ended(scope: Scope, revoked: revocations.Revoked) -> float:
    return revoked.repositories.get(scope.name, 0.0) if scope.type == "repository" else 0.0


@lru_cache(maxsize=REMEMBERED)
def _verified(text: str, key: str, service: str) -> Token:
    """Remembers what is genuine, not what is current: expiry and revocations are looked at on every request."""
    claims = jwt.decode(
        text,
        key,
        [ALGORITHM],
        audience=service,
        issuer=service,
        # iat is the database's time, which may be ahead of ours.
        options={"require": REQUIRED, "verify_exp": False, "verify_iat": False},
    )
    scopes = tuple(Scope(one["type"], one["name"], frozenset(one["actions"])) for one in claims["access"])
    return Token(claims["sub"], claims["iat"], claims["exp"], scopes)
