"""Pushing a blob: POST opens an upload, PATCH adds to it, PUT closes it."""

from typing import Any, cast

from django.db.models import Q
from django.urls import reverse
from rest_framework.response import Response

from access import policy
from layers.services import mount
from oci.addresses import Address, parse_address
from oci.digests import Digest, known
from oci.errors import BlobUploadInvalid, BlobUploadUnknown, NameInvalid, SizeInvalid
from oci.names import parse_name
from repositories.models import Repository
from uploads import services
from uploads.models import Upload
from wire.bodies import Body
from wire.ranges import chunk_start
from wire.views import PUSH, RegistryView


class UploadsView(RegistryView):
    """end-4a, end-4b and end-11: open an upload, push in one request, or mount."""

    def post(self, request, name):
        query, opener = request.query_params, request.auth.subject
        if "mount" in query and mounted(request, name, Digest.parse(query["mount"])):
            return created(name, Digest.parse(query["mount"]))
        if "digest" in query and "mount" not in query:
            address = said(request)
            return created(name, services.push(Repository.objects.for_push(name), opener, address, *chunk(request)))
        algorithm = known(query.get("digest-algorithm", "sha256"))
        return progress(name, services.start(Repository.objects.for_push(name), opener, algorithm), 202)


class UploadView(RegistryView):
    """end-5, end-6, end-13 and end-14: one upload, which belongs to its repository and its opener."""

    actions = dict.fromkeys(RegistryView.actions, PUSH)  # cancelling one's own upload deletes nothing that was there

    def get(self, request, name, upload_id):
        return progress(name, services.find(name, upload_id, request.auth.subject), 204)

    def patch(self, request, name, upload_id):
        return progress(name, services.append(name, upload_id, request.auth.subject, *chunk(request)), 202)

    def put(self, request, name, upload_id):
        digest = services.finish(name, upload_id, request.auth.subject, said(request), *chunk(request))
        return created(name, digest)

    def delete(self, request, name, upload_id):
        services.cancel(name, upload_id, request.auth.subject)
        return Response(status=204)

    def error_headers(self, error):
        """A client that is out of step is told where to go on, as long as there is an upload to go on with."""
        if not isinstance(error, (BlobUploadInvalid, SizeInvalid)):
            return {}
        name, upload_id, credential = self.kwargs["name"], self.kwargs["upload_id"], cast(Any, self.request.auth)
        try:
            return whereabouts(name, services.find(name, upload_id, credential.subject))
        except BlobUploadUnknown:
            return {}


def said(request) -> Address:
    """`digest=`, a digest or a TarSum. The plus sign of one that was not escaped has become a space."""
    return parse_address(request.query_params.get("digest", "").replace(" ", "+"))


def chunk(request):
    """The body, and where it says it starts."""
    body = Body(request)
    return body, chunk_start(request.headers.get("Content-Range"), body)


def mounted(request, name: str, digest: Digest) -> bool:
    """Link a blob that the caller may read elsewhere. Whatever stands in the way, the answer is only "no": an
    ordinary upload follows, and nobody learns what other repositories hold."""
    sources = policy.readable(request.auth)
    if "from" in request.query_params:
        try:
            sources &= Q(name=parse_name(request.query_params["from"]))
        except NameInvalid:
            return False
    return mount(digest, sources, Repository.objects.for_push(name))


def progress(name: str, upload: Upload, status: int) -> Response:
    return Response(status=status, headers=whereabouts(name, upload))


def whereabouts(name: str, upload: Upload) -> dict[str, str]:
    """Where to go on, and after which byte; `0-0` stands for nothing stored, and unavoidably for one byte."""
    return {
        "Location": reverse("upload", args=[name, upload.pk]),
        "Range": f"0-{max(upload.offset - 1, 0)}",
        "Docker-Upload-UUID": str(upload.pk),
    }


def created(name: str, digest: Digest) -> Response:
    location = reverse("blob", args=[name, str(digest)])
    return Response(status=201, headers={"Location": location, "Docker-Content-Digest": str(digest)})
