"""What tests push: manifests as the objects their JSON stands for."""

import json
from typing import Any

from oci.digests import Digest

IMAGE = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_IMAGE = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
EMPTY = "application/vnd.oci.empty.v1+json"


def descriptor(content: bytes, media_type: str = LAYER, **fields: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": str(Digest.of(content)), "size": len(content), **fields}


def image(config: bytes, *layers: bytes, media_type: str = IMAGE, **fields: Any) -> dict[str, Any]:
    return {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": descriptor(config, CONFIG),
        "layers": [descriptor(layer) for layer in layers],
        **fields,
    }


def artifact(artifact_type: str, subject: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """An artifact that refers to something, with the empty config `{}` and no layers."""
    empty = {"config": descriptor(b"{}", EMPTY), "layers": []}
    return {
        "schemaVersion": 2,
        "mediaType": IMAGE,
        "artifactType": artifact_type,
        **empty,
        "subject": subject,
        **fields,
    }


def index(*manifests: dict[str, Any], media_type: str = INDEX, **fields: Any) -> dict[str, Any]:
    return {"schemaVersion": 2, "mediaType": media_type, "manifests": list(manifests), **fields}


def bytes_of(manifest: dict[str, Any]) -> bytes:
    return json.dumps(manifest).encode()


def described(manifest: dict[str, Any]) -> dict[str, Any]:
    """The descriptor of a manifest, as an index or a `subject` holds it."""
    return descriptor(bytes_of(manifest), manifest["mediaType"])
