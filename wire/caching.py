"""Validators: content that is addressed by its digest never changes, so its digest is its ETag."""

from django.http import HttpRequest
from django.utils.http import parse_etags

FOREVER = "private, max-age=31536000, immutable"  # private: what is served needed a credential
REVALIDATE = "private, no-cache"


def etag(digest: str) -> str:
    return f'"{digest}"'


def unchanged(request: HttpRequest, digest: str) -> bool:
    """Whether the client has it already (`If-None-Match`, RFC 9110 13.1.2): the answer is then 304."""
    known = parse_etags(request.headers.get("If-None-Match", ""))
    return known == ["*"] or etag(digest) in [tag.removeprefix("W/") for tag in known]


def range_holds(request: HttpRequest, digest: str) -> bool:
    """Whether `Range` counts: without `If-Range`, or where it names this very content (RFC 9110 13.1.5)."""
    return request.headers.get("If-Range", etag(digest)).strip() == etag(digest)
