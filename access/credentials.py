"""What a request presents: the `Authorization` header, read."""

import base64
from dataclasses import dataclass

from django.contrib.auth.models import AnonymousUser
from django.views.decorators.debug import sensitive_variables

from access import passwords, policy, tokens
from access.models import User
from oci.errors import Unauthorized
from oci.scopes import Scope


@dataclass(frozen=True, slots=True)
class Credential:
    """Who asks (`subject`, "" for a token that was issued to nobody) and what they hold: the scopes of a bearer token,
    or, with a password, all that the policy grants `user`."""

    subject: str
    scopes: tuple[Scope, ...] = ()
    user: User | None = None

    def holds(self, scope: Scope) -> bool:
        if self.user is not None:
            return policy.granted(self.user, scope).covers(scope)
        return any(held.covers(scope) for held in self.scopes)


@sensitive_variables()
def read(authorization: str, address: str) -> Credential | None:
    """None where the header presents nothing. Raises Unauthorized, TooManyRequests and Unavailable."""
    scheme, _, value = authorization.strip().partition(" ")
    if scheme.lower() == "bearer":
        token = tokens.accept(value.strip())
        return Credential(token.subject, token.scopes)
    user = log_in(authorization, address)
    return Credential(user.subject, user=user) if isinstance(user, User) else None


@sensitive_variables()
def log_in(authorization: str, address: str) -> User | AnonymousUser:
    """Whose name and password the header holds (RFC 7617). No header is nobody's, nor are two empty strings."""
    if not authorization.strip():
        return AnonymousUser()
    scheme, _, value = authorization.strip().partition(" ")
    if scheme.lower() != "basic":
        raise Unauthorized(message="this way to authenticate is not one of Basic and Bearer that the registry takes")
    name, password = name_and_password(value.strip())
    return passwords.log_in(name, password, address) if name or password else AnonymousUser()


@sensitive_variables()
def name_and_password(encoded: str) -> tuple[str, str]:
    try:
        decoded = base64.b64decode(encoded, validate=True)
    except ValueError as problem:
        raise Unauthorized(message="the Basic credentials are not base64") from problem
    try:
        name, colon, password = decoded.decode().partition(":")
    except UnicodeDecodeError:  # older clients
        name, colon, password = decoded.decode("latin-1").partition(":")
    if not colon:
        raise Unauthorized(message="the Basic credentials have no password")
    return name, password
