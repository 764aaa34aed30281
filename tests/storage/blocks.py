"""A driver for tests that start servers: its objects are files, but nobody may know, as if they lay elsewhere."""

from storage.driver import Reader
from storage.filesystem import FilesystemDriver


class BlocksDriver(FilesystemDriver):
    def read(self, key: str, start: int, stop: int) -> "Blocks":  # type: ignore[override]
        return Blocks(super().read(key, start, stop))


class Blocks:
    def __init__(self, reader: Reader):
        self.read, self.close = reader.read, reader.close
