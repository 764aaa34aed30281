"""What must be so before a server may run: alone on its data, the port its own, the database ready, somebody to log in.

Everything here raises CommandError with words for the person who starts the server.
"""

import errno
import fcntl
import os
import resource
import secrets
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction
from django.db.migrations.executor import MigrationExecutor

from layers.models import Blob
from storage.driver import StorageError, blobs
from storage.filesystem import sync_directory

UNIX = "unix:"
PATIENCE = 10.0  # seconds for what a server that ended a moment ago may still hold


def lock(data: Path) -> TextIO:
    """The only lock on the data directory: it is held until the file is closed, so keep it.

    Children do not inherit the descriptor, and the system drops the lock of a process that was killed.
    """
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = (data / "lock").open("a+", encoding="ascii")
        alone = _within_patience(lambda: _locked(file))
    except OSError as error:
        raise CommandError(f"The data directory {data} cannot be used: {error}") from error
    if not alone:
        file.seek(0)
        holder = file.read().strip() or "unknown"
        raise CommandError(f"Another server (process {holder}) uses the data in {data}. Stop it or use other --data.")
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on `host` and `port`: who connects before the server is ready waits a moment.

    `unix:PATH` as host is a Unix socket, for a proxy on the same machine; a proxy of the same group may use it.
    """
    if host.startswith(UNIX):
        return _listen_unix(Path(host.removeprefix(UNIX)))
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise CommandError(f"{host!r} is not an address to listen on: {error}") from error
    listener = socket.socket(family, kind)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        free = _within_patience(lambda: _bound(listener, address))
    except OSError as error:
        raise CommandError(f"Cannot listen on {host} port {port}: {error.strerror}.") from error
    if not free:
        raise CommandError(f"Port {port} on {host} is in use by another program. Choose another with --port.")
    listener.listen(2048)
    return listener


def _listen_unix(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    try:
        if path.is_socket():
            path.unlink()  # left behind by a server that is gone: only one has the lock on the data
        listener.bind(str(path))
        path.chmod(0o660)
    except OSError as error:
        raise CommandError(f"Cannot listen on {path}: {error.strerror or error}.") from error
    listener.listen(2048)
    return listener


def allow_many_files() -> None:
    """Every connection is an open file, and many systems let a process open only 1,024 unless it asks for more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536 if hard == resource.RLIM_INFINITY else min(65536, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def check_tls() -> None:
    """A certificate and a key that belong together, or neither."""
    certificate, key = settings.REGISTRY_TLS_CERT, settings.REGISTRY_TLS_KEY
    if bool(certificate) != bool(key):
        raise CommandError("HTTPS needs both --tls-cert and --tls-key (REGISTRY_TLS_CERT and REGISTRY_TLS_KEY).")
    if certificate:
        try:
            ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key)
        except (OSError, ssl.SSLError) as error:
            raise CommandError(f"Cannot use the certificate {certificate} with the key {key}: {error}") from error


def migrate(say: Callable[[str], None]) -> None:
    """Bring the database to the newest migration, and check that it keeps what it acknowledges."""
    try:
        executor = MigrationExecutor(connection)
        if executor.migration_plan(executor.loader.graph.leaf_nodes()):
            say("Preparing the database ...")
            call_command("migrate", interactive=False, verbosity=0)
        if connection.vendor == "sqlite":
            _check_sqlite()
    except DatabaseError as error:
        raise CommandError(f"The database cannot be used: {error}") from error


def prepare_storage(data: Path, say: Callable[[str], None]) -> None:
    """Make the place of the blobs. Once there are blobs it has to be the one that holds them: a server without its
    disk answers 503 until that is back, and must not take an empty directory for it."""
    try:
        blob = Blob.objects.filter(damaged_at=None).first()
        if blob is None or blobs().holds(blob.key, blob.size):
            blobs().prepare()
        _sync_names(data)
    except StorageError:
        say("The blobs are not in their place. Is their disk mounted? Until it is, they are answered with 503.")
    except OSError as error:
        raise CommandError(f"The blobs cannot be stored: {error}") from error


def make_admin(say: Callable[[str], None]) -> None:
    """Where there is no user at all, make the superuser `admin`; a random password is said once, and kept nowhere."""
    users = get_user_model().objects
    with transaction.atomic():
        if users.exists():
            return
        password = settings.REGISTRY_ADMIN_PASSWORD or secrets.token_urlsafe(15)
        users.create_superuser("admin", password=password)
        if settings.REGISTRY_ADMIN_PASSWORD:
            say('Made the user "admin" with the password from REGISTRY_ADMIN_PASSWORD.')
        else:  # before the commit: a password that was not said would lock everybody out
            say(f'Made the user "admin". Its password, shown only this once: {password}')


def _sync_names(data: Path) -> None:
    """The directories that a first start made are to be found after a power cut, up to the root of their disk."""
    for directory in data.parents:
        if directory.stat().st_dev != data.stat().st_dev:
            return
        with suppress(PermissionError):  # not made by this user, so not just now
            sync_directory(directory)


def _check_sqlite() -> None:
    with connection.cursor() as cursor:
        mode = cursor.execute("PRAGMA journal_mode").fetchone()[0]
        synchronous = cursor.execute("PRAGMA synchronous").fetchone()[0]
    if (mode, synchronous) != ("wal", 2):
        raise CommandError(
            f"To survive a power cut SQLite needs journal_mode=wal and synchronous=2 (FULL), but it has {mode} and "
            f"{synchronous}. Is the data directory on a network file system? Put it on a local disk."
        )


def _locked(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _bound(listener: socket.socket, address: tuple[object, ...]) -> bool:
    try:
        listener.bind(address)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        return False
    return True


def _within_patience(attempt: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE
    while not attempt():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
