"""The layer index: which repository has which layer, by the digest of its bytes, by that of the uncompressed bytes
(its diffID), or by its TarSum. What is damaged counts as absent."""

from django.db.models import Exists, OuterRef, Q, QuerySet

from layers.models import Blob, Layer, Naming
from oci.addresses import Address
from oci.digests import Digest
from oci.errors import BlobUnknown
from repositories.models import Repository

SOUND = Q(damaged_at=None)
OCTETS = "application/octet-stream"


def find(name: str, address: Address) -> Layer:
    """What the address means in the repository of this name, with its blob. Raises BlobUnknown."""
    layer = linked(name, address).first()
    if layer is None:
        raise BlobUnknown(str(address))
    return layer


def linked(name: str, address: Address) -> QuerySet[Layer]:
    """Several layers may share a TarSum: the one that was linked here first comes first."""
    found = Layer.objects.filter(repository__name=name, blob__in=Blob.objects.filter(SOUND, own(address)))
    return found.select_related("blob").order_by("linked_at", "pk")


def where(address: Address, readable: Q) -> QuerySet[Layer]:
    """Every layer of this digest, diffID or TarSum, with its blob and its repository, in order of the repository names.

    `readable`: the condition on repositories that whoever asks may see (`access.policy.readable`).
    """
    known = own(address)
    if isinstance(address, Digest):
        known |= ~Q(diff_id="") & Q(diff_id=str(address))
    seen = Repository.objects.filter(readable, pk=OuterRef("repository"))
    found = Layer.objects.filter(Exists(seen), blob__in=Blob.objects.filter(SOUND, known))
    return found.select_related("blob", "repository").order_by("repository__name", "pk")


def own(address: Address) -> Q:
    """The condition on blobs to be served under this address."""
    if isinstance(address, Digest):
        return Q(digest=str(address))
    return ~Q(tarsum="") & Q(tarsum=str(address))  # SQLite uses a partial index only where its condition is repeated


def media_type(layer: Layer) -> str:
    """As the newest manifest of its repository that names the layer describes it."""
    namings = Naming.objects.filter(repository=layer.repository_id, digest=layer.blob.digest).exclude(media_type="")
    return namings.order_by("-pk").values_list("media_type", flat=True).first() or OCTETS
