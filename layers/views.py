"""Pulling and deleting a blob."""

from django.conf import settings
from django.http import HttpResponse, HttpResponseRedirect
from rest_framework.response import Response

from counts import counting
from layers import index, services
from layers.models import Blob, Layer
from oci.addresses import Address, parse_address
from oci.digests import Digest
from oci.errors import RangeUnsatisfiable, Unsupported
from oci.scopes import Scope
from repositories.connections import let_go_of_connection
from storage.driver import blobs
from wire import caching
from wire.files import ObjectResponse
from wire.ranges import requested
from wire.views import RegistryView

NAMED_STILL = '299 - "a manifest of this repository still names this blob; pulling it will fail"'


class TemporaryRedirect(HttpResponseRedirect):
    status_code = 307


class BlobView(RegistryView):
    """end-2 and end-10: a blob by its digest. Pulled it may also be by TarSum, as the first Docker clients did."""

    def get(self, request, name, digest):
        address = parse_address(digest)
        layer = index.find(name, address)
        blob = layer.blob
        if caching.unchanged(request, blob.digest):
            return HttpResponse(status=304, headers=described(blob, address))
        header = request.headers.get("Range") if caching.range_holds(request, blob.digest) else None
        part = requested(header, blob.size)
        answer = redirected(blob) or content(blob, part, described(blob, address))
        count(layer, part)
        return answer

    def head(self, request, name, digest):
        push = Scope("repository", name, frozenset({"push"}))
        find = services.find_for_push if request.auth.holds(push) else index.find
        address = parse_address(digest)
        blob = find(name, address).blob
        if caching.unchanged(request, blob.digest):
            return HttpResponse(status=304, headers=described(blob, address))
        return HttpResponse(headers=described(blob, address) | {"Content-Length": str(blob.size)})

    def delete(self, request, name, digest):
        if not settings.REGISTRY_DELETE_ENABLED:
            raise Unsupported(message="deleting is disabled on this registry (REGISTRY_DELETE_ENABLED)")
        named = services.unlink(name, Digest.parse(digest))
        return Response(status=202, headers={"Warning": NAMED_STILL} if named else {})

    def error_headers(self, error):
        unsatisfiable = isinstance(error, RangeUnsatisfiable)
        return {"Content-Range": f"bytes */{error.detail['size']}"} if unsatisfiable else {}


def count(layer: Layer, part: slice | None) -> None:
    """A pull, whether it ends or not. One that comes in parts counts once, by the part that starts at byte 0."""
    if part is None or part.start == 0:
        counting.pulled(Layer, layer.pk)


def redirected(blob: Blob) -> TemporaryRedirect | None:
    """To where storage itself serves the bytes, if it does."""
    url = blobs().redirect(blob.key)
    return TemporaryRedirect(url, headers={"Docker-Content-Digest": blob.digest}) if url else None


def content(blob: Blob, part: slice | None, headers: dict[str, str]) -> ObjectResponse:
    start, stop = (part.start, part.stop) if part else (0, blob.size)
    headers["Content-Length"] = str(stop - start)
    if part:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{blob.size}"
    reader = services.read(blob, start, stop)
    let_go_of_connection()
    return ObjectResponse(reader, status=206 if part else 200, headers=headers)


def described(blob: Blob, address: Address) -> dict[str, str]:
    """For ever it is only what a digest means: several blobs may have the same TarSum."""
    return {
        "Content-Type": "application/octet-stream",
        "Docker-Content-Digest": blob.digest,
        "Accept-Ranges": "bytes",
        "ETag": caching.etag(blob.digest),
        "Cache-Control": caching.FOREVER if isinstance(address, Digest) else caching.REVALIDATE,
    }
