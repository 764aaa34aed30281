"""Secrets that the first start makes and every later start finds again.

A secret is a file of its own under the data directory. It appears whole or not at all: several processes may ask for
it in the same moment, or be killed while they ask, and all of them end up with the same one.
"""

import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured


def kept(path: Path, length: int = 50) -> str:
    """The secret in the file `path`, made on the very first call: URL-safe text with `length` bytes of randomness.

    Raises ImproperlyConfigured, with words for the person who starts the server, when the file cannot be made or
    read, or is empty.
    """
    try:
        if not path.exists():
            _make(path, secrets.token_urlsafe(length))
        secret = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ImproperlyConfigured(f"The secret in {path} cannot be read or made: {error}") from error
    if not secret:
        raise ImproperlyConfigured(f"The secret file {path} is empty. Put its text back or remove it for a new one.")
    return secret


def _make(path: Path, secret: str) -> None:
    """Write `secret` beside `path` and link it there. Of several that race the first wins; the others' file goes."""
    for directory in (path.parent.parent, path.parent):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.") as file:  # made with mode 0600
        file.write(secret.encode("ascii") + b"\n")
        file.flush()
        os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(file.name, path)
        _sync_directory(path.parent)
        _sync_directory(path.parent.parent)


def _sync_directory(directory: Path) -> None:
    """A new name survives a power cut only when its directory is on disk too."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
