"""What a first start makes, and what later starts find."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.core.exceptions import ImproperlyConfigured

from registry_site.secrets import kept
from tests.server import ROOT, Server


def users(server: Server) -> list[tuple[str, str, bool]]:
    with closing(sqlite3.connect(server.data / "db.sqlite3")) as database:
        return database.execute("SELECT username, password, is_superuser FROM access_user").fetchall()


def test_the_first_start_prints_a_password_once_and_a_later_start_none(fresh: Server) -> None:
    fresh.admin_password = None
    fresh.start()
    assert fresh.stop() == 0
    fresh.start()
    assert fresh.stop() == 0
    assert fresh.admin_password is not None
    assert fresh.log.count(fresh.admin_password) == 1
    [(name, password, superuser)] = users(fresh)
    assert (name, superuser) == ("admin", True)
    assert PBKDF2PasswordHasher().verify(fresh.admin_password, password)


def test_the_admin_gets_the_password_from_a_file_and_it_is_not_printed(fresh: Server, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("$chosen by the operator\n")
    fresh.admin_password = None
    fresh.environment["REGISTRY_ADMIN_PASSWORD_FILE"] = str(tmp_path / "password")
    fresh.start()
    assert fresh.stop() == 0
    [(_, password, _)] = users(fresh)
    assert PBKDF2PasswordHasher().verify("$chosen by the operator", password)
    assert "$chosen by the operator" not in fresh.log


def test_what_is_stored_is_readable_by_its_owner_alone(fresh: Server) -> None:
    fresh.start()
    fresh.stop()
    files = [path for path in fresh.data.rglob("*") if path.is_file()]
    assert files
    assert {oct(path.stat().st_mode & 0o077) for path in files} == {"0o0"}


def test_first_starts_that_race_end_up_with_one_secret(tmp_path: Path) -> None:
    path = tmp_path / "secrets" / "key"
    script = f"from pathlib import Path; from registry_site.secrets import kept; print(kept(Path({str(path)!r})))"
    racing = [subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE) for _ in range(6)]
    made = {process.communicate()[0] for process in racing}
    assert made == {path.read_bytes()}
    assert [found.name for found in path.parent.iterdir()] == ["key"]
    assert oct(path.stat().st_mode)[-3:] == "600"
    assert oct(path.parent.stat().st_mode)[-3:] == "700"


def test_a_secret_is_made_once_and_kept(tmp_path: Path) -> None:
    first = kept(tmp_path / "key")
    assert len(first) > 50
    assert kept(tmp_path / "key") == first


def test_an_empty_secret_is_refused_rather_than_used(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("\n")
    with pytest.raises(ImproperlyConfigured, match="is empty"):
        kept(tmp_path / "key")


def test_a_secret_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "key").mkdir()
    with pytest.raises(ImproperlyConfigured, match=str(tmp_path / "key")):
        kept(tmp_path / "key")
