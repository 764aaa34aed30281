"""What a manifest says, read once from its exact bytes."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

from oci import media_types, strict_json
from oci.digests import Digest
from oci.errors import DigestInvalid, ManifestInvalid

DESCRIPTORS = 10_000  # at most, in one manifest
MEDIA_TYPE_LENGTH = 255  # characters; RFC 6838 allows 127 on either side of the slash
DESCRIPTOR_FIELDS = frozenset({"mediaType", "digest", "size", "urls", "annotations", "data", "artifactType"})
DOCUMENT_FIELDS = frozenset(
    {"schemaVersion", "mediaType", "artifactType", "config", "layers", "manifests", "subject", "annotations"}
)

T = TypeVar("T")
KINDS = {str: "a string", int: "an integer", dict: "an object", list: "an array"}


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What one piece of content is, and how to address it (image-spec, "Content Descriptors"). `size` is in bytes."""

    media_type: str
    digest: Digest
    size: int
    artifact_type: str = ""
    annotations: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, value: object, where: str) -> Self:
        """Its address only: what else a descriptor tells, a registry has no use for. Raises ManifestInvalid."""
        members = checked(value, dict, where)
        refuse_lookalikes(members, DESCRIPTOR_FIELDS, where)
        optional(members, "data", str, where)
        media_type = media_type_in(members, "mediaType", where)
        if not media_type:
            raise ManifestInvalid(message=f"{where} has no mediaType")
        size = required(members, "size", int, where)
        if not 0 <= size < 1 << 63:
            raise ManifestInvalid(message=f"{where}.size is out of range")
        try:
            digest = Digest.parse(required(members, "digest", str, where))
        except DigestInvalid as problem:
            raise ManifestInvalid(problem.detail, f"{where}.digest: {problem.message}") from problem
        return cls(media_type, digest, size)

    def as_json(self) -> dict[str, Any]:
        """As an entry of an index; what is empty is left out."""
        members: dict[str, Any] = {"mediaType": self.media_type, "digest": str(self.digest), "size": self.size}
        if self.artifact_type:
            members["artifactType"] = self.artifact_type
        if self.annotations:
            members["annotations"] = self.annotations
        return members


@dataclass(frozen=True, slots=True)
class Document:
    """An image manifest or an index: what it points to, and what it says of itself.

    `blobs` (config and layers) and `manifests` have to be in the repository, `subject` and `elsewhere` (layers with a
    non-distributable media type) need not be. A digest may occur more than once. `artifact_type` is already the one
    that the referrers API shows: an image manifest without one goes by its config's media type, an index by none ("").
    """

    media_type: str
    artifact_type: str
    blobs: tuple[Descriptor, ...]
    manifests: tuple[Descriptor, ...]
    subject: Descriptor | None
    annotations: dict[str, str]
    elsewhere: tuple[Descriptor, ...] = ()

    @classmethod
    def parse(cls, content: bytes, content_type: str) -> Self:
        """Read a manifest that was sent under a Content-Type ("" if there was none).

        Raises ManifestInvalid for whatever is not unmistakably one manifest (distribution-spec, "Pushing Manifests").
        """
        try:
            members = checked(strict_json.load(content), dict, "the manifest")
        except ValueError as problem:
            raise ManifestInvalid(message=f"not acceptable JSON: {problem}"[:255]) from problem
        media_type = media_type_of(members, content_type.partition(";")[0].strip().lower())
        refuse_confusion(members, media_type)
        document = cls._read(members, media_type)
        refuse_two_sizes([*document.blobs, *document.manifests, *document.elsewhere, document.subject])
        return document

    @classmethod
    def _read(cls, members: dict[str, Any], media_type: str) -> Self:
        subject = members.get("subject")
        artifact_type = media_type_in(members, "artifactType")
        config: tuple[Descriptor, ...] = ()
        layers: tuple[Descriptor, ...] = ()
        manifests: tuple[Descriptor, ...] = ()
        if media_type in media_types.IMAGES:
            config = (Descriptor.read(members.get("config"), "config"),)
            layers = descriptors(members, "layers")
            artifact_type = artifact_type or config[0].media_type
        else:
            manifests = descriptors(members, "manifests")
        return cls(
            media_type=media_type,
            artifact_type=artifact_type,
            blobs=config + tuple(layer for layer in layers if not kept_elsewhere(layer)),
            manifests=manifests,
            subject=None if subject is None else Descriptor.read(subject, "subject"),
            annotations=annotations_in(members),
            elsewhere=tuple(layer for layer in layers if kept_elsewhere(layer)),
        )


