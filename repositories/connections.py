"""Who waits for a client holds no connection to the database: on PostgreSQL there are few of them."""

from django.db import connection


def let_go_of_connection() -> None:
    """To be called before bytes move, which may take hours. SQLite's connection is the thread's own and stays."""
    if connection.vendor == "postgresql" and not connection.in_atomic_block:
        connection.close()
