"""Which word of the registry an exception becomes."""

import errno

import pytest
from django.db import DataError, IntegrityError, OperationalError

from oci.errors import Fault, StorageFull, Unavailable
from storage.driver import ObjectBusy, StorageAway
from wire.errors import translate


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
