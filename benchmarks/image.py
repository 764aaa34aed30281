"""The image that is pulled: one large layer, a few small ones, a config and the manifest that names them."""

import hashlib
import json
import os
from dataclasses import dataclass

from benchmarks import clients, content
from benchmarks.connection import Connection
from benchmarks.content import Content
from benchmarks.servers import Server

SMALL_LAYERS = 5
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
CONFIG = "application/vnd.oci.image.config.v1+json"


@dataclass(frozen=True)
class Image:
    layer: Content
    small: dict[str, bytes]  # by digest: config first, then layers
    manifest: bytes


def make(size: int) -> Image:
    """An image whose large layer has `size` bytes."""
    layer = content.fresh(size)
    config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}})
    blobs = [config.encode(), *(os.urandom(4096) for _ in range(SMALL_LAYERS))]
    small = {f"sha256:{hashlib.sha256(blob).hexdigest()}": blob for blob in blobs}
    named = [
        _descriptor(LAYER if rank else CONFIG, digest, len(blob)) for rank, (digest, blob) in enumerate(small.items())
    ]
    manifest = {
        "schemaVersion": 2,
        "mediaType": clients.OCI_MANIFEST,
        "config": named[0],
        "layers": [_descriptor(LAYER, layer.digest, layer.size), *named[1:]],
    }
    return Image(layer, small, json.dumps(manifest).encode())


def publish(server: Server, image: Image) -> None:
    """Push it, pull it once to see that it is right, and keep it."""
    authorization = server.authorization(clients.PUSH)
    clients.push_length(server, authorization, image.layer)
    with Connection(server.address, authorization) as connection:
        for digest, blob in image.small.items():
            target = clients.closing(clients.open_upload(connection), digest)
            connection.exchange(201, "PUT", target, [blob], Content_Length=len(blob))
        length, media_type = len(image.manifest), clients.OCI_MANIFEST
        connection.exchange(
            201, "PUT", clients.MANIFEST, [image.manifest], Content_Length=length, Content_Type=media_type
        )
    clients.verify(server, authorization, image.layer.digest)
    server.keep()


def _descriptor(media_type: str, digest: str, size: int) -> dict[str, str | int]:
    return {"mediaType": media_type, "digest": digest, "size": size}
