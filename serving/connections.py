"""A client's connection, and what can be done with it without waiting. It belongs to the loop or to one thread."""

import fcntl
import re
import select
import socket
import ssl
import struct
import termios
from typing import Any

from serving.files import Sending
from serving.gunicorn_inside import new_parser, wrap_tls

HEAD_LIMIT = 64 * 1024  # bytes of a request's head, or of a body that is collected with it

HAS_BODY = re.compile(rb"\r\n(?:transfer-encoding[ \t]*:|content-length[ \t]*:(?![ \t]*0+[ \t]*\r\n))", re.IGNORECASE)
SMALL_BODY = re.compile(rb"\r\ncontent-length:[ \t]*0*([0-9]{1,5})[ \t]*\r\n", re.IGNORECASE)
NOT_COLLECTED = re.compile(rb"\r\n(?:expect|transfer-encoding)[ \t]*:", re.IGNORECASE)
BARE_LF = re.compile(rb"(?<!\r)\n")


class Connection:
    """`head`: what has arrived of the next request. `needed`: bytes that have to be there before a thread is worth it,
    the body among them where it is small; 0: not known yet. `since` when it waits, and until when, its `deadline`:
    monotonic seconds, while the loop has it."""

    __slots__ = (
        "deadline", "fd", "head", "needed", "parser", "peer", "searched", "sending", "server", "since", "sock",
        "streams_body", "turned_away", "unsent",
    )  # fmt: skip

    encrypted = False

    def __init__(self, cfg: Any, sock: socket.socket, peer: Any, server: Any, stall: float):
        self.sock, self.fd, self.peer, self.server = sock, sock.fileno(), peer, server
        self.since = self.deadline = 0.0
        self.sending: Sending | None = None
        self.unsent = 0
        self.turned_away = False
        self.next_request()
        self.prepare(stall)
        self.parser = new_parser(cfg, self.sock, peer)

    def prepare(self, stall: float) -> None:
        """A blocking socket with time limits in the kernel: threads just use it, and the loop asks it not to wait,
        call by call. Nothing has to be switched when the connection changes hands."""
        limit = struct.pack("ll", int(stall), 0)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        if self.sock.family != socket.AF_UNIX:
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def next_request(self, received: bytes = b"") -> None:
        """Start over, with what came along with the request before."""
        self.head, self.searched, self.needed, self.streams_body = received, 0, 0, False

    @property
    def idle(self) -> bool:
        return not self.head and self.sending is None

    @property
    def collects_body(self) -> bool:
        return self.needed > 0

    def ready(self) -> bool:
        """Whether a thread can do something with what has arrived: answer it, or refuse it. It never has to wait for
        the rest of a head, nor for a body that is as small as one."""
        if not self.needed:
            start, self.searched = max(0, self.searched - 3), len(self.head)  # else each byte would cost all before it
            end = self.head.find(b"\r\n\r\n", start)
            if not 0 <= end <= HEAD_LIMIT:
                return len(self.head) >= HEAD_LIMIT or BARE_LF.search(self.head, start) is not None
            head = self.head[: end + 2]
            small = SMALL_BODY.search(head) if NOT_COLLECTED.search(head) is None else None
            length = int(small[1]) if small else 0
            self.streams_body = HAS_BODY.search(head) is not None and not 0 < length <= HEAD_LIMIT
            self.needed = end + 4 + (0 if self.streams_body else length)
        return len(self.head) >= self.needed

    def receive_now(self) -> bytes | None:
        """What is there: b"" when the client has ended, None when there is nothing yet."""
        try:
            return self.sock.recv(HEAD_LIMIT, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def send_now(self, content: bytes) -> int:
        """How many bytes went out without waiting. Raises OSError when the connection is gone."""
        try:
            return self.sock.send(content, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return 0

    def send_last(self, content: bytes) -> None:
        """Nothing follows, so how much of it went out does not matter. Raises OSError as well."""
        self.send_now(content)

    def end_of_answers(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def takes_bytes(self) -> bool:
        """Whether the client has taken anything since the last time this was asked. A slow reader frees the socket's
        buffer so slowly that it becomes writable again only after minutes."""
        try:
            unsent = struct.unpack("i", fcntl.ioctl(self.fd, termios.TIOCOUTQ, b"\0\0\0\0"))[0]
        except OSError:
            return False
        before, self.unsent = self.unsent, unsent
        return unsent != before

    def left_over(self) -> bytes:
        """What was read from the socket and is with nobody, where there is such a place."""
        return b""

    def takes_more(self) -> bool:
        """Whether there is room for another small answer, or the client has to read first."""
        ready = select.poll()
        ready.register(self.fd, select.POLLOUT)
        return bool(ready.poll(0))

    def for_thread(self) -> None:
        """A thread is about to use the socket."""


class TlsConnection(Connection):
    """The handshake and the head are read in the loop too; OpenSSL knows no call that does not wait, so the socket is
    switched when it changes hands."""

    __slots__ = ("_shaking_hands", "_stall")

    encrypted = True

    def __init__(self, cfg: Any, sock: socket.socket, peer: Any, server: Any, stall: float):
        super().__init__(cfg, wrap_tls(cfg, sock), peer, server, stall)

    def prepare(self, stall: float) -> None:
        super().prepare(stall)
        self._shaking_hands, self._stall = True, stall

    def receive_now(self) -> bytes | None:
        self.sock.setblocking(False)
        try:
            if self._shaking_hands:
                self.sock.do_handshake()  # type: ignore[attr-defined]
                self._shaking_hands = False
            received = self.sock.recv(HEAD_LIMIT)
            while received and self.sock.pending():  # type: ignore[attr-defined]  # epoll does not see these bytes
                received += self.sock.recv(HEAD_LIMIT)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None
        except OSError:
            return b""
        return received

    def send_now(self, content: bytes) -> int:
        return 0  # what OpenSSL has begun to send cannot be taken over by others: threads send

    def send_last(self, content: bytes) -> None:
        if not self._shaking_hands:
            self.sock.setblocking(False)
            self.sock.send(content)

    def end_of_answers(self) -> None:
        socket.socket.shutdown(self.sock, socket.SHUT_WR)  # SSLSocket's own would forget the encryption

    def left_over(self) -> bytes:
        return self.receive_now() or b"" if self.sock.pending() else b""  # type: ignore[attr-defined]

    def for_thread(self) -> None:
        self.sock.settimeout(self._stall)  # with OpenSSL the kernel's limits mean nothing: Python tries again
