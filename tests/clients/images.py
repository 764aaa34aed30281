"""Makes the images that the clients push. Nothing comes from another registry: buildah starts from nothing."""

import os
import random
import shutil
import time
from functools import cached_property
from pathlib import Path

from tests.clients.layouts import Layout
from tests.clients.programs import needed, succeed

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "layerstore-ci"
CONTAINERFILE = """\
FROM scratch
COPY random /opt/random
COPY text /usr/share/text
COPY many /srv/many
ENV PLACE=nowhere
CMD ["/opt/random"]
"""


class Workshop:
    """Images under one directory, each made when it is first asked for, as OCI layouts with the tag `latest`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @cached_property
    def image(self) -> Layout:
        """Three layers: bytes that do not compress, text that does, and many small files."""
        return self.exported(self.built("image", self.sources("image")))

    @cached_property
    def index(self) -> Layout:
        """One image for amd64 and one for arm64; they differ in one layer and share two."""
        source, layout = self.sources("index"), self.directory / "index-layout"
        for architecture in ("amd64", "arm64"):
            (source / "random").write_bytes(f"{architecture} {time.time_ns()}".encode() * 10_000)
            self.built(architecture, source, f"--platform=linux/{architecture}", "--manifest=localhost/index")
        self.buildah("manifest", "push", "--all", "localhost/index", f"oci:{layout}:latest")
        return Layout(layout, "latest")

    @cached_property
    def zstd(self) -> Layout:
        """Another such image, its layers compressed with zstd. The clients remember which blobs hold the same files
        in another compression: if there were a gzip of it in the registry, they would push that."""
        image, layout = self.built("zstd", self.sources("zstd")), self.directory / "zstd-layout"
        here = f"containers-storage:[vfs@{self.directory / 'storage'}+{self.directory / 'run'}]{image}"
        compress = ("--dest-compress", "--dest-compress-format=zstd")
        succeed(needed("skopeo"), "copy", *compress, here, f"oci:{layout}:latest")
        return Layout(layout, "latest")

    @cached_property
    def debian(self) -> Layout:
        """A whole Debian as one layer of some 100 MB, and a small layer on it."""
        container = self.buildah("from", "scratch").split()[-1]
        self.buildah("add", container, debian_tar(), "/")
        self.buildah("commit", "--rm", container, "localhost/debian-base")
        container = self.buildah("from", "--pull-never", "localhost/debian-base").split()[-1]
        self.buildah("add", container, self.sources("debian") / "text", "/usr/share/text")
        self.buildah("config", "--cmd", "/bin/sh", container)
        self.buildah("commit", "--rm", container, "localhost/debian")
        return self.exported("localhost/debian")

    def buildah(self, *arguments: str | Path) -> str:
        places = ("--root", self.directory / "storage", "--runroot", self.directory / "run")
        return succeed(needed("buildah"), "--storage-driver=vfs", *places, *arguments)

    def built(self, name: str, source: Path, *options: str) -> str:
        image = f"localhost/{name}"
        self.buildah("build", "--isolation=chroot", "--layers", "--tag", image, *options, source)
        return image

    def sources(self, name: str) -> Path:
        """A directory with a Containerfile and what it copies, which no run before had: the clients remember blobs."""
        directory, seed = self.directory / f"{name}-sources", f"{name} {time.time_ns()}"
        chance = random.Random(seed)
        shutil.rmtree(directory, ignore_errors=True)
        for folder in ("text", "many/deep/er", "many/Ünïcode and spaces"):
            (directory / folder).mkdir(parents=True)
        (directory / "Containerfile").write_text(CONTAINERFILE)
        (directory / "random").write_bytes(chance.randbytes(5_000_000))
        for number in range(4):
            (directory / "text" / f"{number}.txt").write_text("".join(f"{seed} {line}\n" for line in range(100_000)))
        for number in range(500):
            (directory / "many" / "deep" / "er" / f"{number}").write_bytes(chance.randbytes(number))
        (directory / "many" / "Ünïcode and spaces" / "empty").touch()
        (directory / "many" / "link").symlink_to("deep/er/499")
        return directory

    def exported(self, image: str) -> Layout:
        layout = self.directory / f"{Path(image).name}-layout"
        self.buildah("push", image, f"oci:{layout}:latest")
        return Layout(layout, "latest")


def layout_name(layout: Layout) -> str:
    """How skopeo, podman and buildah call it."""
    return f"oci:{layout.path}:{layout.tag}"


def debian_tar() -> Path:
    """The root of a minimal Debian, from Debian's own package archive; kept from one run to the next."""
    tar = CACHE / "debian.tar"
    if not tar.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        root, unfinished = CACHE / "debian", CACHE / "debian.tar.unfinished"
        shutil.rmtree(root, ignore_errors=True)
        succeed(needed("debootstrap"), "--variant=minbase", "bookworm", root)
        succeed(
            "tar", "--create", "--file", unfinished, "--directory", root, "--exclude=./var/cache/apt/archives/*", "."
        )
        unfinished.rename(tar)
        shutil.rmtree(root)
    return tar
