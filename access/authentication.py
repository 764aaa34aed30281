"""DRF's first door: who asks. Cookies are never looked at."""

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from access import credentials
from access.credentials import Credential
from access.models import User
from oci.errors import InsufficientScope, RegistryError, Unauthorized


class RegistryAuthentication(BaseAuthentication):
    """`request.auth` is a Credential, or None where nothing is presented. `request.user` is a User only with a
    password: a bearer token says all that is needed, so nobody is looked up for it."""

    def authenticate(self, request: Request) -> tuple[User | AnonymousUser, Credential] | None:
        header = request.META.get("HTTP_AUTHORIZATION", "")
        try:
            credential = credentials.read(header, request.META.get("REMOTE_ADDR", ""))
        except Unauthorized as problem:
            explain(request, problem)
            raise
        if credential is None:
            return None
        request.META["layerstore.subject"] = credential.subject  # the access log finds it there
        return credential.user or AnonymousUser(), credential

    def authenticate_header(self, request: Request) -> str:
        """The challenge (RFC 6750, section 3): where to fetch a token, and with which scope."""
        view = request.parser_context["view"]
        parameters = {"realm": f"{public_url(request)}/token", "service": settings.REGISTRY_SERVICE}
        if scopes := " ".join(str(scope) for scope in view.required_scopes()):
            parameters["scope"] = scopes
        parameters |= getattr(request, "why_refused", {})
        return "Bearer " + ",".join(f"{name}={quoted(value)}" for name, value in parameters.items())


def explain(request: Request, problem: RegistryError) -> None:
    """Let the challenge say why what was presented does not do."""
    error = "insufficient_scope" if isinstance(problem, InsufficientScope) else "invalid_token"
    request.why_refused = {"error": error, "error_description": problem.message}  # type: ignore[attr-defined]


def public_url(request: Request) -> str:
    """Scheme and host under which this client reaches the registry, without a final slash."""
    return settings.REGISTRY_PUBLIC_URL.rstrip("/") or f"{request.scheme}://{request.get_host()}"


def quoted(text: str) -> str:
    """A quoted-string of RFC 9110, section 5.6.4; what a header cannot hold becomes a question mark."""
    printable = "".join(character if " " <= character <= "~" else "?" for character in text)
    return '"' + printable.replace("\\", "\\\\").replace('"', '\\"') + '"'
