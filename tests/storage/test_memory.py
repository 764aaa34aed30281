"""What is particular about memory: it belongs to one process, and it can be full."""

import errno
import os
import subprocess
import sys
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import SystemCheckError

from registry_site.checks import settings_make_sense
from storage.driver import ObjectMissing, StorageAway
from storage.memory import MemoryDriver
from tests.server import ROOT

KEY = "ab/abcdef"


@pytest.fixture
def memory() -> MemoryDriver:
    driver = MemoryDriver(capacity=10)
    driver.prepare()
    return driver


def store(driver: MemoryDriver, content: bytes, key: str = KEY) -> None:
    driver.begin(key)
    with driver.writer(key) as writer:
        writer.resume(0)
        writer.append(content)


def test_all_objects_share_the_capacity_and_a_deleted_one_gives_back_its_own(memory):
    store(memory, bytes(6))
    with pytest.raises(OSError, match="No space") as caught:
        store(memory, bytes(5), "ab/other")
    assert caught.value.errno == errno.ENOSPC
    memory.delete(KEY)
    store(memory, bytes(10), "ab/third")


def test_a_block_that_does_not_fit_is_not_begun(memory):
    store(memory, bytes(6))
    with memory.writer(KEY) as writer:
        writer.resume(6)
        with pytest.raises(OSError, match="No space"):
            writer.append(bytes(5))
        assert writer.size == 6
    assert memory.holds(KEY, 6)


def test_it_can_be_looked_through_as_any_of_djangos_storages(memory):
    store(memory, b"one", "ab/one")
    store(memory, b"two", "cd/two")
    assert memory.listdir("") == (["ab", "cd"], [])
    assert memory.listdir("cd") == ([], ["two"])
    assert (memory.exists("ab/one"), memory.exists("ab"), memory.size("ab/one")) == (True, False, 3)
    with memory.open("ab/one") as file:
        assert file.read() == b"one"
    with pytest.raises(ObjectMissing):
        memory.open("ab/none")


def test_the_copy_that_a_child_process_has_is_not_taken_for_storage(memory):
    store(memory, b"1")
    pid = os.fork()
    if not pid:  # in the child, which may say nothing but its exit status
        status = 1
        try:
            memory.prepare()
        except StorageAway:
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert memory.holds(KEY, 1)


@pytest.fixture
def chosen(settings: Any) -> None:
    settings.STORAGES = settings.STORAGES | {"blobs": {"BACKEND": "storage.memory.MemoryDriver"}}


def test_a_registry_of_several_processes_refuses_it(chosen):
    (error,) = settings_make_sense(None)
    assert error.id == "layerstore.E007"
    assert "one process" in error.msg
    with pytest.raises(SystemCheckError):
        call_command("serve", skip_checks=False)


def test_the_server_does_not_start_with_it(tmp_path):
    (tmp_path / "chosen_settings.py").write_text(
        "from registry_site.settings import *\nSTORAGES['blobs'] = {'BACKEND': 'storage.memory.MemoryDriver'}\n"
    )
    environment = {
        **os.environ,
        "REGISTRY_DATA": str(tmp_path / "data"),
        "DJANGO_SETTINGS_MODULE": "chosen_settings",
        "PYTHONPATH": str(tmp_path),
    }
    command = [sys.executable, ROOT / "manage.py", "serve", "--port", "0"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "keep nothing" in done.stderr
    assert not (tmp_path / "data" / "db.sqlite3").exists()
