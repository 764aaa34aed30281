"""Small layers, compressed, whose TarSums Docker's own code has computed."""

import base64
import gzip
import io

import zstandard

from oci.contents import inside

# The same file twice, changed at different times: other bytes with the same TarSum.
LAYER = base64.b64decode(
    "H4sIAAAAAAACA+3RMQqAMBBE0a09hSeQTUzieSxEC0GJCXh8FSys7BSU/5ppphiYoRvHqUprkufoLjh3pGm8XvMUxFhXW+vUN17U"
    "mOCDlCovyEtq4z4lL1286/VxyrP8znD8XwgAAAAAAAAAAAAAAAAA4GM2iU+6KgAoAAA="
)
LATER = base64.b64decode(
    "H4sIAAAAAAACA+3RsQrCMBQF0Mx+hV8gCcT4PQ7FDoVKmoCfbwsOndwUlHOW+4YLd3jjME3zqT1a+Jy4KjlvmS7nuM+XsrtTiCmV"
    "lMMxhi/oS7vWdb4vQ33Xu9W538PfGbf/HwIAAAAAAAAAAAA/5gnB6R7VACgAAA=="
)
TARSUM = "tarsum.v1+sha256:6d88cecbc1ec7d62db7188130540385868265c71b09e75c7731472837ccd38e8"

OTHER = base64.b64decode(
    "H4sIAAAAAAACA+3VQQrCMBAF0DmKR5hA2p4nHkHr/Q1FEHRtWup7mw+TRQLhMy1+L7u51i27z8zyPnvN55JLXHLA2+JxX9utXxn/"
    "qQ0QHNZ1//6XZcqv/peq/0P+Hzg9mw4AAAAAAADg3J6LL6TxACgAAA=="
)
OTHER_TARSUM = "tarsum.v1+sha256:0017d01d5c5b8829c076fd1281b7838617f67beb2ca9a4dc4d625e8c7cbd84b6"


def compressed_otherwise(layer: bytes) -> dict[str, bytes]:
    """The tar in all forms that a layer may have."""
    tar = gzip.decompress(layer)
    return {"none": tar, "gzip": layer, "gzip at another level": gzip.compress(tar, 1), "zstd": zstandard.compress(tar)}


def version_0(layer: bytes) -> str:
    """Its TarSum of that version, which counts times."""
    return inside(io.BytesIO(layer), version=0).tarsum