def media_type_of(members: dict[str, Any], content_type: str) -> str:
    """What the manifest is by its header and by its own word, which must agree; by its fields when both are silent."""
    if content_type:
        media_types.accepted(content_type)
    if type(members.get("schemaVersion")) is int and members["schemaVersion"] == 1:
        raise ManifestInvalid(message=media_types.SCHEMA_1_REFUSAL)
    own = media_type_in(members, "mediaType")
    if own and content_type and own != content_type:
        raise ManifestInvalid(message=f"mediaType is {own!r}, but the Content-Type says {content_type!r}")
    guess = media_types.INDEX if members.get("manifests") is not None else media_types.IMAGE
    return media_types.accepted(content_type or own or guess)


def refuse_confusion(members: dict[str, Any], media_type: str) -> None:
    """No manifest may be an image to one reader and an index, or a schema 1 manifest, to another (CVE-2021-41190)."""
    if type(version := members.get("schemaVersion")) is not int or version != 2:
        raise ManifestInvalid(message="schemaVersion must be 2")
    refuse_lookalikes(members, DOCUMENT_FIELDS, "the manifest")
    foreign = {"manifests"} if media_type in media_types.IMAGES else {"config", "layers"}
    for name in sorted(foreign | {"fsLayers"}):
        if members.get(name) is not None:
            raise ManifestInvalid(message=f"a manifest of type {media_type} must not have {name}")


def refuse_lookalikes(members: dict[str, Any], names: frozenset[str], where: str) -> None:
    """Go reads `Layers` as `layers`; a manifest must not mean something else to clients than it does here."""
    known = {name.casefold() for name in names}
    for name in members.keys() - names:
        if name.casefold() in known:
            raise ManifestInvalid(message=f"{where} has a field {name!r} that some clients take for another")


def refuse_two_sizes(found: Iterable[Descriptor | None]) -> None:
    sizes: dict[Digest, int] = {}
    for descriptor in filter(None, found):
        if sizes.setdefault(descriptor.digest, descriptor.size) != descriptor.size:
            raise ManifestInvalid(str(descriptor.digest), "one digest is given two sizes")


def kept_elsewhere(layer: Descriptor) -> bool:
    return layer.media_type.startswith(media_types.KEPT_ELSEWHERE)


def descriptors(members: dict[str, Any], name: str) -> tuple[Descriptor, ...]:
    """Those of a field that must be there; null, as Go writes a list it never made, is an empty one."""
    if name not in members:
        raise ManifestInvalid(message=f"the manifest has no {name}")
    values = checked([] if members[name] is None else members[name], list, name)
    if len(values) > DESCRIPTORS:
        raise ManifestInvalid(message=f"{name} has more than {DESCRIPTORS} entries")
    return tuple(Descriptor.read(value, f"{name}[{index}]") for index, value in enumerate(values))


def annotations_in(members: dict[str, Any]) -> dict[str, str]:
    annotations = optional(members, "annotations", dict) or {}
    for value in annotations.values():
        checked(value, str, "the value of an annotation")
    return annotations


def media_type_in(members: dict[str, Any], name: str, where: str = "") -> str:
    text = optional(members, name, str, where) or ""
    if len(text) > MEDIA_TYPE_LENGTH:
        raise ManifestInvalid(message=f"{path(where, name)} is longer than {MEDIA_TYPE_LENGTH} characters")
    return text


def required(members: dict[str, Any], name: str, kind: type[T], where: str = "") -> T:
    return checked(members.get(name), kind, path(where, name))


def optional(members: dict[str, Any], name: str, kind: type[T], where: str = "") -> T | None:
    """A field that may be missing; null is as good as missing."""
    return None if members.get(name) is None else required(members, name, kind, where)


def checked(value: object, kind: type[T], what: str) -> T:
    if type(value) is not kind:  # not isinstance: true and false are no integers
        raise ManifestInvalid(message=f"{what} must be {KINDS[kind]}")
    return value


def path(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name
