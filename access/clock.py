"""The database's clock: the one clock that every process of a cluster shares."""

from datetime import datetime

from django.db import connection
from django.utils import timezone


def now() -> datetime:
    """What is read from the database after this call was true at the returned moment or later."""
    if connection.vendor == "sqlite":  # a library in this process: its clock is the machine's
        return timezone.now()
    with connection.cursor() as cursor:
        cursor.execute("SELECT CLOCK_TIMESTAMP()")
        return cursor.fetchone()[0]
