"""Reads OCI image layouts on disk with no code of the clients or of the registry, so that it can judge both."""

import hashlib
import io
import json
import stat
import subprocess
import tarfile
from pathlib import Path

REF_NAME = "org.opencontainers.image.ref.name"
Files = dict[str, tuple[str, int, str]]  # path -> kind, permissions, and what it holds: a digest or a link's target


class Layout:
    """An OCI layout directory that holds one tagged image or index."""

    def __init__(self, path: Path, tag: str) -> None:
        self.path = path
        self.tag = tag

    @property
    def digest(self) -> str:
        """What the tag names; where the layout has only one manifest and no tag, that one."""
        listed = json.loads((self.path / "index.json").read_bytes())["manifests"]
        named = [entry for entry in listed if entry.get("annotations", {}).get(REF_NAME) == self.tag]
        assert len(named or listed) == 1, listed
        return (named or listed)[0]["digest"]

    def blob(self, digest: str) -> bytes:
        """The bytes, after they were found to be those that the digest promises."""
        content = (self.path / "blobs" / digest.replace(":", "/")).read_bytes()
        assert digest_of(content) == digest
        return content

    def manifest(self, digest: str = "") -> dict:
        return json.loads(self.blob(digest or self.digest))

    def digests(self, digest: str = "") -> set[str]:
        """Everything that belongs to the image, each read and verified."""
        digest = digest or self.digest
        manifest = self.manifest(digest)
        found = {digest}
        for child in manifest.get("manifests", []):
            found |= self.digests(child["digest"])
        for blob in blobs_of(manifest):
            self.blob(blob)
            found.add(blob)
        return found

    def files(self, digest: str = "") -> Files:
        """What a container of the image would see."""
        found: Files = {}
        for layer in self.manifest(digest)["layers"]:
            found |= files_of_tar(decompressed(self.blob(layer["digest"])))
        return found


def differences(these: Files, those: Files) -> dict[str, tuple]:
    """The paths where two images differ, with what each of them has there."""
    paths = these.keys() | those.keys()
    return {path: (these.get(path), those.get(path)) for path in paths if these.get(path) != those.get(path)}


def blobs_of(manifest: dict) -> list[str]:
    """The digests of the configuration and the layers that an image manifest names; none for an index."""
    described = [manifest["config"], *manifest["layers"]] if "config" in manifest else []
    return [descriptor["digest"] for descriptor in described]


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def decompressed(layer: bytes) -> bytes:
    if layer.startswith(b"\x28\xb5\x2f\xfd"):
        return subprocess.run(["zstd", "--decompress", "--stdout"], input=layer, capture_output=True, check=True).stdout
    if layer.startswith(b"\x1f\x8b"):
        return subprocess.run(["gzip", "--decompress", "--stdout"], input=layer, capture_output=True, check=True).stdout
    return layer


def files_of_tar(tar: bytes) -> Files:
    """The members; only the kinds that our images have: files, directories, hard and symbolic links, devices."""
    found: Files = {}
    with tarfile.open(fileobj=io.BytesIO(tar)) as members:
        for member in members:
            path = member.name.removeprefix("./").strip("/")
            if member.isreg():
                content = members.extractfile(member)
                assert content is not None
                found[path] = ("file", stat.S_IMODE(member.mode), digest_of(content.read()))
            elif member.islnk():
                found[path] = found[member.linkname.removeprefix("./").strip("/")]
            elif member.issym():
                found[path] = ("link", 0o777, member.linkname)
            elif path not in ("", "."):
                found[path] = ("directory" if member.isdir() else "device", stat.S_IMODE(member.mode), "")
    return found


def files_of_directory(root: Path) -> Files:
    """The same of a directory on disk."""
    found: Files = {}
    for path in root.rglob("*"):
        mode, name = path.lstat().st_mode, str(path.relative_to(root))
        if stat.S_ISREG(mode):
            found[name] = ("file", stat.S_IMODE(mode), digest_of(path.read_bytes()))
        elif stat.S_ISLNK(mode):
            found[name] = ("link", 0o777, str(path.readlink()))
        else:
            found[name] = ("directory" if stat.S_ISDIR(mode) else "device", stat.S_IMODE(mode), "")
    return found
