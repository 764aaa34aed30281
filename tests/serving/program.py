"""gunicorn as a process of its own, serving the echo with a worker of the test's choice."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

from tests.server import ROOT, _children, wait_until

LOOP, GTHREAD = "serving.worker.LoopWorker", "gthread"


class Gunicorn:
    """Started on entering, killed on leaving. `limits` go to the loop worker, `settings` to gunicorn's command line."""

    def __init__(
        self,
        log: Path,
        worker: str = LOOP,
        *,
        threads: int = 8,
        limits: dict[str, float] | None = None,
        settings: tuple[str, ...] = (),
        environment: dict[str, str] | None = None,
        bind: str = "127.0.0.1:0",
    ):
        self.log_file = log
        self.host, self.port = "127.0.0.1", 0
        command = [sys.executable, "-m", "gunicorn", "-c", "python:tests.serving.echo_conf", "--bind", bind]
        self.command = [*command, "-k", worker, "--threads", str(threads), "--log-level", "info", *settings]
        self.command.append("tests.serving.echo:application")
        limited = {"ECHO_LIMITS": json.dumps(limits or {})}
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("REGISTRY_", "DJANGO_"))}
        self.environment = inherited | limited | (environment or {})
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=self.environment, cwd=ROOT
            )
        try:
            wait_until(self._listens, 20)
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, *_: Any) -> None:
        self.end()

    @property
    def log(self) -> str:
        return self.log_file.read_text(encoding="utf-8", errors="replace")

    @property
    def running(self) -> subprocess.Popen[bytes]:
        assert self.process is not None, "not started"
        return self.process

    @property
    def workers(self) -> list[int]:
        return _children(self.running.pid)

    def signal(self, signum: int) -> None:
        self.running.send_signal(signum)

    def stop(self, within: float = 20.0) -> int:
        self.signal(signal.SIGTERM)
        return self.running.wait(within)

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def _listens(self) -> bool:
        assert self.running.poll() is None, self.log
        if listening := re.search(r"Listening at: (?:https?://([\d.]+):(\d+)|unix:\S+) ", self.log):
            self.port = int(listening[2] or 0)
        return listening is not None and "Booting worker" in self.log


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def threads(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/task"))


def kilobytes(pid: int) -> int:
    """Resident memory."""
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1])  # type: ignore[index]
