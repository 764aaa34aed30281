"""Pulling, pushing and deleting manifests; listing tags, referrers and repositories."""

from django.conf import settings
from django.http import HttpResponse
from django.urls import reverse
from rest_framework.response import Response

from access import policy
from counts import counting
from manifests import services
from manifests.models import Manifest
from oci.digests import Digest
from oci.documents import Document
from oci.errors import ManifestInvalid, ManifestTooLarge, TooManyTags, Unsupported
from oci.media_types import INDEX
from oci.names import is_tag, parse_reference
from oci.scopes import Scope
from repositories.connections import let_go_of_connection
from repositories.models import Repository
from wire import caching
from wire.bodies import Body
from wire.pages import next_page, page, page_size, text
from wire.views import PUSH, RegistryView

TAGS = 100  # that one push may set
WITHIN = 60.0  # seconds for the body of one
REFERRERS = 4 * 1024 * 1024  # bytes of annotations in one page, about


class ManifestView(RegistryView):
    """end-3, end-7 and end-9: a manifest by tag or digest."""

    def get(self, request, name, reference):
        wanted = parse_reference(reference)
        manifest = services.find(name, wanted)
        if request.method == "HEAD" and manifest.due_at and request.auth.holds(Scope("repository", name, PUSH)):
            services.renew(manifest)
        headers = described(manifest, wanted)
        if caching.unchanged(request, manifest.digest):
            return HttpResponse(status=304, headers=headers)
        if request.method == "GET":  # neither HEAD nor 304, which tell a client that it need not pull
            counting.pulled(Manifest, manifest.pk)
        return HttpResponse(bytes(manifest.content), headers=headers | {"Content-Length": str(manifest.size)})

    def put(self, request, name, reference):
        digests, tags = target(request, reference)
        let_go_of_connection()
        content = Body(request).read(settings.REGISTRY_MANIFEST_LIMIT, within=WITHIN)
        if content is None:
            raise ManifestTooLarge(f"{settings.REGISTRY_MANIFEST_LIMIT} bytes are accepted (REGISTRY_MANIFEST_LIMIT)")
        digest = digests or Digest.of(content)
        document = Document.parse(content, request.headers.get("Content-Type", ""))
        repository = Repository.objects.for_push(name)
        services.push(repository, digest, content, document, tags, settings.REGISTRY_SPARSE_MANIFESTS)
        counting.pushed()
        return pushed(name, digest, document, tags if digests else [])

    def delete(self, request, name, reference):
        if not settings.REGISTRY_DELETE_ENABLED:
            raise Unsupported(message="deleting is disabled on this registry (REGISTRY_DELETE_ENABLED)")
        match parse_reference(reference):
            case Digest() as digest:
                services.delete(name, digest)
            case tag:
                services.untag(name, tag)
        return Response(status=202)


class TagsView(RegistryView):
    """end-8a and end-8b."""

    def get(self, request, name):
        return page(request, "tags", services.tags(name), "name", {"name": name})


class ReferrersView(RegistryView):
    """end-12a and end-12b."""

    def get(self, request, name, digest):
        artifact_type = text(request, "artifactType")
        found = services.referrers(name, Digest.parse(digest), artifact_type)
        return referrers_page(request, found, artifact_type)


class CatalogView(RegistryView):
    """The names of repositories: all that the caller may pull, where the credential is for the catalog; else those
    that are public."""

    open_to_any_credential = True
    scope = policy.CATALOG

    def get(self, request):
        readable = policy.readable(request.auth) if request.auth.holds(self.scope) else policy.PUBLIC
        return page(request, "repositories", services.catalog(readable), "name")

    def required_scopes(self):
        return [self.scope]


def target(request, reference: str) -> tuple[Digest | None, list[str]]:
    """What a push is to be called: by digest, with tags as parameters ("Pushing Manifests"), or by one tag.

    Raises DigestInvalid, ManifestInvalid, TooManyTags.
    """
    if ":" not in reference:
        return None, [valid_tag(reference)]
    # Counted before they are parsed too: Django refuses a thousand parameters in its own way.
    if request.META.get("QUERY_STRING", "").count("tag=") > TAGS or len(request.query_params.getlist("tag")) > TAGS:
        raise TooManyTags(f"at most {TAGS} tags in one push")
    return Digest.parse(reference), [valid_tag(tag) for tag in request.query_params.getlist("tag")]


def valid_tag(text: str) -> str:
    if not is_tag(text):
        raise ManifestInvalid(text[:200], "malformed tag")
    return text


def described(manifest: Manifest, wanted: Digest | str) -> dict[str, str]:
    return {
        "Content-Type": manifest.media_type,
        "Docker-Content-Digest": manifest.digest,
        "ETag": caching.etag(manifest.digest),
        "Cache-Control": caching.FOREVER if isinstance(wanted, Digest) else caching.REVALIDATE,
    }


def pushed(name: str, digest: Digest, document: Document, tags: list[str]) -> Response:
    location = reverse("manifest", args=[name, str(digest)])
    response = Response(status=201, headers={"Location": location, "Docker-Content-Digest": str(digest)})
    if document.subject:
        response["OCI-Subject"] = str(document.subject.digest)
    if tags:
        response["OCI-Tag"] = ", ".join(tags)
    return response


def referrers_page(request, found, artifact_type: str) -> Response:
    """An index of referrers, whose pages end by count or by weight: annotations are as large as their pushers like."""
    limit, last = page_size(request), text(request, "last")
    if last.isascii() and last.isdigit() and len(last) < 19:
        found = found.filter(pk__gt=int(last))
    descriptors: list[dict] = []
    weight, after = 0, None
    for manifest in found[: limit + 1].iterator(chunk_size=50):
        if len(descriptors) == limit or weight > REFERRERS:
            break
        descriptors.append(manifest.descriptor)
        weight, after = weight + manifest.size, manifest.pk
    else:
        after = None  # nothing is left for another page
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": descriptors}
    response = Response(index, content_type=INDEX)
    if artifact_type:
        response["OCI-Filters-Applied"] = "artifactType"
    if after:
        parameters = {"artifactType": artifact_type} if artifact_type else {}
        response["Link"] = next_page(request, n=limit, last=after, **parameters)
    return response
