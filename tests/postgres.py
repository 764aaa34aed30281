"""A throw-away PostgreSQL: a cluster in a temporary directory, reached through a socket in it, gone at the end.

script/with-postgres COMMAND… runs a command whose REGISTRY_DATABASE_URL is such a cluster.
"""

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Self

import psycopg

UNSAFE_BUT_QUICK = ("-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off")


class Postgres:
    """Started on entering, gone on leaving. `durable` decides whether commits wait for the disk."""

    def __init__(self, durable: bool = False) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="postgres-"))
        self.durable = durable
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            if os.geteuid() == 0:  # PostgreSQL refuses to run as root
                owner = pwd.getpwnam("postgres")
                os.chown(self.directory, owner.pw_uid, owner.pw_gid)
            initdb = [
                "initdb",
                "--no-sync",
                "--auth=trust",
                "--username=postgres",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
            ]
            subprocess.run(
                as_postgres(*initdb, "-D", str(self.directory / "data")), check=True, stdout=subprocess.DEVNULL
            )
            return self.start()
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.directory)

    @property
    def url(self) -> str:
        """For REGISTRY_DATABASE_URL. Tests make a database of their own beside the one that is named."""
        return f"postgres://postgres@/postgres?host={self.directory}"

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text(encoding="utf-8", errors="replace")

    def start(self) -> Self:
        local = (
            "-c",
            "listen_addresses=",
            "-c",
            f"unix_socket_directories={self.directory}",
            "-c",
            "log_lock_waits=on",
        )
        quick = () if self.durable else UNSAFE_BUT_QUICK
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                as_postgres("postgres", "-D", str(self.directory / "data"), *local, *quick), stdout=log, stderr=log
            )
        deadline = time.monotonic() + 60
        while not self.answers():
            assert self.process.poll() is None, f"PostgreSQL ended at once\n{self.log}"
            assert time.monotonic() < deadline, f"PostgreSQL does not answer\n{self.log}"
            time.sleep(0.05)
        return self

    def stop(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """SIGQUIT and SIGINT cut every connection, SIGQUIT without a checkpoint, so that it recovers like a crash."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(60)
            self.process = None

    def answers(self) -> bool:
        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True


def as_postgres(program: str, *arguments: str) -> list[str]:
    """The command, run by a user whom PostgreSQL accepts; the server does not outlive whoever started it."""
    debian = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"), key=lambda path: int(path.parts[4]))
    path = str(debian[-1]) if debian else shutil.which(program)
    assert path, f"{program} is missing; on Debian and Ubuntu: apt install postgresql"
    if sys.platform != "linux":
        return [path, *arguments]
    user = ["--reuid=postgres", "--regid=postgres", "--init-groups"] if os.geteuid() == 0 else []
    return ["setpriv", *user, "--pdeathsig=QUIT", path, *arguments]


def main(command: list[str]) -> int:
    with Postgres() as postgres:
        child = subprocess.Popen(command, env=os.environ | {"REGISTRY_DATABASE_URL": postgres.url})
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, _frame: child.send_signal(number))
        return child.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
