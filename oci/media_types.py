"""The media types of manifests and layers that a registry has to tell apart, and which of them it accepts."""

from oci.errors import ManifestInvalid

IMAGE = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_IMAGE = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
IMAGES = frozenset({IMAGE, DOCKER_IMAGE})
INDEXES = frozenset({INDEX, DOCKER_INDEX})

SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1"
SCHEMA_1_REFUSAL = (
    "Docker image manifest version 2, schema 1 is no longer accepted; push again with docker 1.10 or newer, "
    "or convert the image with `skopeo copy --format v2s2`"
)
ARTIFACT = "application/vnd.oci.artifact.manifest.v1+json"
ARTIFACT_REFUSAL = (
    "the OCI artifact manifest was removed from the specification; push the artifact as an image manifest "
    "with `artifactType` (oras 1.0 or newer does)"
)

# Layers whose bytes clients get from the descriptor's `urls`; a registry may hold them but need not.
KEPT_ELSEWHERE = (
    "application/vnd.oci.image.layer.nondistributable.",
    "application/vnd.docker.image.rootfs.foreign.",
)


def accepted(media_type: str) -> str:
    """The media type itself, if manifests of that type are accepted. Raises ManifestInvalid, saying what to do."""
    if media_type.startswith(SCHEMA_1):
        raise ManifestInvalid(message=SCHEMA_1_REFUSAL)
    if media_type == ARTIFACT:
        raise ManifestInvalid(message=ARTIFACT_REFUSAL)
    if media_type not in IMAGES | INDEXES:
        raise ManifestInvalid(message=f"{media_type[:255]!r} is not the media type of a manifest")
    return media_type
