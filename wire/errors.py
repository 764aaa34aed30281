"""The one place where an exception becomes the spec's error body."""

import errno
import logging

from django.core.exceptions import DisallowedHost, RequestDataTooBig, SuspiciousOperation
from django.db import DataError, IntegrityError
from django.db import Error as DatabaseError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.views import defaults
from rest_framework import exceptions
from rest_framework.views import set_rollback

from oci import errors
from storage.driver import StorageError
from wire import requests
from wire.views import is_for_clients

log = logging.getLogger(__name__)

SQLITE_FULL, POSTGRESQL_FULL = 13, "53100"
OUT_OF_SPACE = (errno.ENOSPC, errno.EDQUOT)


def envelope(error: errors.RegistryError, headers: dict[str, str] | None = None) -> HttpResponse:
    """The JSON error body of the distribution spec ("Error Codes"); nothing else writes one."""
    ours = error.status >= 500 and requests.number()
    message = f"{error.message} (request {requests.number()})" if ours else error.message
    body = {"code": error.code, "message": message, "detail": error.detail}
    response = JsonResponse({"errors": [body]}, status=error.status, headers=headers)
    if error.retry_after is not None:
        response["Retry-After"] = str(error.retry_after)
    return response


def exception_handler(problem: Exception, context: dict) -> HttpResponse:
    """DRF's door: what a view raised. The challenge of a 401 is the authenticator's."""
    view, request = context["view"], context["request"]
    error = translate(problem)
    try:
        headers = view.error_headers(error) if hasattr(view, "error_headers") else {}
    except DatabaseError as another:  # they are looked up there, and without them the answer would be half of one
        error, headers = translate(another), {}
    if error.status == 401 and (challenge := view.get_authenticate_header(request)):
        headers["WWW-Authenticate"] = challenge
    if error.status == 405:  # also of a method that is only switched off
        headers["Allow"] = ", ".join(method for method in view.allowed_methods if method != request.method)
    set_rollback()
    return envelope(error, headers)


def translate(problem: Exception) -> errors.RegistryError:
    """The registry's word for any exception; what has none is a fault of ours, and logged."""
    match problem:
        case errors.RegistryError():
            return problem
        case exceptions.NotAuthenticated() | exceptions.AuthenticationFailed():
            return errors.Unauthorized(message=str(problem.detail))
        case exceptions.PermissionDenied():
            return errors.Denied()
        case exceptions.MethodNotAllowed():
            return errors.Unsupported(str(problem.detail))
        case DisallowedHost():
            return errors.RequestInvalid(message=f"{problem} The setting is REGISTRY_ALLOWED_HOSTS.")
        case RequestDataTooBig():
            return errors.BodyTooLarge()
        case SuspiciousOperation() | exceptions.ParseError():
            return errors.RequestInvalid(str(problem))
        case exceptions.UnsupportedMediaType():
            return errors.RequestInvalid(str(problem.detail))
        case Http404():
            return errors.RouteUnknown()
        case DatabaseError() if not isinstance(problem, DataError | IntegrityError):  # with these, asking is at fault
            return database_failure(problem)
        case OSError() | StorageError():
            return storage_failure(problem)
    log.error("a request failed", exc_info=problem)
    return errors.Fault()


def database_failure(problem: DatabaseError) -> errors.RegistryError:
    cause = problem.__cause__  # SQLite and PostgreSQL have a code for a full disk
    if getattr(cause, "sqlite_errorcode", 0) == SQLITE_FULL or getattr(cause, "sqlstate", "") == POSTGRESQL_FULL:
        log.error("there is no room for the database: %s", problem)
        return errors.StorageFull()
    log.error("the database failed", exc_info=problem)
    return errors.Unavailable(message="the database is not available")


def storage_failure(problem: OSError | StorageError) -> errors.RegistryError:
    log.error("storage failed", exc_info=problem)
    if isinstance(problem, OSError) and problem.errno in OUT_OF_SPACE:
        return errors.StorageFull()
    return errors.Unavailable(message="storage is not available")


# --- Django's doors: requests that reach no view, and pages -----------------------------------------------------------


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return envelope(translate(exception)) if is_for_clients(request) else defaults.bad_request(request, exception)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    return envelope(errors.Denied()) if is_for_clients(request) else defaults.permission_denied(request, exception)


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return envelope(errors.RouteUnknown()) if is_for_clients(request) else defaults.page_not_found(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    return envelope(errors.Fault()) if is_for_clients(request) else defaults.server_error(request)
