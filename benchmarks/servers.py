"""What is measured: servers, started over empty directories on the loopback interface and ended on leaving."""

import base64
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests import server as layerstore_server

ROOT = Path(__file__).resolve().parent.parent
LOOPBACK = "127.0.0.1"
PASSWORD = "of-a-benchmark"  # noqa: S105 - of servers that live for minutes, on the loopback interface
PLACES = ("REGISTRY_HOST", "REGISTRY_PORT", "REGISTRY_DATA", "REGISTRY_ADMIN_PASSWORD")
LARGE = 1024 * 1024  # bytes; a file of that size is a layer
LOOP_WORKER = "serving.worker.LoopWorker"


@dataclass
class Server:
    name: str
    address: tuple[str, int]
    pid: int  # of the parent of all its processes
    blobs: Path | None = None  # where its layers lie
    password: str = ""  # of `admin`, when requests need a token
    kept: set[Path] = field(default_factory=set)

    def authorization(self, scope: str) -> str:
        """A fresh Bearer token, fetched as clients do; nothing where there is no login."""
        if not self.password:
            return ""
        connection = http.client.HTTPConnection(*self.address, timeout=30)
        basic = base64.b64encode(f"admin:{self.password}".encode()).decode()
        connection.request("GET", f"/token?scope={scope}", headers={"Authorization": f"Basic {basic}"})
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        if answer.status != 200:
            raise RuntimeError(f"no token from {self.name}: {answer.status} {content[:500]!r}")
        return f"Bearer {json.loads(content)['token']}"

    def keep(self) -> None:
        """What is stored now is needed to the end."""
        self.kept = set(self._layers())

    def tidy(self) -> None:
        """Remove all other layers from the disk, behind the server's back. Nobody asks for them again."""
        for layer in set(self._layers()) - self.kept:
            layer.unlink()

    def _layers(self) -> Iterator[Path]:
        if self.blobs is not None:
            yield from (file for file in self.blobs.rglob("*") if file.is_file() and file.stat().st_size >= LARGE)


@contextmanager
def layerstore(directory: Path) -> Iterator[Server]:
    """As the README starts it. REGISTRY_* variables of the caller hold, except for where it listens and stores."""
    own = {name: value for name, value in os.environ.items() if name.startswith("REGISTRY_") and name not in PLACES}
    data = directory / "layerstore"
    with layerstore_server.Server(data, {**own}, admin_password=PASSWORD) as started:
        (parent,) = started.pids("parent")
        yield Server("layerstore", (started.host, started.port), parent, data / "blobs", PASSWORD)


@contextmanager
def distribution(directory: Path, program: Path) -> Iterator[Server]:
    """With the settings that its own documentation shows, and without what it could be slowed down by: no log of
    requests, no tracing, no login."""
    root, port = directory / "distribution", _free_port()
    config = directory / "distribution.json"  # JSON is YAML
    config.write_text(json.dumps(_distribution_config(root, port)), encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("REGISTRY_")}
    environment |= {"OTEL_TRACES_EXPORTER": "none", "OTEL_SDK_DISABLED": "true"}
    with _running([str(program), "serve", str(config)], directory / "distribution.log", environment) as process:
        server = Server("distribution", (LOOPBACK, port), process.pid, root / "docker/registry/v2/blobs")
        _wait_for(server, process, directory / "distribution.log")
        yield server


def _distribution_config(root: Path, port: int) -> dict[str, object]:
    return {
        "version": "0.1",
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {
            "filesystem": {"rootdirectory": str(root)},
            "cache": {"blobdescriptor": "inmemory"},
            "delete": {"enabled": True},
            "maintenance": {"uploadpurging": {"enabled": False}},
        },
        "http": {"addr": f"{LOOPBACK}:{port}", "secret": "of a benchmark"},
    }


@contextmanager
def hello(directory: Path, worker: str) -> Iterator[Server]:
    """gunicorn with one worker of that class and the smallest application there is."""
    log = directory / f"{worker}.log"
    with socket.create_server((LOOPBACK, 0), backlog=512) as listener:
        command = [sys.executable, "-m", "gunicorn", "--config", "python:benchmarks.hello", "--worker-class", worker]
        command += ["--bind", f"fd://{listener.fileno()}", "benchmarks.hello"]
        environment = os.environ | {"GUNICORN_CMD_ARGS": ""}
        with _running(command, log, environment, (listener.fileno(),)) as process:
            server = Server(worker, listener.getsockname(), process.pid)
            _wait_for(server, process, log)
            yield server


@contextmanager
def _running(
    command: list[str], log: Path, environment: dict[str, str], descriptors: tuple[int, ...] = ()
) -> Iterator["subprocess.Popen[bytes]"]:
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - all of it is ours
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=ROOT,
            env=environment,
            pass_fds=descriptors,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(server: Server, process: "subprocess.Popen[bytes]", log: Path, within: float = 30.0) -> None:
    """Until it answers anything at all."""
    deadline = time.monotonic() + within
    while process.poll() is None and time.monotonic() < deadline:
        connection = http.client.HTTPConnection(*server.address, timeout=5)
        with suppress(OSError, http.client.HTTPException):
            connection.request("GET", "/")
            connection.getresponse()
            return
        connection.close()
        time.sleep(0.05)
    raise RuntimeError(f"{server.name} did not start:\n{log.read_text(encoding='utf-8', errors='replace')}")


def _free_port() -> int:
    with socket.create_server((LOOPBACK, 0)) as listener:
        return int(listener.getsockname()[1])
