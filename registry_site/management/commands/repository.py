from django.core.management.base import BaseCommand, CommandError

from manifests.holdings import holdings
from oci.errors import NameInvalid, NameUnknown
from oci.names import parse_name
from repositories import deletion
from repositories.models import Repository, Visibility
from work.management.existing import require_registry


class Command(BaseCommand):
    help = (
        "Shows and changes repositories. A private repository is read by users who hold pull_content; a public one by "
        "everybody, without logging in. Making a repository public that does not exist yet prepares it for its first "
        "push. A deleted repository is gone at once, and its name is free; the space that only it needed is freed in "
        "the background."
    )

    def add_arguments(self, parser):
        commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
        commands.add_parser("list", help="names and visibilities, one a line")
        visibility = commands.add_parser("set-visibility", help="make a repository public or private")
        visibility.add_argument("name", metavar="NAME", help="for example library/nginx")
        visibility.add_argument("visibility", choices=Visibility.values)
        delete = commands.add_parser("delete", help="delete a repository with all it holds")
        delete.add_argument("name", metavar="NAME")
        delete.add_argument("--yes", action="store_true", help="do not ask")

    def handle(self, *args, command, **options):
        require_registry()
        if command == "list":
            for name, visibility in Repository.objects.values_list("name", "visibility").iterator():
                self.stdout.write(f"{visibility:8} {name}")
        elif command == "set-visibility":
            self.set_visibility(options["name"], options["visibility"])
        else:
            self.delete(options["name"], options["yes"])

    def set_visibility(self, name, visibility):
        try:
            parse_name(name)
        except NameInvalid as problem:
            raise CommandError(f"{name!r} is not a repository name: lower case, as in library/nginx") from problem
        _, new = Repository.objects.update_or_create(name=name, defaults={"visibility": visibility})
        self.stdout.write(f"{name} is {visibility} now" + (" (it waits for its first push)" if new else ""))

    def delete(self, name, sure):
        try:
            held = holdings(Repository.objects.named(name))
            self.stdout.write(
                f"{name} holds {held.tags} tags, {held.manifests} manifests and {held.layers} layers: "
                f"{held.bytes:,} bytes, of which {held.bytes_only_here:,} are in no other repository."
            )
            if not sure and input("Delete it? Type its name: ") != name:
                raise CommandError(f"{name} was not deleted")
            deletion.delete(name)
        except NameUnknown as problem:
            raise CommandError(f"there is no repository {name}") from problem
        except EOFError as problem:
            raise CommandError("nobody is there to ask: say --yes") from problem
        self.stdout.write(f"{name} is deleted. What only it needed is freed in the background.")
