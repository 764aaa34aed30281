"""What tests of the API say often."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

NOT_COUNTED = ("BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE")
REVOCATIONS = "access_revocation"  # read at most once a second, whatever is asked


@pytest.fixture
def at_most(db: None) -> Callable[[int], object]:
    """`with at_most(3):` fails when the block asks the database more often than that."""

    @contextmanager
    def counted(limit: int) -> Iterator[None]:
        with CaptureQueriesContext(connection) as captured:
            yield
        asked = [query["sql"] for query in captured if not query["sql"].lstrip().startswith(NOT_COUNTED)]
        asked = [sql for sql in asked if REVOCATIONS not in sql]
        assert len(asked) <= limit, "\n".join([f"{len(asked)} queries:", *asked])

    return counted
