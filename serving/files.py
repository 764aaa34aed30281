"""An answer on its way to a client: sent as fast as the client takes it, by a thread or, in between, by nobody.

A thread that would have to wait for a slow reader gives the rest back to the loop. A file goes out by sendfile.
"""

import os
import select
import socket
import ssl
from collections.abc import Callable
from typing import Any

MOMENT = 50  # milliseconds a thread waits for a reader before it finds something better to do
BLOCK = 256 * 1024  # bytes, where the kernel cannot send the file itself
AT_ONCE = 0x7FFFF000  # bytes the kernel sends in one call
NEAR = 320 * 1024  # bytes on the way to a reader on this machine
NEAR_AT_ONCE = 512 * 1024
NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Sending:
    """Bytes in memory, `left` of them. `end` is called once, with whether all went out; `keep`: whether the connection
    goes on after that. The socket does not block until then."""

    def __init__(self, sock: socket.socket, content: bytes, *, keep: bool, end: Callable[[bool], None]):
        self.sock, self.left, self.keep, self.end = sock, len(content), keep, end
        self._block = memoryview(content)
        sock.setblocking(False)

    def go_on(self) -> bool:
        """Send what the client takes. True: it has all. False: it is slow. Raises OSError: it is gone, or the file is
        shorter than it was."""
        ready = select.poll()
        ready.register(self.sock, select.POLLOUT)
        while self.left:
            try:
                sent = self._send()
            except NOT_NOW:
                if not ready.poll(MOMENT):
                    return False
                continue
            if not sent:
                raise OSError("the file ended before the length that was announced")
            self.left -= sent
        self.sock.setblocking(True)
        return True

    def _send(self) -> int:
        sent = self.sock.send(self._block) if self._block else 0
        self._block = self._block[sent:]
        return sent


class SendingFile(Sending):
    """`left` bytes of a file, from where it stands."""

    def __init__(self, sock: socket.socket, file: Any, left: int, *, keep: bool, end: Callable[[bool], None]):
        super().__init__(sock, b"", keep=keep, end=end)
        self.left = left
        self._file = file.fileno()
        self._offset = os.lseek(self._file, 0, os.SEEK_CUR)
        self._encrypted = isinstance(sock, ssl.SSLSocket)
        self._at_once = AT_ONCE
        if on_this_machine(sock):
            # Left alone the kernel lets megabytes queue up, which the reader then finds in no cache: half the speed.
            # Farther away it must, or a long way would be a slow one.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, NEAR)
            self._at_once = NEAR_AT_ONCE

    def _send(self) -> int:
        if self._encrypted:
            if not self._block:
                self._block = memoryview(os.pread(self._file, min(BLOCK, self.left), self._offset))
                self._offset += len(self._block)
            return super()._send()
        sent = os.sendfile(self.sock.fileno(), self._file, self._offset, min(self.left, self._at_once))
        self._offset += sent
        return sent


class SendingBlocks(Sending):
    """`left` bytes of what is no file of the system's, by its `read`."""

    def __init__(self, sock: socket.socket, source: Any, left: int, *, keep: bool, end: Callable[[bool], None]):
        super().__init__(sock, b"", keep=keep, end=end)
        self.left = left
        self._read = source.read

    def _send(self) -> int:
        if not self._block:
            self._block = memoryview(self._read(min(BLOCK, self.left)))
        return super()._send()


def sending_of(
    sock: socket.socket, source: Any, left: int, *, keep: bool, end: Callable[[bool], None]
) -> SendingFile | SendingBlocks:
    """By the kernel where that can read it: `storage.driver.Reader` says how to tell, as Python's io does."""
    try:
        source.fileno()
    except (AttributeError, OSError):
        return SendingBlocks(sock, source, left, keep=keep, end=end)
    return SendingFile(sock, source, left, keep=keep, end=end)


def on_this_machine(sock: socket.socket) -> bool:
    """Whether the peer is a process here: a client, or a proxy."""
    if sock.family == socket.AF_UNIX:
        return False  # where the size of the buffer means something else
    try:
        return bool(sock.getsockname()[0] == sock.getpeername()[0])
    except OSError:  # it has hung up
        return False
