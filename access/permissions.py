"""DRF's second door: whether what was presented is enough."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from access.authentication import explain
from access.credentials import Credential
from oci.errors import Denied, InsufficientScope, Unauthorized
from oci.scopes import Scope

if TYPE_CHECKING:  # APIView looks this module up while it is being imported
    from wire.views import RegistryView


class HoldsRequiredScopes(BasePermission):
    """Decided before anything is looked up, so that no refusal tells what exists. Without a credential always refused:
    some clients take the challenge only from `/v2/` itself.

    A view that shows everybody what they may see sets `open_to_any_credential`.
    """

    def has_permission(self, request: Request, view: RegistryView) -> bool:  # type: ignore[override]
        credential = request.auth
        if not isinstance(credential, Credential):
            raise Unauthorized(message="authentication required: log in, or fetch an anonymous token")
        if getattr(view, "open_to_any_credential", False):
            return True
        for scope in view.required_scopes():
            if not credential.holds(scope):
                raise refusal(request, credential, scope)
        return True


def refusal(request: Request, credential: Credential, scope: Scope) -> Denied:
    """A 401 makes clients fetch a wider token; with a password there is nothing wider to fetch."""
    if credential.user is not None:
        return Denied({"scope": str(scope)}, f"you may not {wish(scope)}: ask who runs this registry")
    if credential.subject:
        problem = InsufficientScope({"scope": str(scope)}, f"this token does not allow you to {wish(scope)}")
    else:
        problem = InsufficientScope({"scope": str(scope)}, f"log in to {wish(scope)}: not everybody may")
    explain(request, problem)
    return problem


def wish(scope: Scope) -> str:
    if scope.type == "registry":
        return "list every repository"
    if "delete" in scope.actions:
        return f"delete in {scope.name}"
    return f"push to {scope.name}" if "push" in scope.actions else f"pull from {scope.name}"
