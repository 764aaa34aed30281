"""Debian's docker engine and containerd, started here for these tests: they have nothing yet and touch no network."""

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.clients.programs import needed, run, succeed
from tests.server import wait_until

PROXIES = ("http_proxy", "https_proxy", "all_proxy")

# A namespace has only what was pulled or imported in it, whatever another has: so one can pull what another pushed.
CONTAINERD = """\
version = 2
root = "{place}/root"
state = "{place}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]

[grpc]
address = "{place}/socket"

[plugins."io.containerd.metadata.v1.bolt"]
content_sharing_policy = "isolated"
"""


@contextmanager
def docker_engine() -> Iterator[tuple[str, ...]]:
    """The command that talks to it."""
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        command = (docker_command_line(), "--host", f"unix://{place / 'socket'}")
        options = ("--iptables=false", "--bridge=none", f"--host={command[-1]}")
        places = ("--data-root", place / "data", "--exec-root", place / "exec", "--pidfile", place / "pid")
        engine = (needed("dockerd"), *options, *places)
        with running(engine, place, lambda: run(*command, "version").returncode == 0):
            yield command


def docker_command_line() -> str:
    """Debian's, where another docker comes first in PATH."""
    return "/usr/bin/docker" if os.access("/usr/bin/docker", os.X_OK) else needed("docker")


def forget_images(docker: tuple[str, ...]) -> None:
    if images := succeed(*docker, "image", "ls", "--quiet").split():
        succeed(*docker, "image", "rm", "--force", *set(images))


def image_id(docker: tuple[str, ...], place: str) -> str:
    return succeed(*docker, "image", "inspect", "--format={{.Id}}", place).strip()


@contextmanager
def containerd() -> Iterator[tuple[str, ...]]:
    """The command that talks to it."""
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        (place / "config.toml").write_text(CONTAINERD.format(place=place))
        command = (needed("ctr"), "--address", str(place / "socket"))
        engine = (needed("containerd"), "--config", place / "config.toml")
        with running(engine, place, lambda: run(*command, "version").returncode == 0):
            yield command


@contextmanager
def running(engine: tuple[str | Path, ...], place: Path, answers: Callable[[], bool]) -> Iterator[None]:
    environment = {name: value for name, value in os.environ.items() if name.lower() not in PROXIES}
    with (place / "log").open("wb") as log:
        process = subprocess.Popen(engine, stdout=log, stderr=log, cwd=place, env=environment)

    def ready() -> bool:
        assert process.poll() is None, (place / "log").read_text()
        return answers()

    try:
        wait_until(ready, within=60)
        yield
    finally:
        process.terminate()
        process.wait(60)
        unmount_all_below(place)


def unmount_all_below(place: Path) -> None:
    """docker makes its data a mount point where mounts are private, and leaves it so."""
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for mount in reversed(mounts):
        if mount.startswith(f"{place}/"):
            succeed("umount", mount)
