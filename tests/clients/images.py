"""Makes the images that the clients push. Nothing comes from another registry: buildah starts from nothing."""

import os
import random
import shutil
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
        self.buildah = (
            *(needed("buildah"), "--storage-driver", "vfs"),
            *("--root", directory / "storage", "--runroot", directory / "run"),
        )

    @cached_property
    def image(self) -> Layout:
        """Three layers: bytes that do not compress, text that does, and many small files."""
        succeed(
            *self.buildah, "build", "--isolation=chroot", "--layers", "--tag=localhost/image", self.sources("image")
        )
        return self.exported("image")

    @cached_property
    def index(self) -> Layout:
        """One image for amd64 and one for arm64; they share one layer and differ in another."""
        for architecture in ("amd64", "arm64"):
            source = self.sources("index")
            (source / "random").write_bytes(architecture.encode() * 10_000)
            platform = f"--platform=linux/{architecture}"
            succeed(
                *self.buildah, "build", "--isolation=chroot", "--layers", platform, "--manifest=localhost/index", source
            )
        succeed(
            *self.buildah,
            "manifest",
            "push",
            "--all",
            "localhost/index",
            f"oci:{self.directory / 'index-layout'}:latest",
        )
        return Layout(self.directory / "index-layout", "latest")

    @cached_property
    def zstd(self) -> Layout:
        """The files of `image`, its layers compressed with zstd."""
        layout = self.directory / "zstd-layout"
        compress = ("--dest-compress", "--dest-compress-format=zstd")
        succeed(needed("skopeo"), "copy", *compress, layout_name(self.image), f"oci:{layout}:latest")
        return Layout(layout, "latest")

    @cached_property
    def debian(self) -> Layout:
        """A whole Debian as one layer of some 100 MB, and a small layer on it."""
        container = succeed(*self.buildah, "from", "scratch").strip().splitlines()[-1]
        succeed(*self.buildah, "add", container, debian_tar(), "/")
        succeed(*self.buildah, "commit", "--rm", container, "localhost/debian-base")
        container = succeed(*self.buildah, "from", "--pull-never", "localhost/debian-base").strip().splitlines()[-1]
        succeed(*self.buildah, "add", container, self.sources("debian") / "text", "/usr/share/text")
        succeed(*self.buildah, "config", "--cmd", "/bin/sh", container)
        succeed(*self.buildah, "commit", "--rm", container, "localhost/debian")
        return self.exported("debian")

    def sources(self, name: str) -> Path:
        """A directory with a Containerfile and what it copies: always the same bytes for the same name."""
        directory, chance = self.directory / f"{name}-sources", random.Random(name)
        shutil.rmtree(directory, ignore_errors=True)
        for folder in ("text", "many/deep/er", "many/Ünïcode and spaces"):
            (directory / folder).mkdir(parents=True)
        (directory / "Containerfile").write_text(CONTAINERFILE)
        (directory / "random").write_bytes(chance.randbytes(5_000_000))
        for number in range(4):
            (directory / "text" / f"{number}.txt").write_text("".join(f"{name} {line}\n" for line in range(100_000)))
        for number in range(500):
            (directory / "many" / "deep" / "er" / f"{number}").write_bytes(chance.randbytes(number))
        (directory / "many" / "Ünïcode and spaces" / "empty").touch()
        (directory / "many" / "link").symlink_to("deep/er/499")
        return directory

    def exported(self, image: str) -> Layout:
        layout = self.directory / f"{image}-layout"
        succeed(*self.buildah, "push", f"localhost/{image}", f"oci:{layout}:latest")
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
