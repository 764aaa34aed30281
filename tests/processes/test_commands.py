"""script/server before anything is installed, and what its options become."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from registry_site import options
from tests.server import ROOT


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A clean checkout, in a directory whose name has a space; only what a command reads before it installs."""
    root = tmp_path / "a checkout"
    for name in ("script", "registry_site"):
        shutil.copytree(ROOT / name, root / name)
    for name in ("manage.py", "pyproject.toml"):
        shutil.copy(ROOT / name, root / name)
    return root


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A PATH with nothing but what every POSIX system has."""
    directory = tmp_path / "bin"
    directory.mkdir()
    for name in ("sh", "cat", "cksum", "dirname", "flock"):
        if found := shutil.which(name):
            (directory / name).symlink_to(found)
    return directory


def run(command: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([command, *arguments], cwd="/", env=environment, capture_output=True, text=True, check=False)


def python(programs: Path, script: str) -> None:
    (programs / "python3").write_text(f"#!/bin/sh\n{script}\n")
    (programs / "python3").chmod(0o755)


def test_help_is_there_before_anything_is_installed(checkout: Path, programs: Path) -> None:
    python(programs, f'exec "{sys.executable}" "$@"')
    answer = run(checkout / "script" / "server", "--help", PATH=str(programs))
    assert answer.returncode == 0, answer.stderr
    assert "--tls-cert" in answer.stdout
    assert not (checkout / ".venv").exists()


def test_a_machine_without_python_is_told_what_to_install(checkout: Path, programs: Path) -> None:
    answer = run(checkout / "script" / "server", PATH=str(programs))
    assert answer.returncode == 1
    assert "apt-get install python3 python3-venv" in answer.stderr


def test_a_machine_without_venv_is_told_which_package_has_it(checkout: Path, programs: Path) -> None:
    python(programs, f'case "$*" in *ensurepip*) exit 1;; esac; exec "{sys.executable}" "$@"')
    answer = run(checkout / "script" / "server", PATH=str(programs))
    assert answer.returncode == 1
    assert f"apt-get install python{sys.version_info[0]}.{sys.version_info[1]}-venv" in answer.stderr


def test_a_second_start_installs_nothing(checkout: Path, programs: Path) -> None:
    virtualenv = checkout / ".venv"
    (virtualenv / "bin").mkdir(parents=True)
    (virtualenv / "bin" / "python").write_text('#!/bin/sh\necho "$@"\n')
    (virtualenv / "bin" / "python").chmod(0o755)
    checksum = subprocess.run(["cksum"], stdin=(checkout / "pyproject.toml").open(), capture_output=True, check=True)
    (virtualenv / "installed").write_bytes(checksum.stdout)
    answer = run(checkout / "script" / "server", "--data", "a b", PATH=str(programs))
    assert answer.stdout == f"{checkout}/manage.py serve --data a b\n"


@pytest.mark.parametrize("held_by_a_file", [False, True])
def test_where_the_database_is_postgresql_what_it_needs_is_installed(
    checkout: Path, programs: Path, held_by_a_file: bool
) -> None:
    virtualenv = checkout / ".venv"
    (virtualenv / "bin").mkdir(parents=True)
    (virtualenv / "bin" / "python").write_text(
        '#!/bin/sh\ncase "$1$2" in -c*) echo "wanted: $3" >&2;; esac\necho "$@"\n'
    )
    (virtualenv / "bin" / "python").chmod(0o755)
    url = "postgres://registry@db/registry"
    (checkout / "url").write_text(f"{url}\n")
    given = {"REGISTRY_DATABASE_URL_FILE": str(checkout / "url")} if held_by_a_file else {"REGISTRY_DATABASE_URL": url}
    answer = run(checkout / "script" / "server", PATH=str(programs), **given)
    assert "wanted: postgres\n" in answer.stderr
    assert (virtualenv / "installed-postgres").exists()


def test_an_option_wins_over_its_environment_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", {"REGISTRY_PORT": "1", "REGISTRY_HOST": "::1", "REGISTRY_DATA": "here"})
    options.export(["--port", "5000", "--verbosity", "2"])
    assert os.environ == {"REGISTRY_PORT": "5000", "REGISTRY_HOST": "::1", "REGISTRY_DATA": str(tmp_path / "here")}


@pytest.mark.parametrize("port", ["nope", "-1", "65536", "٣", ""])
def test_a_port_that_is_none_is_refused(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        options.parser().parse_args([f"--port={port}"])
    assert "is not a port" in capsys.readouterr().err
