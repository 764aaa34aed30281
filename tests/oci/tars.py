"""Tars, compressed in several ways, and the ones whose TarSum Docker has computed."""

import gzip
import io
import json
import tarfile
import zlib
from base64 import b64decode
from pathlib import Path

import zstandard

from oci.contents import Inside, inside

HERE = Path(__file__).parent
BY_DOCKER = [
    (vector["name"], gzip.decompress(b64decode(vector["tar_gz_base64"])), vector["tarsum"])
    for vector in json.loads((HERE / "tarsum-v1.json").read_text())["vectors"]
]
ODD = [
    (zlib.decompress(b64decode(case["tar"])), case["tarsum"], case["version_0"], case["entries"])
    for case in json.loads((HERE / "odd-tars.json").read_text())["cases"]
]
COMPRESSIONS = {"none": bytes, "gzip": gzip.compress, "zstd": zstandard.compress}


def entry(name: str, content: bytes = b"", **fields) -> tuple[tarfile.TarInfo, bytes]:
    made = tarfile.TarInfo(name)
    made.size = len(content)
    for field, value in fields.items():
        setattr(made, field, value)
    return made, content


def tar(*members: tuple[tarfile.TarInfo, bytes], format=tarfile.PAX_FORMAT) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w", format=format) as archive:
        for member, content in members:
            archive.addfile(member, io.BytesIO(content))
    return written.getvalue()


def look(content: bytes, version: int = 1) -> Inside:
    return inside(io.BytesIO(content), version)
