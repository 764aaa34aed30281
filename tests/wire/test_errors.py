"""Which word of the registry an exception becomes."""

import errno
import sqlite3

import pytest
from django.db import DataError, IntegrityError, OperationalError

from oci.errors import Fault, StorageFull, Unavailable
from storage.driver import ObjectBusy, StorageAway
from wire.errors import translate


def caused(by: Exception) -> OperationalError:
    problem = OperationalError(str(by))
    problem.__cause__ = by
    return problem


def full_sqlite() -> Exception:
    database = sqlite3.connect(":memory:")
    database.executescript("PRAGMA max_page_count = 2; CREATE TABLE t (x)")
    with pytest.raises(sqlite3.OperationalError) as full:
        database.execute("INSERT INTO t VALUES (zeroblob(100000))")
    return full.value


def test_a_database_without_room_is_a_full_disk() -> None:
    assert type(translate(caused(full_sqlite()))) is StorageFull


@pytest.mark.parametrize(
    ("problem", "word"),
    [
        (StorageAway("ab/key"), Unavailable),
        (ObjectBusy("ab/key"), Unavailable),
        (OSError(errno.EIO, "Input/output error"), Unavailable),
        (OSError(errno.ENOSPC, "No space left on device"), StorageFull),
        (OperationalError("the connection is lost"), Unavailable),
        (DataError("value too long"), Fault),
        (IntegrityError("no such row"), Fault),
        (ValueError("a mistake"), Fault),
    ],
)
def test_only_what_may_pass_by_itself_is_worth_another_try(problem: Exception, word: type[Exception]) -> None:
    assert type(translate(problem)) is word
