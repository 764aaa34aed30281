"""The CNCF's registry, built from its Go module and kept in the user's cache."""

import os
import shutil
import subprocess
from pathlib import Path

MODULE = "github.com/distribution/distribution/v3/cmd/registry"
VERSION = "v3.1.2"


class CannotBuild(Exception):
    """Says what is missing."""


def program(version: str) -> Path:
    """Where the program is; it is built when it is not there yet, which takes some minutes."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    directory = cache / "layerstore-bench" / f"distribution-{version}"
    built = directory / "registry"
    if not built.exists():
        _build(version, directory)
    return built


def _build(version: str, directory: Path) -> None:
    go = shutil.which("go") or shutil.which("/usr/local/go/bin/go")
    if go is None:
        raise CannotBuild("Building distribution needs Go (https://go.dev/dl/); then the next run will find it.")
    environment = os.environ | {"GOBIN": str(directory)}
    built = subprocess.run([go, "install", f"{MODULE}@{version}"], env=environment, check=False)  # noqa: S603
    if built.returncode:
        raise CannotBuild(f"go install {MODULE}@{version} failed, see above.")
