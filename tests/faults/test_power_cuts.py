"""The power goes while twelve clients push: what was acknowledged is on the disk when it comes back.

Blobs and database are on an ext4 of their own, which is shut down as it stands: what was not flushed is gone.
"""

import fcntl
import os
import random
import shutil
import signal
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import audit
from tests.faults.conftest import SETTINGS, count, done, needs
from tests.faults.journal import Journal
from tests.faults.registry import Repository, token_for
from tests.faults.test_kills import NAMES, family, kill_everything, pushing
from tests.faults.wire import Answer
from tests.server import Server, wait_until

pytestmark = pytest.mark.faults

SIZE = 1024**3  # bytes, sparse
EXT4_IOC_SHUTDOWN, NOT_EVEN_THE_JOURNAL = 0x8004587D, 2


class Disk:
    """An ext4 in a file, mounted, from which the power can be taken."""

    def __init__(self, image: Path, directory: Path):
        self.image, self.directory = image, directory
        directory.mkdir()
        with image.open("wb") as file:
            file.truncate(SIZE)
        subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
        self.mount()

    def mount(self) -> None:
        subprocess.run(["mount", "-o", "loop", self.image, self.directory], check=True)

    def unmount(self) -> None:
        """The kernel closes the files of a killed process some time after it is gone."""
        wait_until(lambda: subprocess.run(["umount", "-q", self.directory]).returncode == 0, 30)

    def cut_power(self) -> None:
        descriptor = os.open(self.directory, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, EXT4_IOC_SHUTDOWN, struct.pack("I", NOT_EVEN_THE_JOURNAL))
        finally:
            os.close(descriptor)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    needs(os.geteuid() == 0 and shutil.which("mkfs.ext4"), "root and mkfs.ext4")
    disk = Disk(tmp_path / "image", tmp_path / "data")
    try:
        yield disk
    finally:
        disk.unmount()


def freeze(server: Server) -> None:
    """Nothing is answered any more when the power goes. That has to be before: ext4 reports success for an fdatasync
    in the midst of which it is shut down, though nothing was written, and who believes that would be told so."""
    pids = family(server)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: all(stopped_or_in_the_kernel(pid) for pid in pids))


def stopped_or_in_the_kernel(pid: int) -> bool:
    """Every thread; one that waits for the disk stops before it gets to know what came of it."""
    stats = [(task / "stat").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
    return all(stat.rpartition(")")[2].split()[0] in "TD" for stat in stats)


class Waiting(Repository):
    """A client that takes "not available" for no answer, and tries again."""

    may_forget_empty_uploads = True  # a file without bytes is not flushed: its upload has to be opened again

    def ask(self, *arguments: object, **more: object) -> Answer:
        answer = super().ask(*arguments, **more)  # type: ignore[arg-type]
        if answer.status in (503, 507):
            assert answer.codes == ["UNAVAILABLE"], answer
            raise ConnectionError(answer)
        return answer


def test_nothing_acknowledged_is_lost_when_the_power_goes(disk: Disk, chance: random.Random, tmp_path: Path) -> None:
    with Server(disk.directory, SETTINGS) as server:
        token = token_for(server, *NAMES)
        journals = [Journal(tmp_path / f"journal-{cycle}") for cycle in range(count(4, 40))]
        for cycle, journal in enumerate(journals):
            with pushing(server, token, journal, chance, f"cut-{cycle}", Waiting):
                time.sleep(chance.uniform(0.3, 2.0))
                freeze(server)
                disk.cut_power()
                kill_everything(server)
                disk.unmount()
                disk.mount()
                problems = audit.stored(server, journal.expected())
                server.start()
            expected = journal.expected()
            problems += audit.served(server, token, expected)
            assert problems == [], f"cut {cycle}"
            done("power cuts under twelve pushers")
            done("acknowledgements around power cuts", expected.acknowledgements)
        assert server.stop() == 0
        for journal in journals:
            assert audit.stored(server, journal.expected()) == []
