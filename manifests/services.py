"""Pushing, finding and deleting manifests and tags."""

from collections.abc import Iterable

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils.timezone import now

from layers import services as layers
from layers.models import Layer, Naming
from manifests.models import Manifest, Tag
from oci.digests import Digest
from oci.documents import Document
from oci.errors import DigestInvalid, ManifestBlobUnknown, ManifestUnknown, NameUnknown
from oci.media_types import INDEXES
from repositories.locks import kept, living, locked
from repositories.models import Repository

HOLDS_SOMETHING = Exists(Layer.objects.filter(repository=OuterRef("pk"))) | Exists(
    Manifest.objects.filter(repository=OuterRef("pk"))
)


# The query that every pull begins with, written out: to compile it anew each time costs more than all the rest of it.
BY_DIGEST = """
    SELECT m.id, m.digest, m.media_type, m.size, m.content, m.due_at
    FROM manifests_manifest m JOIN repositories_repository r ON r.id = m.repository_id
    WHERE r.name = %s AND m.digest = %s
"""
BY_TAG = """
    SELECT m.id, m.digest, m.media_type, m.size, m.content, m.due_at
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


def renew(manifest: Manifest) -> None:
    """For a client that was told by HEAD that the manifest is here, and will push an index that names it instead of
    pushing it again: it stays for at least half a grace. Raises ManifestUnknown where it has just gone."""
    if manifest.due_at is None or manifest.due_at > now() + settings.REGISTRY_GRACE / 2:
        return
    row = Manifest.objects.filter(pk=manifest.pk)
    renewed = row.exclude(due_at=None).update(due_at=now() + settings.REGISTRY_GRACE)
    if not renewed and not row.exists():
        raise ManifestUnknown(manifest.digest)


def push(
    repository: Repository, digest: Digest, content: bytes, document: Document, tags: Iterable[str], sparse: bool
) -> None:
    """Store the exact bytes and point the tags to them ("Pushing manifests").

    `sparse`: it may name blobs and manifests that are not here. Raises DigestInvalid, ManifestBlobUnknown, and
    NameUnknown where the repository has just been deleted.
    """
    if Digest.of(content, digest.algorithm) != digest:
        raise DigestInvalid(str(digest))
    named = {str(descriptor.digest) for descriptor in document.blobs}
    elsewhere = {str(descriptor.digest) for descriptor in document.elsewhere}  # need not be here, but may be
    children = {str(descriptor.digest) for descriptor in document.manifests}
    with transaction.atomic():
        if not living(repository):
            raise NameUnknown(repository.name)
        missing = named - layers.present(repository, named | elsewhere) | children - present(repository, children)
        if missing and not sparse:
            raise ManifestBlobUnknown([{"digest": each} for each in sorted(missing)])
        manifest = store(repository, digest, content, document)
        layers.name(repository, str(digest), document.blobs + document.elsewhere + document.manifests)
        point(repository, manifest, tags)


def present(repository: Repository, digests: set[str]) -> set[str]:
    """Those of the digests that are manifests here, kept from deletion until the transaction ends."""
    if not digests:
        return set()
    return {row.digest for row in kept(repository.manifests.filter(digest__in=digests).only("digest"))}


def store(repository: Repository, digest: Digest, content: bytes, document: Document) -> Manifest:
    """Whoever pushes a manifest that was to be collected wants it to stay."""
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
        update_fields=["media_type", "artifact_type", "due_at"],
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
        found = Manifest.objects.filter(repository__name=name, digest=str(digest))
        manifest = found.only("pk", "repository_id", "digest", "media_type").first()
        if manifest is None or not hold(manifest):
            raise ManifestUnknown(str(digest))
        remove(manifest)


def hold(manifest: Manifest) -> bool:
    """Lock the manifest for its removal, and with an index, all in one order, its children; False: it is gone."""
    if manifest.media_type in INDEXES:
        locked(Manifest.objects.filter(Q(pk=manifest.pk) | Q(pk__in=children(manifest).values("pk"))))
    return bool(Manifest.objects.select_for_update(of=("self",)).filter(pk=manifest.pk).values_list("pk"))


def remove(manifest: Manifest) -> None:
    """Take away a manifest that is held, and its tags. All that it named is looked at after another grace."""
    if manifest.media_type in INDEXES:
        children(manifest).update(due_at=now() + settings.REGISTRY_GRACE)
    locked(manifest.tags.all(), "name")
    manifest.tags.all().delete()
    layers.unname(manifest.repository_id, manifest.digest)
    manifest.delete()


def children(index: Manifest) -> QuerySet[Manifest]:
    """The manifests here that this one names."""
    namings = Naming.objects.filter(repository=index.repository_id, manifest=index.digest)
    return Manifest.objects.filter(repository=index.repository_id, digest__in=namings.values("digest"))


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
