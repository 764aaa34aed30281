"""What a command asks before it touches the database."""

from django.conf import settings
from django.core.management import CommandError
from django.db import connection

from work.models import Pulse


def require_registry() -> None:
    """Raises CommandError where no registry was ever started, which says more than that a table is missing."""
    if Pulse._meta.db_table not in connection.introspection.table_names():
        raise CommandError(f"No registry in {settings.REGISTRY_DATA}: start it once, or set REGISTRY_DATA=DIR.")
