"""Who may do what: the only module that decides.

Rights come from Django's permissions on repositories, given to a user or to a group, and hold for every repository.
They only add: nothing here takes away. `is_staff` opens the admin and nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib.auth.models import AnonymousUser
from django.db.models import Q

from access.models import User
from oci.scopes import Scope
from repositories.models import Repository, Visibility

if TYPE_CHECKING:
    from access.credentials import Credential

PULL, PUSH, DELETE = "pull", "push", "delete"
CATALOG = Scope("registry", "catalog", frozenset("*"))
IMPLIED = {
    "pull_content": frozenset({PULL}),
    "push_content": frozenset({PULL, PUSH}),
    "delete_content": frozenset({DELETE}),
}
NOTHING: frozenset[str] = frozenset()
PUBLIC = Q(visibility=Visibility.PUBLIC)


def granted(user: User | AnonymousUser, scope: Scope) -> Scope:
    """The part of a scope that this user may have, perhaps no action at all; `*` stands for all they may.

    At most two queries. A repository that does not exist is not public, so no answer tells whether one does.
    """
    allowed = NOTHING
    if scope.type == "repository":
        allowed = everywhere(user)
        if PULL not in allowed and is_public(scope.name) and not is_disabled(user):
            allowed |= {PULL}
    elif (scope.type, scope.name) == (CATALOG.type, CATALOG.name) and PULL in everywhere(user):
        allowed = CATALOG.actions
    return Scope(scope.type, scope.name, allowed if "*" in scope.actions else allowed & scope.actions)


def everywhere(user: User | AnonymousUser) -> frozenset[str]:
    """What this user may do in every repository."""
    if isinstance(user, AnonymousUser) or not user.is_active:
        return NOTHING
    if user.is_superuser:
        return frozenset({PULL, PUSH, DELETE})
    return NOTHING.union(*(IMPLIED.get(permission, NOTHING) for permission in user.content_permissions))


def is_disabled(user: User | AnonymousUser) -> bool:
    return isinstance(user, User) and not user.is_active


def is_public(name: str) -> bool:
    return Repository.objects.filter(PUBLIC, name=name).exists()


def readable(credential: Credential | None) -> Q:
    """The repositories that may be pulled from under this credential, as a condition on `Repository`."""
    if credential is None:
        return PUBLIC
    if credential.user is not None:
        return Q() if PULL in everywhere(credential.user) else PUBLIC
    if credential.holds(CATALOG):  # granted only to those who may pull everywhere
        return Q()
    names = {scope.name for scope in credential.scopes if scope.type == "repository" and PULL in scope.actions}
    return PUBLIC | Q(name__in=sorted(names)) if names else PUBLIC
