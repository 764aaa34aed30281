"""Two servers never share data or a port, and the one that has to give way says why."""

import fcntl
import os
import re
import socket
from pathlib import Path

import pytest
from django.core.management import CommandError

from registry_site import preparation
from tests.server import Server


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparation, "PATIENCE", 0.2)


@pytest.mark.usefixtures("_impatient")
def test_data_in_use_are_refused_with_the_pid_of_who_uses_them(tmp_path: Path) -> None:
    with preparation.lock(tmp_path), pytest.raises(CommandError, match=rf"process {os.getpid()}\b"):
        preparation.lock(tmp_path)


def test_data_that_cannot_be_written_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CommandError, match=re.escape(str(tmp_path / "file"))):
        preparation.lock(tmp_path / "file")


def test_the_lock_of_a_server_that_ended_is_free(tmp_path: Path) -> None:
    preparation.lock(tmp_path).close()
    with preparation.lock(tmp_path) as again:
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
        assert not os.get_inheritable(again.fileno())


def test_a_start_waits_for_a_lock_that_is_about_to_be_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    holder = (tmp_path / "lock").open("w")
    fcntl.flock(holder, fcntl.LOCK_EX)
    monkeypatch.setattr(preparation.time, "sleep", lambda _: holder.close())
    preparation.lock(tmp_path).close()
    assert holder.closed


@pytest.mark.usefixtures("_impatient")
def test_a_port_in_use_is_refused_by_its_number() -> None:
    with preparation.listen("127.0.0.1", 0) as other:
        port = other.getsockname()[1]
        with pytest.raises(CommandError, match=f"Port {port} .* in use"):
            preparation.listen("127.0.0.1", port)


def test_an_address_of_another_machine_is_refused_at_once() -> None:
    with pytest.raises(CommandError, match=r"192\.0\.2\.1"):
        preparation.listen("192.0.2.1", 0)


@pytest.mark.parametrize("name", ["not an address", 64 * "x" + ".example", ""])
def test_a_name_that_is_no_address_is_refused(name: str) -> None:
    with pytest.raises(CommandError, match="is not an address"):
        preparation.listen(name, 0)


def test_who_connects_while_the_server_starts_waits_instead_of_being_refused() -> None:
    with preparation.listen("127.0.0.1", 0) as listener:
        socket.create_connection(listener.getsockname(), timeout=1).close()


@pytest.mark.faults
def test_a_second_server_on_the_same_data_is_refused_and_the_first_goes_on(server: Server) -> None:
    second = Server(server.data, ready_within=30)
    second.log_file = server.data.with_name("second.log")
    second.start(wait=False)
    assert second.process is not None
    assert second.process.wait(30) == 1
    assert f"process {server.pids('parent')[0]}" in second.log
    assert "Traceback" not in second.log
    assert server.ready()
