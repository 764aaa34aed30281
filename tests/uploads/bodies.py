"""Request bodies without requests."""

import threading
from collections.abc import Callable, Iterator


class Sent:
    """What a client sends: blocks, and between them whatever a test wants to happen.

    `broken` is why it ends too early. `interrupted` is set when the registry has given up waiting for more.
    """

    def __init__(self, *steps: bytes | Callable[[], object], broken: str = ""):
        self.steps, self.why, self.broken = steps, broken, ""
        self.interrupted = threading.Event()

    def __iter__(self) -> Iterator[bytes]:
        for step in self.steps:
            if isinstance(step, bytes):
                yield step
            else:
                step()
        self.broken = self.why

    def interrupt(self) -> None:
        self.interrupted.set()


class Silent(Sent):
    """After its blocks it waits for more, until it is interrupted."""

    def __iter__(self) -> Iterator[bytes]:
        yield from super().__iter__()
        assert self.interrupted.wait(30), "nobody has given up waiting"
        self.broken = "the connection was shut down"
