"""What is pushed over and over: few blobs that many manifests share, and manifests that name each other."""

from dataclasses import dataclass
from typing import Any

from oci.digests import Digest
from oci.documents import Document
from tests.images import artifact, bytes_of, described, descriptor, image, index

BLOBS = (b"{}", b"a config", b"another config", b"some bytes of a layer", bytes(range(200)), b"")
DIGESTS = {str(Digest.of(content)): content for content in BLOBS}
_, CONFIG, OTHER_CONFIG, LAYER, LARGER, EMPTY = BLOBS


@dataclass(frozen=True)
class Content:
    """A manifest, and what its repository needs to have."""

    document: Document
    bytes: bytes
    digest: str
    blobs: frozenset[str]
    children: frozenset[str]


def content(manifest: dict[str, Any]) -> Content:
    stored = bytes_of(manifest)
    document = Document.parse(stored, manifest["mediaType"])
    blobs = frozenset(str(blob.digest) for blob in document.blobs)
    children = frozenset(str(child.digest) for child in document.manifests)
    return Content(document, stored, str(Digest.of(stored)), blobs, children)


ONE = image(CONFIG, LAYER, LARGER)
TWO = image(OTHER_CONFIG, LARGER, EMPTY, LARGER)
THREE = image(CONFIG, EMPTY)
BOTH = index(described(ONE), described(TWO))
PAIR = index(described(TWO), described(THREE), subject=described(ONE))
NESTED = index(described(BOTH), described(THREE))
SIGNATURE = artifact("application/x-signature", described(ONE))
OF_NOTHING = artifact("application/x-note", descriptor(b"nobody has this", ONE["mediaType"]))

MANIFESTS = {
    "one": content(ONE),
    "two": content(TWO),
    "three": content(THREE),
    "both": content(BOTH),
    "pair": content(PAIR),
    "nested": content(NESTED),
    "signature": content(SIGNATURE),
    "of nothing": content(OF_NOTHING),
}
CONTENTS = {each.digest: each for each in MANIFESTS.values()}
