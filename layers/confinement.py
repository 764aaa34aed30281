"""Giving up rights for the rest of a process's life, by Linux's Landlock: to a process that has to read what is hostile
the files of its user are as closed as those of others.

The standard library has no words for it, so the system calls are made by number; they have the same everywhere.
"""

import ctypes
import struct
import sys

CREATE_RULESET, RESTRICT_SELF = 444, 446
ASK_VERSION = 1
NO_NEW_PRIVILEGES = 38  # for prctl
CONNECTIONS = 0b11  # over TCP: to listen, to connect
OUTSIDE = 0b11  # abstract Unix sockets of others, signals to others


def landlock() -> int:
    """The version of Landlock in this kernel; 0: none, or a container does not let it through."""
    return max(call(CREATE_RULESET, 0, 0, ASK_VERSION), 0) if sys.platform == "linux" else 0


def confine() -> bool:
    """From now on open, run, list, make and remove no file, and look into no other process; where the kernel is as
    new, cut off no file either (6.2), use no TCP (6.7), and send no signal to others (6.12). What is open stays open.

    False where that cannot be had: Landlock came with Linux 5.13.
    """
    version = landlock()
    if not version:
        return False
    rights = ctypes.create_string_buffer(all_rights(version))
    ruleset = call(CREATE_RULESET, ctypes.addressof(rights), len(rights) - 1, 0)
    ctypes.CDLL(None).prctl(*map(ctypes.c_long, (NO_NEW_PRIVILEGES, 1, 0, 0, 0)))  # else the next call is refused
    return call(RESTRICT_SELF, ruleset, 0) == 0


def call(number: int, *arguments: int) -> int:
    return int(ctypes.CDLL(None).syscall(*map(ctypes.c_long, (number, *arguments))))


def all_rights(version: int) -> bytes:
    """What a kernel with this version of Landlock can take away: a bit for each right, rights to files first."""
    files = 13 + (version >= 2) + (version >= 3) + (version >= 5)
    rights = [(1 << files) - 1]
    if version >= 4:
        rights.append(CONNECTIONS)
    if version >= 6:
        rights.append(OUTSIDE)
    return struct.pack(f"{len(rights)}Q", *rights)
