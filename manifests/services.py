"""Pushing, finding and deleting manifests and tags."""

from collections.abc import Iterable

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils.timezone import now

from layers import services as layers
from layers.models import Layer
from manifests.models import Manifest, Tag
from oci.digests import Digest
from oci.documents import Document
from oci.errors import DigestInvalid, ManifestBlobUnknown, ManifestUnknown, NameUnknown
from repositories.locks import kept, locked
from repositories.models import Repository

HOLDS_SOMETHING = Exists(Layer.objects.filter(repository=OuterRef("pk"))) | Exists(
    Manifest.objects.filter(repository=OuterRef("pk"))
)


# The query that every pull begins with, written out: to compile it anew each time costs more than all the rest of it.
BY_DIGEST = """
    SELECT m.id, m.digest, m.media_type, m.size, m.content
    FROM manifests_manifest m JOIN repositories_repository r ON r.id = m.repository_id
    WHERE r.name = %s AND m.digest = %s
"""
BY_TAG = """
    SELECT m.id, m.digest, m.media_type, m.size, m.content
    FROM repositories_repository r
    JOIN manifests_tag t ON t.repository_id = r.id
    JOIN manifests_manifest m ON m.id = t.manifest_id
    WHERE r.name = %s AND t.name = %s
"""


def find(name: str, reference: Digest | str) -> Manifest:
    """The manifest that a tag or a digest means in the repository of this name; what a pull does not need of it is
    deferred. Raises ManifestUnknown."""
    query = BY_DIGEST if isinstance(reference, Digest) else BY_TAG
    for manifest in Manifest.objects.raw(query, [name, str(reference)]):
        return manifest
    raise ManifestUnknown(str(reference))


def push(
    repository: Repository, digest: Digest, content: bytes, document: Document, tags: Iterable[str], sparse: bool
) -> None:
    """Store the exact bytes and point the tags to them ("Pushing manifests").

    `sparse`: it may name blobs and manifests that are not here. Raises DigestInvalid, ManifestBlobUnknown.
    """
    if Digest.of(content, digest.algorithm) != digest:
        raise DigestInvalid(str(digest))
    named = {str(descriptor.digest) for descriptor in document.blobs}
    elsewhere = {str(descriptor.digest) for descriptor in document.elsewhere}  # need not be here, but may be
    children = {str(descriptor.digest) for descriptor in document.manifests}
    with transaction.atomic():
        missing = named - layers.present(repository, named) | children - present(repository, children)
        if missing and not sparse:
            raise ManifestBlobUnknown([{"digest": each} for each in sorted(missing)])
        manifest = store(repository, digest, content, document)
        layers.name(repository, str(digest), named | elsewhere)
        point(repository, manifest, tags)


def present(repository: Repository, digests: set[str]) -> set[str]:
    """Those of the digests that are manifests here, kept from deletion until the transaction ends."""
    if not digests:
        return set()
    return {row.digest for row in kept(repository.manifests.filter(digest__in=digests).only("digest"))}


def store(repository: Repository, digest: Digest, content: bytes, document: Document) -> Manifest:
    manifest = Manifest(
        repository=repository,
        digest=str(digest),
        media_type=document.media_type,
        artifact_type=document.artifact_type,
        size=len(content),
        content=content,
        subject=str(document.subject.digest) if document.subject else "",
        annotations=document.annotations,
    )
    Manifest.objects.bulk_create(
        [manifest],
        update_conflicts=True,
        unique_fields=["repository", "digest"],
        update_fields=["media_type", "artifact_type"],
    )
    return manifest


def point(repository: Repository, manifest: Manifest, names: Iterable[str]) -> None:
    """Make the tags, or move them, in one statement."""
    tags = [Tag(repository=repository, name=name, manifest=manifest, moved_at=now()) for name in sorted(set(names))]
    Tag.objects.bulk_create(
        tags, update_conflicts=True, unique_fields=["repository", "name"], update_fields=["manifest", "moved_at"]
    )


def delete(name: str, digest: Digest) -> None:
    """The manifest and its tags; what it named gets a grace. Raises ManifestUnknown."""
    with transaction.atomic():
        found = Manifest.objects.select_for_update(of=("self",)).filter(repository__name=name, digest=str(digest))
        manifest = found.only("id", "repository_id", "digest").first()
        if manifest is None:
            raise ManifestUnknown(str(digest))
        locked(manifest.tags.all(), "name")
        manifest.tags.all().delete()
        layers.unname(manifest.repository_id, manifest.digest)
        manifest.delete()


def untag(name: str, tag: str) -> None:
    """That tag only. Raises ManifestUnknown."""
    if not Tag.objects.filter(repository__name=name, name=tag).delete()[0]:
        raise ManifestUnknown(tag)


def tags(name: str) -> QuerySet[Tag]:
    """Raises NameUnknown for a repository that holds nothing."""
    repository = Repository.objects.filter(HOLDS_SOMETHING, name=name).first()
    if repository is None:
        raise NameUnknown(name)
    return repository.tags.all()


def referrers(name: str, subject: Digest, artifact_type: str) -> QuerySet[Manifest]:
    """What refers to `subject`, in order of arrival; nothing does in a repository that does not exist."""
    found = Manifest.objects.filter(repository__name=name, subject=str(subject)).defer("content").order_by("pk")
    return found.filter(artifact_type=artifact_type) if artifact_type else found


def catalog(readable: Q) -> QuerySet[Repository]:
    """The repositories that fulfil the condition and hold something."""
    return Repository.objects.filter(readable, HOLDS_SOMETHING)
