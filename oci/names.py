"""Repository names, tags and references, as the distribution spec's "Pulling manifests" spells them."""

import re

from oci.digests import Digest
from oci.errors import ManifestUnknown, NameInvalid

NAME_LENGTH = 255
TAG_LENGTH = 128
# Separators and letters have no character in common, so there is one way to read a name and nothing to backtrack into.
COMPONENT = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
NAME = re.compile(rf"{COMPONENT}(?:/{COMPONENT})*")
TAG = re.compile(rf"[a-zA-Z0-9_][a-zA-Z0-9._-]{{0,{TAG_LENGTH - 1}}}")


def parse_name(text: str) -> str:
    """The repository name itself, of at most 255 characters. Raises NameInvalid."""
    if len(text) > NAME_LENGTH or not NAME.fullmatch(text):
        raise NameInvalid(text[:NAME_LENGTH])
    return text


def is_tag(text: str) -> bool:
    return TAG.fullmatch(text) is not None


def parse_reference(text: str) -> Digest | str:
    """A manifest is asked for by digest or by tag (`str`); only a digest holds a colon.

    Raises DigestInvalid for a malformed digest and ManifestUnknown for what no tag can be.
    """
    if ":" in text:
        return Digest.parse(text)
    if not is_tag(text):
        raise ManifestUnknown(text[:TAG_LENGTH])
    return text
