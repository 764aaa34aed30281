"""`/token`: credentials in, a bearer token out (Docker's token and OAuth 2 specifications)."""

from datetime import datetime

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.http import QueryDict
from django.views.decorators.debug import sensitive_variables
from rest_framework.request import Request
from rest_framework.response import Response

from access import clock, credentials, passwords, policy, services, tokens
from access.authentication import quoted
from access.models import User
from oci.errors import BodyTooLarge, RequestInvalid
from oci.scopes import Scope
from wire.bodies import Body
from wire.views import RegistryView

SCOPES = 32  # in one token, which has to fit into a header
SCOPES_LENGTH = 4096  # characters
FORM_LENGTH = 64 * 1024  # bytes


class TokenView(RegistryView):
    """Whoever asks gets a token, nobody included; it holds what they may do of what they asked for."""

    authentication_classes = []  # its own: a form may hold the password, and a token fetches no token
    permission_classes = []

    def get_authenticate_header(self, request: Request) -> str:
        return f"Basic realm={quoted(settings.REGISTRY_SERVICE)}"

    def get(self, request: Request) -> Response:
        """Anonymous or Basic. Query: `scope` (repeated, or separated by spaces), `offline_token`, `client_id`."""
        scopes = requested(request.GET.getlist("scope"))
        read_at = clock.now()
        user = credentials.log_in(request.META.get("HTTP_AUTHORIZATION", ""), request.META.get("REMOTE_ADDR", ""))
        fields = answer(user, scopes, read_at)
        if request.GET.get("offline_token") == "true" and isinstance(user, User):
            fields["refresh_token"] = services.issue_refresh_token(user, request.GET.get("client_id", ""))
        return Response(fields, headers={"Cache-Control": "no-store"})

    @sensitive_variables()
    def post(self, request: Request) -> Response:
        """The form of OAuth 2: `grant_type` password or refresh_token, `scope`, `access_type`, `client_id`."""
        form = read_form(request)
        scopes = requested(form.getlist("scope"))
        read_at = clock.now()
        refresh_token = form.get("refresh_token", "")
        match form.get("grant_type"):
            case "password":
                address = request.META.get("REMOTE_ADDR", "")
                user = passwords.log_in(form.get("username", ""), form.get("password", ""), address)
                if form.get("access_type") == "offline":
                    refresh_token = services.issue_refresh_token(user, form.get("client_id", ""))
            case "refresh_token":
                user = services.use_refresh_token(refresh_token)
            case _:
                raise RequestInvalid(message="grant_type has to be password or refresh_token")
        fields = answer(user, scopes, read_at)
        if form.get("access_type") == "offline":
            fields["refresh_token"] = refresh_token
        return Response(fields, headers={"Cache-Control": "no-store"})


def requested(texts: list[str]) -> list[Scope]:
    """Each resource once, with all the actions that were asked for. Raises RequestInvalid when there are too many."""
    actions: dict[tuple[str, str], frozenset[str]] = {}
    if sum(len(text) for text in texts) <= SCOPES_LENGTH:
        for scope in (Scope.parse(part) for text in texts for part in text.split()):
            key = (scope.type, scope.name)
            actions[key] = actions.get(key, frozenset()) | scope.actions
        if len(actions) <= SCOPES:
            return [Scope(*key, wanted) for key, wanted in actions.items()]
    raise RequestInvalid(message=f"a token holds at most {SCOPES} scopes of together {SCOPES_LENGTH} characters")


def answer(user: User | AnonymousUser, scopes: list[Scope], read_at: datetime) -> dict[str, str | int]:
    """The fields of the answer. What may not be granted is left out: asking for it is no error."""
    granted = [scope for scope in (policy.granted(user, wanted) for wanted in scopes) if scope.actions]
    token = tokens.issue(user.subject if isinstance(user, User) else "", granted, read_at)
    return {
        "token": token,
        "access_token": token,
        "token_type": "Bearer",
        "expires_in": tokens.lifetime(),
        "issued_at": f"{clock.now():%Y-%m-%dT%H:%M:%SZ}",
        "scope": " ".join(str(scope) for scope in granted),
    }


def read_form(request: Request) -> QueryDict:
    """Raises RequestInvalid, SizeInvalid and BodyTooLarge."""
    if not request.META.get("CONTENT_TYPE", "").lower().startswith("application/x-www-form-urlencoded"):
        raise RequestInvalid(message="the body has to be application/x-www-form-urlencoded")
    content = Body(request).read(FORM_LENGTH)
    if content is None:
        raise BodyTooLarge()
    return QueryDict(content)
