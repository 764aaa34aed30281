"""The parent of all processes: starts them, starts them again when they die, ends them together.

Parent and children hold the two ends of a pipe, the lifeline. Nothing is ever written to it: it ends when the parent
does, also by `kill -9`, and then the children end too. The next start finds nothing in its way.
"""

import contextlib
import logging
import os
import random
import select
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

logger = logging.getLogger(__name__)

LIFELINE = "REGISTRY_LIFELINE"  # environment variable of the children: the descriptor they watch
ORPHAN_GRACE = 5.0  # seconds an orphan has to end by itself: well within what a new start waits for the port
OPEN_REQUESTS_GRACE = 30  # seconds open requests have to end once a stop was asked for
STOP = {signal.SIGTERM, signal.SIGINT}


@dataclass
class Child:
    """A process that is started by exec, and again after it died, later and later while it dies at once.

    `descriptors` are what it inherits beside standard input, output and error, and the lifeline. `reloads`: whether
    SIGHUP makes it take new processes, which read its certificate anew.
    """

    name: str
    command: list[str]
    descriptors: tuple[int, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    reloads: bool = False
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0  # monotonic seconds, like `due`
    due: float = 0.0
    failures: int = 0

    def start(self, lifeline: int) -> None:
        self.started = time.monotonic()
        try:
            self.process = subprocess.Popen(  # noqa: S603 - a command of our own
                self.command,
                stdin=subprocess.DEVNULL,
                pass_fds=(lifeline, *self.descriptors),
                env={**os.environ, **self.environment, LIFELINE: str(lifeline)},
                start_new_session=True,  # Ctrl-C in a terminal reaches the parent alone, which passes it on politely
            )
        except OSError as error:  # no memory, too many processes: that may pass
            self._start_later(self.started, str(error))

    def notice_death(self, now: float) -> None:
        """When it has ended, say so and set a time for the next start."""
        if self.process is not None and (status := self.process.poll()) is not None:
            self.process = None
            self._start_later(now, _words(status))

    def _start_later(self, now: float, why: str) -> None:
        """After at most 0.2 s, doubled each time up to 30 s; a little by chance, so that nothing falls into step."""
        self.failures = 1 if now - self.started > 60 else self.failures + 1
        delay = min(30.0, 0.1 * 2**self.failures) * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
        self.due = now + delay
        logger.error("%s does not run (%s), starting it again in %.1f s", self.name, why, delay)

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def tell(self, signum: int) -> None:
        if self.process is not None:
            self.process.send_signal(signum)


def supervise(children: list[Child]) -> None:
    """Keep the children running until SIGTERM or SIGINT; then end them, and return when all have ended.

    SIGHUP is passed on to those that reload. When it comes because the terminal that we were started from is gone,
    it means the end, as for every other program.
    """
    lifeline, kept_open = os.pipe()  # the children never get to hold the second, so it ends with this process
    terminal = os.isatty(0)
    try:
        with _signals_to_read() as signals:
            while not STOP & (received := _received(signals, _run(children, lifeline))):
                if signal.SIGHUP in received:
                    if terminal and not os.isatty(0):
                        break
                    _reload(children)
            _end(children, signals)
    finally:
        os.close(lifeline)
        os.close(kept_open)


def end_with_parent() -> None:
    """Called in a child: when its parent ends, end gracefully, and anyhow after 5 s. Without a parent: nothing."""
    lifeline = os.environ.get(LIFELINE)
    if lifeline is not None:
        os.set_inheritable(int(lifeline), False)
        threading.Thread(target=_watch, args=(int(lifeline),), name="lifeline", daemon=True).start()


def _watch(lifeline: int) -> None:
    os.read(lifeline, 1)
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)  # wakes the main thread from any wait
    time.sleep(ORPHAN_GRACE)
    os._exit(1)


def _run(children: list[Child], lifeline: int) -> float | None:
    """Start every child that is due; the seconds until the next is, or None."""
    now = time.monotonic()
    for child in children:
        child.notice_death(now)
        if child.process is None and child.due <= now:
            child.start(lifeline)
    return min((child.due - now for child in children if child.process is None), default=None)


def _reload(children: list[Child]) -> None:
    logger.info("Reloading: new processes take over, the old ones end with their open requests.")
    for child in children:
        if child.reloads:
            child.tell(signal.SIGHUP)


def _end(children: list[Child], signals: int) -> None:
    """Ask, and wait as long as open requests may take; after that, or at a second signal, hurry; at last kill."""
    logger.info("Stopping: open requests have %s s to end. Ctrl-C again to hurry.", OPEN_REQUESTS_GRACE)
    for signum, patience in ((signal.SIGTERM, OPEN_REQUESTS_GRACE + 2.0), (signal.SIGINT, 3.0), (signal.SIGKILL, 1.0)):
        for child in children:
            child.tell(signum)
        deadline = time.monotonic() + patience
        while any(child.alive for child in children) and (left := deadline - time.monotonic()) > 0:
            if STOP & _received(signals, left):
                break


@contextlib.contextmanager
def _signals_to_read() -> Iterator[int]:
    """A descriptor from which the numbers of the signals that arrive can be read: nothing runs inside a handler."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    handled = (*STOP, signal.SIGHUP, signal.SIGCHLD)
    before = [signal.signal(signum, lambda *_: None) for signum in handled]
    wakeup = signal.set_wakeup_fd(writer)
    try:
        yield reader
    finally:
        signal.set_wakeup_fd(wakeup)
        for signum, handler in zip(handled, before, strict=True):
            signal.signal(signum, handler)
        os.close(reader)
        os.close(writer)


def _received(signals: int, timeout: float | None) -> set[int]:
    """The signals that arrived; waits for one up to `timeout` seconds."""
    readable, _, _ = select.select([signals], [], [], timeout)
    return set(os.read(signals, 1024)) if readable else set()


def _words(status: int) -> str:
    return f"exit status {status}" if status >= 0 else signal.Signals(-status).name
