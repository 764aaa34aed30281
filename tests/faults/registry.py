"""What the fault tests push, and the requests that pushing consists of."""

import base64
import hashlib
import json
import random

from tests.faults.wire import Answer, ask, closing, part
from tests.server import Server

IMAGE = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
TRIES = 5
ACCEPT = {"Accept": f"{IMAGE}, */*"}


def content_of(seed: int, size: int) -> bytes:
    """The same bytes for the same seed and size: a journal need not hold what it can name."""
    return random.Random(seed).randbytes(size)


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def image_of(config: bytes, layers: list[bytes]) -> bytes:
    """An image manifest over these blobs."""
    descriptors = [{"mediaType": LAYER, "digest": digest_of(layer), "size": len(layer)} for layer in layers]
    manifest = {
        "schemaVersion": 2,
        "mediaType": IMAGE,
        "config": {"mediaType": CONFIG, "digest": digest_of(config), "size": len(config)},
        "layers": descriptors,
    }
    return json.dumps(manifest).encode()


def token_for(server: Server, *names: str) -> str:
    """A token that may do everything in these repositories."""
    scopes = "&".join(f"scope=repository:{name}:pull,push,delete" for name in names)
    basic = base64.b64encode(f"admin:{server.admin_password}".encode()).decode()
    connection = server.connection()
    try:
        connection.request("GET", f"/token?service=layerstore&{scopes}", headers={"Authorization": f"Basic {basic}"})
        answer = connection.getresponse()
        assert answer.status == 200, f"{answer.status} {answer.read()!r}"
        return json.load(answer)["token"]
    finally:
        connection.close()


class Repository:
    """One repository of a server, as a client with a token sees it."""

    may_forget_empty_uploads = False

    def __init__(self, server: Server, name: str, token: str = ""):
        self.server, self.name = server, name
        self.token = token or token_for(server, name)

    def ask(self, method: str, path: str, headers: dict[str, str] | None = None, body: bytes = b"") -> Answer:
        return ask(self.server, self.token, method, path, headers, body)

    def path(self, kind: str, reference: str) -> str:
        return f"/v2/{self.name}/{kind}/{reference}"

    def open_upload(self) -> str:
        """Where the new upload is."""
        answer = self.ask("POST", self.path("blobs", "uploads/"))
        assert answer.status == 202, answer
        return answer.headers["Location"]

    def stored(self, location: str) -> int:
        """Bytes that an open upload has."""
        answer = self.ask("GET", location)
        assert answer.status == 204, answer
        return answer.stored

    def go_on(self, location: str, content: bytes, at: int) -> None:
        """Send what is missing of `content` after its first `at` bytes. A request of before may still be ending, or
        even begin only now: then the registry says where to go on, which is never before what it said already."""
        for _ in range(TRIES):
            answer = self.append(location, content[at:], at) if at < len(content) else self.ask("GET", location)
            if answer.status in (202, 204):
                assert answer.stored == len(content), answer
                return
            assert answer.status in (409, 416), answer
            assert answer.headers["Location"], answer
            assert at <= max(answer.stored, 1), f"{at} bytes were acknowledged, and now: {answer}"
            at = 1 if (at, answer.stored, answer.status) == (0, 0, 416) else answer.stored
        raise AssertionError(f"{location} does not go on after {TRIES} tries")

    def append(self, location: str, content: bytes, at: int) -> Answer:
        return self.ask("PATCH", location, part(at, content), content)

    def finish(self, location: str, digest: str, rest: bytes = b"", at: int = 0) -> Answer:
        return self.ask("PUT", closing(location, digest), part(at, rest) if rest else {}, rest)

    def push_manifest(self, reference: str, manifest: bytes) -> Answer:
        return self.ask("PUT", self.path("manifests", reference), {"Content-Type": IMAGE}, manifest)

    def blob(self, digest: str, method: str = "GET") -> Answer:
        return self.ask(method, self.path("blobs", digest))

    def manifest(self, reference: str, method: str = "GET") -> Answer:
        return self.ask(method, self.path("manifests", reference), ACCEPT)
