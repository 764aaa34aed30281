"""The process that looks into a layer: `python -m layers.looking SIZE SECONDS VERSION PARENT`, the bytes on standard
input, the answer as one line of JSON on standard output.

The bytes are hostile and what understands them is written in C: so this process is given no secrets and no database,
gives up its rights to files (`layers/confinement.py`, on Linux), may take little, and gives way to everything else. It
runs as the registry's user: where it cannot give up those rights, whoever takes it over can read what that user can.

It imports no Django, which takes longer to start than most layers to read.
"""

import json
import os
import resource
import sys
import time
from dataclasses import asdict

from layers.confinement import confine
from oci.contents import Inside, TooMuch, inside

MEMORY = 256 << 20  # bytes of address space
DESCRIPTORS = 16
CUT_OFF = 3  # exit status where standard input ended before SIZE bytes
SPARE = 5  # seconds of computing after which the kernel ends a process that has not ended itself


class Standard:
    """The first `size` bytes of standard input. Raises EOFError where it has fewer: that is no fault of the layer's."""

    def __init__(self, size: int) -> None:
        self._left = size

    def read(self, size: int, /) -> bytes:
        block = os.read(0, min(size, self._left))
        if self._left and not block:
            raise EOFError(f"{self._left} bytes are missing")
        self._left -= len(block)
        return block


def limit(seconds: int) -> None:
    """For the rest of this process's life. What is not imported yet cannot be afterwards."""
    os.nice(19)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds + SPARE, seconds + 2 * SPARE))
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
    for nothing in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE):
        resource.setrlimit(nothing, (0, 0))
    confine()


def look(size: int, seconds: int, version: int, parent: int) -> Inside:
    def patience() -> None:
        if time.process_time() > seconds:
            raise TooMuch(f"more than {seconds} seconds of computing")
        if os.getppid() != parent:
            sys.exit("nobody waits for the answer any more")

    return inside(Standard(size), version, patience)


def main() -> None:
    size, seconds, version, parent = map(int, sys.argv[1:])
    limit(seconds)
    try:
        print(json.dumps(asdict(look(size, seconds, version, parent))))
    except EOFError:
        sys.exit(CUT_OFF)


if __name__ == "__main__":
    main()
