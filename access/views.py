"""`/token`: credentials in, a bearer token out (Docker's token and OAuth 2 specifications)."""

from datetime import datetime
from itertools import chain

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

SCOPES_LENGTH = 5000  # characters of all scopes of a token, which has to fit into a header of 8 KiB
SCOPE_FRAME = 64  # characters that a token adds to each
FORM_LENGTH = 64 * 1024  # bytes
FORM_WITHIN = 10.0  # seconds for all of it


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
        request.META["layerstore.subject"] = user.subject if isinstance(user, User) else ""  # for the access log
        if request.GET.get("offline_token") == "true" and isinstance(user, User):
            fields["refresh_token"] = services.issue_refresh_token(user, request.GET.get("client_id", ""))
        return Response(fields, headers={"Cache-Control": "no-store"})

    @sensitive_variables()
    def post(self, request: Request) -> Response:
        """The form of OAuth 2: `grant_type` password or refresh_token, `scope`, `access_type`, `client_id`."""
        form = read_form(request)
        scopes = requested(form.getlist("scope"))
        read_at = clock.now()
        user, refresh_token = redeem(form, request.META.get("REMOTE_ADDR", ""))
        fields = answer(user, scopes, read_at)
        request.META["layerstore.subject"] = user.subject  # for the access log
        if form.get("access_type") == "offline":
            fields["refresh_token"] = refresh_token
        return Response(fields, headers={"Cache-Control": "no-store"})


@sensitive_variables()
def redeem(form: QueryDict, address: str) -> tuple[User, str]:
    """Who is granted, and their refresh token: the one they showed, or a new one if they want it. Raises Unauthorized,
    TooManyRequests, Unavailable, and RequestInvalid for a grant that is not known."""
    match form.get("grant_type"):
        case "password":
            user = passwords.log_in(form.get("username", ""), form.get("password", ""), address)
            wanted = form.get("access_type") == "offline"
            return user, services.issue_refresh_token(user, form.get("client_id", "")) if wanted else ""
        case "refresh_token":
            refresh_token = form.get("refresh_token", "")
            return services.use_refresh_token(refresh_token), refresh_token
    raise RequestInvalid(message="grant_type has to be password or refresh_token")


def requested(texts: list[str]) -> list[Scope]:
    """Each resource once, with all the actions asked for. What a token cannot hold is passed over, like what may not
    be granted: clients that gather scopes put the one they need first."""
    actions: dict[tuple[str, str], frozenset[str]] = {}
    room = SCOPES_LENGTH
    for part in chain.from_iterable(text.split() for text in texts):
        room -= len(part) + SCOPE_FRAME
        if room < 0:
            break
        scope = Scope.parse(part)
        key = (scope.type, scope.name)
        actions[key] = actions.get(key, frozenset()) | scope.actions
    return [Scope(*key, wanted) for key, wanted in actions.items()]


def answer(user: User | AnonymousUser, scopes: list[Scope], read_at: datetime) -> dict[str, str | int]:
    """The fields of the answer. What may not be granted is left out: asking for it is no error."""
    granted = [scope for scope in (policy.granted(user, wanted) for wanted in scopes) if scope.actions]
    token = tokens.issue(user.subject if isinstance(user, User) else "", granted, read_at)
    return {
        "token": token,
        "access_token": token,
        "token_type": "Bearer",
        "expires_in": settings.REGISTRY_TOKEN_LIFETIME,
        "issued_at": f"{clock.now():%Y-%m-%dT%H:%M:%SZ}",
        "scope": " ".join(str(scope) for scope in granted),
    }


def read_form(request: Request) -> QueryDict:
    """Raises RequestInvalid, SizeInvalid and BodyTooLarge."""
    if not request.META.get("CONTENT_TYPE", "").lower().startswith("application/x-www-form-urlencoded"):
        raise RequestInvalid(message="the body has to be application/x-www-form-urlencoded")
    content = Body(request).read(FORM_LENGTH, within=FORM_WITHIN)
    if content is None:
        raise BodyTooLarge()
    return QueryDict(content)
