"""A real server for tests: `manage.py serve` with its processes, on a port of its own, over data of its own.

with Server(tmp_path / "data") as server:
    http.client.HTTPConnection(server.host, server.port)…
"""

import http.client
import os
import re
import signal
import ssl
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Literal, Self

ROOT = Path(__file__).resolve().parent.parent
Which = Literal["parent", "gunicorn", "worker", "background"]


class Server:
    """Started on entering, ended on leaving. `environment` adds REGISTRY_* variables, or takes one away with None.

    The first start takes any free port, later ones the same again. `admin_password` belongs to the user `admin`;
    None lets the server choose, and then it holds what the server printed.
    """

    command: tuple[str | Path, ...] = (sys.executable, ROOT / "manage.py", "serve")

    def __init__(
        self,
        data: Path,
        environment: dict[str, str | None] | None = None,
        arguments: tuple[str, ...] = (),
        admin_password: str | None = "admin-password-of-a-test",
        ready_within: float = 60.0,
    ) -> None:
        self.data = data
        self.host = "127.0.0.1"
        self.port = 0
        self.scheme = "http"
        self.admin_password = admin_password
        self.environment = environment or {}
        self.arguments = arguments
        self.ready_within = ready_within
        self.process: subprocess.Popen[bytes] | None = None
        self.log_file = data.with_name(f"{data.name}.log")

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.end()
            raise

    def __exit__(self, *_: object) -> None:
        self.end()

    # --- What it is ---------------------------------------------------------------------------------------------------

    @property
    def registry(self) -> str:
        """What comes first in the name of an image: address and port."""
        return f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.registry}"

    @property
    def log(self) -> str:
        """All it has written so far, over all its starts."""
        return self.log_file.read_text(encoding="utf-8") if self.log_file.exists() else ""

    def pids(self, which: Which) -> list[int]:
        """The processes of that kind that run now; Linux only."""
        assert self.process is not None, "the server was not started"
        if which == "parent":
            return [self.process.pid]
        if which == "worker":
            return [worker for gunicorn in self.pids("gunicorn") for worker in _children(gunicorn)]
        return [child for child in _children(self.process.pid) if which.encode() in _command(child)]

    # --- What is done to it -------------------------------------------------------------------------------------------

    def start(self, wait: bool = True) -> Self:
        before = len(self.log)
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.command, "--data", self.data, "--port", str(self.port), *self.arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment(),
            )
        if wait:
            self._wait_until_ready(before)
        return self

    def stop(self, within: float = 40.0) -> int:
        """Ask it to end, wait, and return its exit status."""
        assert self.process is not None, "the server was not started"
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(within)

    def kill(self, which: Which, index: int = 0) -> int:
        """`kill -9` of one process, the `index`-th of its kind; returns its pid."""
        pid = self.pids(which)[index]
        os.kill(pid, signal.SIGKILL)
        if which == "parent" and self.process is not None:
            self.process.wait()
        return pid

    def end(self) -> None:
        """End it and all its processes, whatever state they are in."""
        if self.process is None:
            return
        family = _descendants(self.process.pid)
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for pid, command in family.items():
            if _command(pid) == command:  # still the same process
                with suppress(ProcessLookupError):  # it has ended since
                    os.kill(pid, signal.SIGKILL)

    def ready(self) -> bool:
        """Whether GET /readyz is answered with 200 now."""
        return self.get("/readyz", timeout=5.0) == 200

    def get(self, path: str, timeout: float = 30.0) -> int | None:
        """The status of one GET on a new connection; None when there was no answer."""
        connection = self.connection(timeout)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def connection(self, timeout: float = 30.0) -> http.client.HTTPConnection:
        if self.scheme == "http":
            return http.client.HTTPConnection(self.host, self.port, timeout=timeout)
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # a certificate of the test's own
        return http.client.HTTPSConnection(self.host, self.port, timeout=timeout, context=context)

    # --- How ----------------------------------------------------------------------------------------------------------

    def _environment(self) -> dict[str, str]:
        chosen = ("REGISTRY_WORKER",)  # so that everything may be tested on either
        inherited = {name: value for name, value in os.environ.items() if name in chosen or name[:9] != "REGISTRY_"}
        ours = {"REGISTRY_ADMIN_PASSWORD": self.admin_password, "PYTHONUNBUFFERED": "1", **self.environment}
        return inherited | {name: value for name, value in ours.items() if value is not None}

    def _wait_until_ready(self, log_from: int) -> None:
        assert self.process is not None
        deadline = time.monotonic() + self.ready_within
        while time.monotonic() < deadline:
            assert self.process.poll() is None, f"the server ended: {self.process.returncode}\n{self.log}"
            if self._listens(log_from) and self.ready():
                return
            time.sleep(0.05)
        raise AssertionError(f"the server is not ready after {self.ready_within} s\n{self.log}")

    def _listens(self, log_from: int) -> bool:
        """Read from the greeting where it listens, and the password that it may have made."""
        greeting = self.log[log_from:]
        if password := re.search(r"shown only this once: (\S+)", greeting):
            self.admin_password = password[1]
        if not (listening := re.search(r"listens on (https?)://\S+:(\d+)\n", greeting)):
            return False
        self.scheme, self.port = listening[1], int(listening[2])
        return True


def wait_until(condition: object, within: float = 10.0) -> None:
    """Call `condition` until it is true; an AssertionError after `within` seconds."""
    assert callable(condition)
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"not so after {within} s"
        time.sleep(0.05)


def _children(parent: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text(encoding="ascii", errors="replace")
            except OSError:  # it ended meanwhile
                continue
            state, ppid = stat.rpartition(")")[2].split()[:2]
            if int(ppid) == parent and state != "Z":
                found.append(int(entry.name))
    return sorted(found)


def _descendants(parent: int) -> dict[int, bytes]:
    """Every process below `parent`, with its command line."""
    found: dict[int, bytes] = {}
    for child in _children(parent):
        found |= {child: _command(child)} | _descendants(child)
    return found


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
