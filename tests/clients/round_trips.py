"""One push and one pull by each client, over TLS: it logs in, verifies the certificate, and pulls into nothing.

Each function takes the command, where to, the image, what it shall be called, and a directory with a short path for
what it needs. It returns the image as the client has it after the pull: the digest of its configuration, which holds
those of the layers' files.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from tests.clients.authority import Authority
from tests.clients.engines import forget_images, image_id
from tests.clients.images import layout_name
from tests.clients.layouts import Layout
from tests.clients.programs import needed, succeed

Command = tuple[str, ...]
TOLD = ("--username=admin", "--password-stdin")


@dataclass(frozen=True)
class Door:
    """Where clients meet a registry over TLS, and whose word they take for it."""

    address: str
    password: str
    authority: Authority


def docker(command: Command, door: Door, image: Layout, name: str, directory: Path) -> str:
    place = f"{door.address}/{name}:latest"
    with trusted_by_docker(door):
        succeed(*command, "login", *TOLD, door.address, stdin=door.password)
        succeed(needed("skopeo"), "copy", layout_name(image), f"docker-archive:{directory / 'image.tar'}:{place}")
        succeed(*command, "load", "--input", directory / "image.tar")
        succeed(*command, "push", place)
        forget_images(command)
        succeed(*command, "pull", place)
        return image_id(command, place)


@contextmanager
def trusted_by_docker(door: Door) -> Iterator[None]:
    """The engine looks nowhere else."""
    place = Path("/etc/docker/certs.d") / door.address
    place.mkdir(parents=True, exist_ok=True)
    certificate = place / "ca.crt"
    try:
        shutil.copy(door.authority.certificate, certificate)
        yield
    finally:
        certificate.unlink(missing_ok=True)
        os.removedirs(place)


def podman(command: Command, door: Door, image: Layout, name: str, directory: Path) -> str:
    place, trust = f"{door.address}/{name}:latest", f"--cert-dir={door.authority.certificate.parent}"
    places = ("--root", directory / "storage", "--runroot", directory / "run", "--tmpdir", directory / "tmp")
    here = (*command, "--storage-driver=vfs", *places)
    succeed(*here, "login", trust, *TOLD, door.address, stdin=door.password)
    pushed = succeed(*here, "pull", "--quiet", layout_name(image)).split()[-1]
    succeed(*here, "push", trust, pushed, place)
    succeed(*here, "rmi", "--all", "--force")
    return "sha256:" + succeed(*here, "pull", "--quiet", trust, place).split()[-1]


def skopeo(command: Command, door: Door, image: Layout, name: str, directory: Path) -> str:
    place, trust = f"docker://{door.address}/{name}:latest", f"cert-dir={door.authority.certificate.parent}"
    succeed(*command, "login", f"--{trust}", *TOLD, door.address, stdin=door.password)
    succeed(*command, "copy", f"--dest-{trust}", layout_name(image), place)
    succeed(*command, "copy", f"--src-{trust}", place, f"oci:{directory / 'pulled'}:latest")
    return configuration(directory / "pulled")


def ctr(command: Command, door: Door, image: Layout, name: str, directory: Path) -> str:
    place, login = f"{door.address}/{name}", ("--user", f"admin:{door.password}")
    trust = ("--tlscacert", door.authority.certificate)
    one, other = ((*command, f"--namespace={uuid4().hex}") for _ in range(2))
    succeed("tar", "--create", "--file", directory / "image.tar", "--directory", image.path, ".")
    succeed(*one, "images", "import", "--no-unpack", "--base-name", place, directory / "image.tar")
    succeed(*one, "images", "push", *trust, *login, f"{place}:latest")
    succeed(*other, "images", "pull", "--snapshotter=native", *trust, *login, f"{place}:latest")
    succeed(*other, "images", "export", directory / "pulled.tar", f"{place}:latest")
    (directory / "pulled").mkdir()
    succeed("tar", "--extract", "--file", directory / "pulled.tar", "--directory", directory / "pulled")
    return configuration(directory / "pulled")


def crane(command: Command, door: Door, image: Layout, name: str, directory: Path) -> str:
    place, trust = f"{door.address}/{name}:latest", {"SSL_CERT_FILE": str(door.authority.certificate)}
    succeed(*command, "auth", "login", *TOLD, door.address, stdin=door.password)
    succeed(*command, "push", image.path, place, environment=trust)
    succeed(*command, "pull", "--format=oci", place, directory / "pulled", environment=trust)
    return configuration(directory / "pulled")


def oras(command: Command, door: Door, image: Layout, name: str, directory: Path) -> str:
    place, trust = f"{door.address}/{name}:latest", f"ca-file={door.authority.certificate}"
    succeed(*command, "login", f"--{trust}", *TOLD, door.address, stdin=door.password)
    succeed(*command, "cp", f"--to-{trust}", "--from-oci-layout", f"{image.path}:{image.tag}", place)
    succeed(*command, "cp", f"--from-{trust}", "--to-oci-layout", place, f"{directory / 'pulled'}:latest")
    return configuration(directory / "pulled")


def configuration(pulled: Path) -> str:
    """Of an image whose every blob was read and verified."""
    layout = Layout(pulled, "latest")
    assert len(layout.digests()) > 2
    return layout.manifest()["config"]["digest"]
