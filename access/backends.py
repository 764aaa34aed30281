"""The admin's login form: the same limits as for logins of clients."""

from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.views.decorators.debug import sensitive_variables

from access import passwords
from access.models import User
from oci.errors import TooManyRequests, Unauthorized, Unavailable


class PasswordBackend(ModelBackend):
    """Without a request this is Django's own backend, the one hash that `passwords` takes care of."""

    @sensitive_variables()
    def authenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **fields: Any
    ) -> User | None:
        """Raises ValidationError, which the form shows, where the password was not even looked at."""
        if request is None or username is None or password is None:
            return super().authenticate(request, username, password, **fields)
        try:
            return passwords.log_in(username, password, request.META.get("REMOTE_ADDR", ""))
        except Unauthorized:
            return None
        except (TooManyRequests, Unavailable) as problem:
            raise ValidationError(problem.message) from problem
