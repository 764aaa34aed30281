"""A disk that forgets what was not synced, and a fuse that ends the process between any two steps."""

import os
from pathlib import Path
from typing import Any

import pytest

from storage import filesystem
from storage.filesystem import FilesystemDriver


class Crash(BaseException):
    """The process is gone. Not an Exception: nobody may handle it."""


class Fuse:
    """Burns down by one at every step that could be the last."""

    def __init__(self) -> None:
        self.left: int | None = None

    def step(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                self.left = None
                raise Crash

    def lies_at(self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
        """The process may end before and after this function."""
        real = getattr(owner, name)

        def stepping(*arguments: Any, **named: Any) -> Any:
            self.step()
            result = real(*arguments, **named)
            self.step()
            return result

        monkeypatch.setattr(owner, name, stepping)


class Disk:
    """Knows of each file, by its inode, how many bytes are on stable storage, and whether its name is."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory = directory
        self.synced: dict[int, int] = {}
        self.named: set[int] = set()
        monkeypatch.setattr(filesystem, "flush", self.flush)
        monkeypatch.setattr(filesystem, "sync_directory", self.sync_directory)
        begin = FilesystemDriver.begin

        def begin_anew(driver: FilesystemDriver, key: str) -> None:
            begin(driver, key)
            inode = (self.directory / key).stat().st_ino  # that of a deleted file, perhaps
            self.synced.pop(inode, None)
            self.named.discard(inode)

        monkeypatch.setattr(FilesystemDriver, "begin", begin_anew)

    def flush(self, descriptor: int) -> None:
        status = os.fstat(descriptor)
        self.synced[status.st_ino] = status.st_size

    def sync_directory(self, path: str) -> None:
        for entry in Path(path).iterdir():
            if entry.is_file() and Path(path).parent == self.directory:
                self.named.add(entry.stat().st_ino)

    def files(self) -> list[Path]:
        return sorted(path for path in self.directory.rglob("*") if path.is_file())

    def stored(self) -> set[str]:
        return {str(path.relative_to(self.directory)) for path in self.files()}

    def holds(self, key: str, size: int) -> bool:
        """Whether so many bytes of the object would survive a power cut."""
        inode = (self.directory / key).stat().st_ino
        return size == 0 or (inode in self.named and self.synced.get(inode, 0) >= size)

    def lose_power(self, keep: float) -> None:
        """What was not synced may be there in part, as garbage, or not at all: `keep` (0 to 1) tells how much is."""
        for path in self.files():
            status = path.stat()
            synced = min(self.synced.get(status.st_ino, 0), status.st_size)
            if status.st_ino not in self.named and keep < 0.5:
                path.unlink()
                continue
            os.truncate(path, synced)
            with path.open("ab") as file:
                file.write(b"\xff" * int((status.st_size - synced) * keep))

    def wipe(self) -> None:
        for path in self.files():
            path.unlink()
        self.synced.clear()
        self.named.clear()
