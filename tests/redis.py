"""A throw-away Redis: reached through a socket in a temporary directory, keeps nothing, gone at the end."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Self

import pytest
import redis


class Redis:
    """Started on entering, gone on leaving."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="redis-"))
        self.socket = self.directory / "socket"
        self.client: Any = redis.Redis(unix_socket_path=str(self.socket), socket_timeout=10)
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self.directory)

    @property
    def url(self) -> str:
        """For REGISTRY_BROKER_URL."""
        return f"redis+socket://{self.socket}"

    def start(self) -> Self:
        program = shutil.which("redis-server")
        assert program, "redis-server is missing; on Debian and Ubuntu: apt install redis-server"
        options = ["--port", "0", "--unixsocket", str(self.socket), "--save", "", "--dir", str(self.directory)]
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen([program, *options], stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while not self.answers():
            assert self.process.poll() is None, f"Redis ended at once\n{(self.directory / 'log').read_text()}"
            assert time.monotonic() < deadline, "Redis does not answer"
            time.sleep(0.05)
        return self

    def kill(self) -> None:
        """All it held is lost."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def freeze(self) -> None:
        """It accepts connections, and answers nothing."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.RedisError:
            return False


def needs_redis() -> None:
    """Skip a test for want of it, except where everything has to be there."""
    if shutil.which("redis-server"):
        return
    if os.environ.get("CI"):
        pytest.fail("needs redis-server")
    pytest.skip("needs redis-server")
