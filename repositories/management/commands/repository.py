from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connection

from oci.errors import NameInvalid
from oci.names import parse_name
from repositories.models import Repository, Visibility


class Command(BaseCommand):
    help = (
        "Shows and changes repositories. A private repository is read by users who hold pull_content; a public one by "
        "everybody, without logging in. Making a repository public that does not exist yet prepares it for its first "
        "push."
    )

    def add_arguments(self, parser):
        commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
        commands.add_parser("list", help="names and visibilities, one a line")
        visibility = commands.add_parser("set-visibility", help="make a repository public or private")
        visibility.add_argument("name", metavar="NAME", help="for example library/nginx")
        visibility.add_argument("visibility", choices=Visibility.values)

    def handle(self, *args, command, **options):
        if Repository._meta.db_table not in connection.introspection.table_names():
            raise CommandError(f"No registry in {settings.REGISTRY_DATA}: start it once, or set REGISTRY_DATA=DIR.")
        if command == "list":
            for name, visibility in Repository.objects.values_list("name", "visibility").iterator():
                self.stdout.write(f"{visibility:8} {name}")
        else:
            self.set_visibility(options["name"], options["visibility"])

    def set_visibility(self, name, visibility):
        try:
            parse_name(name)
        except NameInvalid as problem:
            raise CommandError(f"{name!r} is not a repository name: lower case, as in library/nginx") from problem
        _, new = Repository.objects.update_or_create(name=name, defaults={"visibility": visibility})
        self.stdout.write(f"{name} is {visibility} now" + (" (it waits for its first push)" if new else ""))
