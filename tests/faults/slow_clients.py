"""A process full of clients that are idle, drip or crawl, all in one loop, so that they cost the machine little.

`python -m tests.faults.slow_clients PORT NAME DIGEST TOKEN`: on a line of its own input it lets some of the readers run
at full speed to the end, and writes what became of all of them as JSON.
"""

import hashlib
import heapq
import itertools
import json
import selectors
import socket
import sys
import time
from collections import Counter

IDLE, HEADS, BODIES, READERS, HURRIED = 200, 50, 30, 50, 3
STEP = 1024  # bytes that a reader takes ten times a second: 10 KB/s
BUFFER = 32 * 1024  # bytes that the kernel may take for it meanwhile


class Crowd:
    def __init__(self, port: int, name: str, digest: str, token: str):
        self.address, self.name, self.digest = ("127.0.0.1", port), name, digest
        self.common = f"Host: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n"
        self.selector = selectors.DefaultSelector()
        self.due: list[tuple[float, int, object]] = []
        self.order = itertools.count()
        self.counts: Counter[str] = Counter()
        self.readers: list[Reader] = []

    def later(self, seconds: float, act: object) -> None:
        heapq.heappush(self.due, (time.monotonic() + seconds, next(self.order), act))

    def run(self) -> None:
        """Until a line comes on standard input."""
        self.selector.register(sys.stdin, selectors.EVENT_READ)
        for number in range(IDLE):
            self.later(number * 0.002, Idle(self, asks=number % 2 == 0))
        for number in range(HEADS):
            self.later(number * 0.01, Head(self))
        for number in range(BODIES):
            self.later(number * 0.01, Body(self))
        self.readers = [Reader(self) for _ in range(READERS)]
        for number, reader in enumerate(self.readers):
            self.later(number * 0.01, reader)
        while True:
            wait = self.due[0][0] - time.monotonic()
            if self.selector.select(max(0.0, wait)):
                return
            while self.due and self.due[0][0] <= time.monotonic():
                heapq.heappop(self.due)[2].act()  # type: ignore[attr-defined]


class Slow:
    """Does something now and then; when the server has ended the connection, it begins again."""

    every = 1.0

    def __init__(self, crowd: Crowd):
        self.crowd = crowd
        self.socket: socket.socket | None = None

    def act(self) -> None:
        try:
            if self.socket is None:
                self.socket = socket.socket()
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
                self.socket.settimeout(10)
                self.socket.connect(self.crowd.address)
                self.socket.sendall(self.begin())
                self.socket.setblocking(False)
                self.crowd.counts[f"{type(self).__name__} began"] += 1
            else:
                self.go_on()
        except BlockingIOError:
            """Nothing came, and nothing went wrong."""
        except OSError:
            self.ended()
        self.crowd.later(self.every, self)

    def ended(self) -> None:
        assert self.socket is not None
        self.socket.close()
        self.socket = None
        self.crowd.counts[f"{type(self).__name__} ended"] += 1

    def drip(self, byte: bytes) -> None:
        assert self.socket is not None
        self.socket.send(byte)
        answer = self.socket.recv(1000)
        if answer:
            self.crowd.counts[f"{type(self).__name__} {answer[9:12].decode('latin-1')}"] += 1
        raise ConnectionResetError

    def begin(self) -> bytes:
        raise NotImplementedError

    def go_on(self) -> None:
        raise NotImplementedError


class Idle(Slow):
    def __init__(self, crowd: Crowd, asks: bool):
        super().__init__(crowd)
        self.asks = asks

    def begin(self) -> bytes:
        return b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" if self.asks else b""

    def go_on(self) -> None:
        assert self.socket is not None
        if not self.socket.recv(10_000):
            self.ended()


class Head(Slow):
    def begin(self) -> bytes:
        return b"GET /v2/ HTTP/1.1\r\nX-A: "

    def go_on(self) -> None:
        self.drip(b"a")


class Body(Slow):
    def begin(self) -> bytes:
        path = f"/v2/{self.crowd.name}/blobs/uploads/?digest={self.crowd.digest}"
        return f"POST {path} HTTP/1.1\r\n{self.crowd.common}Content-Length: 10000000\r\n\r\n".encode()

    def go_on(self) -> None:
        self.drip(b"a")


class Reader(Slow):
    """Keeps what it read, as a digest and its first bytes."""

    every = 0.1

    def __init__(self, crowd: Crowd):
        super().__init__(crowd)
        self.head, self.first, self.size, self.hash = b"", b"", 0, hashlib.sha256()

    def begin(self) -> bytes:
        self.head, self.first, self.size, self.hash = b"", b"", 0, hashlib.sha256()
        return f"GET /v2/{self.crowd.name}/blobs/{self.crowd.digest} HTTP/1.1\r\n{self.crowd.common}\r\n".encode()

    def go_on(self) -> None:
        assert self.socket is not None
        if not self.take(self.socket.recv(STEP)):
            self.ended()

    def take(self, content: bytes) -> bool:
        received = bool(content)
        if b"\r\n\r\n" not in self.head:
            self.head, _, content = (self.head + content).partition(b"\r\n\r\n")
            self.head += b"\r\n\r\n" if content or received else b""
        self.size += len(content)
        self.hash.update(content)
        if len(self.first) < 65536:
            self.first += content[: 65536 - len(self.first)]
        return received

    def hurry(self, size: int) -> dict[str, object]:
        """Read all the rest as fast as it comes."""
        assert self.socket is not None
        self.socket.settimeout(60)
        slowly = self.size
        while self.size < size and self.take(self.socket.recv(1 << 20)):
            """On."""
        return {"slowly": slowly, "size": self.size, "digest": f"sha256:{self.hash.hexdigest()}"}


def main(port: str, name: str, digest: str, size: str, token: str) -> None:
    crowd = Crowd(int(port), name, digest, token)
    crowd.run()
    readers = [reader for reader in crowd.readers if reader.socket is not None]
    report = {
        "counts": crowd.counts,
        "slow": [[reader.size, hashlib.sha256(reader.first).hexdigest(), len(reader.first)] for reader in readers],
        "hurried": [reader.hurry(int(size)) for reader in readers[:HURRIED]],
    }
    print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
