from django.core.management.base import BaseCommand, CommandError
from django.db.models import Q

from layers import index
from layers.models import Layer
from oci.addresses import parse_address
from oci.errors import DigestInvalid
from work.management.existing import require_registry

UNKNOWN = "-"  # what is inside is found out a while after a layer came, and not everything is a tar


class Command(BaseCommand):
    help = "Looks into the layer index."

    def add_arguments(self, parser):
        commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
        find = commands.add_parser("find", help="in which repositories a layer is: name, digest, size, diffID, since")
        find.add_argument(
            "address", metavar="ADDRESS", help="a digest (also of the uncompressed layer, its diffID), or a TarSum"
        )

    def handle(self, *args, address, **options):
        require_registry()
        try:
            found = index.where(parse_address(address), readable=Q())
        except DigestInvalid as problem:
            raise CommandError(f"{address!r} is neither a digest nor a TarSum: {problem}") from problem
        layer = None
        for layer in found.iterator():
            self.stdout.write(line(layer))
        if layer is None:
            raise CommandError(f"No repository has a layer {address}.")


def line(layer: Layer) -> str:
    blob, since = layer.blob, layer.linked_at.isoformat(" ", "seconds")
    return f"{layer.repository.name:40} {blob.digest} {blob.size:14} {blob.diff_id or UNKNOWN:71} {since}"
