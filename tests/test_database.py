"""What the settings ask of the database is what its connections do."""

import pytest
from django.db import connection


@pytest.mark.django_db
@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL has processes of its own")
def test_a_connection_to_sqlite_keeps_at_most_256_kib_of_it_in_memory():
    with connection.cursor() as cursor:
        assert cursor.execute("PRAGMA cache_size").fetchone() == (-256,)
