"""What a blob may be asked for by: the digest of its bytes, or the TarSum of what is in them."""

from oci.digests import Digest
from oci.tarsum import TarSum, is_tarsum

Address = Digest | TarSum


def parse_address(text: str) -> Address:
    """Raises DigestInvalid for what is neither."""
    return TarSum.parse(text) if is_tarsum(text) else Digest.parse(text)
