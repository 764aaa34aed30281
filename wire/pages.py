"""`n` and `last`, and the Link to the next page ("Listing tags"): keyset pagination, O(page) at any size."""

from typing import Any
from urllib.parse import urlencode

from django.db.models import QuerySet
from rest_framework.request import Request
from rest_framework.response import Response

from oci.errors import RequestInvalid

LIMIT = 10_000  # names a page holds at most, and when the client does not say


def page(request: Request, key: str, rows: QuerySet, column: str, body: dict[str, Any] | None = None) -> Response:
    """The values of `column` after `last`, at most `n` of them, in byte order. Raises RequestInvalid."""
    limit = page_size(request)
    names = rows.order_by(column).values_list(column, flat=True)
    if last := text(request, "last"):
        names = names.filter(**{f"{column}__gt": last})
    found = list(names[: limit + 1]) if limit else []
    response = Response((body or {}) | {key: found[:limit]})
    if len(found) > limit:
        response["Link"] = next_page(request, n=limit, last=found[limit - 1])
    return response


def page_size(request: Request) -> int:
    wanted = request.query_params.get("n")
    if wanted is None:
        return LIMIT
    if not (wanted.isascii() and wanted.isdigit() and len(wanted) < 20):
        raise RequestInvalid("n", "the page size n has to be a whole number, 0 or more")
    return min(int(wanted), LIMIT)


def text(request: Request, parameter: str) -> str:
    """A query parameter as text a database can be asked with. Raises RequestInvalid on NUL and absurd lengths."""
    value = request.query_params.get(parameter, "")
    if "\0" in value or len(value) > 1024:
        raise RequestInvalid(parameter, f"the parameter {parameter} is not acceptable")
    return value


def next_page(request: Request, **parameters: Any) -> str:
    """The Link header of RFC 8288; the path alone, so that it holds behind every proxy."""
    return f'<{request.path}?{urlencode(parameters)}>; rel="next"'
