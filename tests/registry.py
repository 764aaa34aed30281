"""A client of the registry that speaks in pushes and pulls, in this process and without a server."""

import base64
import json
import re
from typing import Any

from rest_framework.test import APIClient

from oci.digests import Digest
from tests.images import IMAGE, image

PASSWORD = "correct horse battery staple"


class Registry(APIClient):
    """Does what docker does: asks, and when it is refused fetches a token for just the scope that it was told.

    `username` "" is anonymous. With `by="basic"` the password goes along with every request instead. Bodies always have
    a Content-Length: Django's test client has no other.
    """

    def __init__(self, username: str = "", by: str = "bearer"):
        super().__init__()
        self.username, self.by = username, by
        self.tokens: dict[str, str] = {}  # by scope
        self.scope = ""  # of the token that was good last time

    # --- One request --------------------------------------------------------------------------------------------------

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> Any:
        """`Content_Range="0-9"` and the like become headers; the answer is Django's."""
        answer = self.once(method, path, body, self.authorization(), headers)
        if answer.status_code != 401 or self.by != "bearer":
            return answer
        self.scope = challenge(answer).get("scope", "")
        if self.scope not in self.tokens:
            self.tokens[self.scope] = self.token(self.scope)
        return self.once(method, path, body, self.authorization(), headers)

    def once(self, method: str, path: str, body: bytes, authorization: str, headers: dict[str, str]) -> Any:
        """A single request, with nothing done about a refusal."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        content_type = sent.pop("Content-Type", "")
        if authorization:
            sent.setdefault("Authorization", authorization)
        return self.generic(method, path, body, content_type, headers=sent)

    def authorization(self) -> str:
        if self.by == "basic":
            return basic(self.username)
        return f"Bearer {self.tokens[self.scope]}" if self.scope in self.tokens else ""

    def token(self, *scopes: str) -> str:
        headers = {"Authorization": basic(self.username)} if self.username else {}
        answer = self.generic("GET", "/token", query_params={"scope": scopes}, headers=headers)
        assert answer.status_code == 200, answer.content
        return answer.json()["token"]

    # --- Blobs --------------------------------------------------------------------------------------------------------

    def open_upload(self, name: str, query: str = "") -> str:
        """The Location of a new upload."""
        answer = self.ask("POST", f"/v2/{name}/blobs/uploads/{query}")
        assert answer.status_code == 202, answer.content
        return answer["Location"]

    def push_blob(self, name: str, content: bytes, algorithm: str = "sha256") -> str:
        """In one PUT, as containerd does. Returns the digest."""
        digest = str(Digest.of(content, algorithm))
        answer = self.ask("PUT", f"{self.open_upload(name)}?digest={digest}", content)
        assert answer.status_code == 201, answer.content
        return digest

    def pull_blob(self, name: str, digest: str, **headers: str) -> Any:
        return self.ask("GET", f"/v2/{name}/blobs/{digest}", **headers)

    def has_blob(self, name: str, digest: str) -> bool:
        """As HEAD tells and GET confirms."""
        head = self.ask("HEAD", f"/v2/{name}/blobs/{digest}").status_code
        get = self.pull_blob(name, digest).status_code
        assert (head, get) in [(200, 200), (404, 404)], f"HEAD says {head}, GET {get}"
        return head == 200

    # --- Manifests ----------------------------------------------------------------------------------------------------

    def put_manifest(self, name: str, reference: str, content: Any, media_type: str = IMAGE) -> Any:
        """The answer to the PUT; `content` is bytes, or an object that becomes JSON."""
        exact = content if isinstance(content, bytes) else json.dumps(content).encode()
        return self.ask("PUT", f"/v2/{name}/manifests/{reference}", exact, Content_Type=media_type)

    def push_manifest(self, name: str, content: Any, tag: str = "", media_type: str = IMAGE) -> str:
        """By tag, else by digest. Returns the digest."""
        exact = content if isinstance(content, bytes) else json.dumps(content).encode()
        answer = self.put_manifest(name, tag or str(Digest.of(exact)), exact, media_type)
        assert answer.status_code == 201, answer.content
        return answer["Docker-Content-Digest"]

    def push_image(self, name: str, tag: str = "", layers: tuple[bytes, ...] = (b"a layer",), **fields: Any) -> str:
        """A config, the layers and a manifest; returns the manifest's digest."""
        config = b'{"architecture":"amd64","os":"linux"}'
        for content in (config, *layers):
            self.push_blob(name, content)
        return self.push_manifest(name, image(config, *layers, **fields), tag)

    def pull_manifest(self, name: str, reference: str, **headers: str) -> Any:
        return self.ask("GET", f"/v2/{name}/manifests/{reference}", **headers)

    def tags(self, name: str) -> list[str]:
        answer = self.ask("GET", f"/v2/{name}/tags/list")
        assert answer.status_code == 200, answer.content
        return answer.json()["tags"]

    def referrers(self, name: str, digest: str) -> list[dict[str, Any]]:
        answer = self.ask("GET", f"/v2/{name}/referrers/{digest}")
        assert answer.status_code == 200, answer.content
        return answer.json()["manifests"]


def basic(username: str, password: str = PASSWORD) -> str:
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


def challenge(answer: Any) -> dict[str, str]:
    """The parameters of the Bearer challenge of a 401."""
    scheme, _, parameters = answer["WWW-Authenticate"].partition(" ")
    assert scheme == "Bearer", answer["WWW-Authenticate"]
    return dict(re.findall(r'([a-z_]+)="([^"]*)"', parameters))


def refusal(answer: Any) -> tuple[int, str]:
    """Status and code of an error, after a look at the rest of its envelope."""
    assert answer.status_code >= 400, f"{answer.status_code} is no refusal"
    assert answer["Content-Type"] == "application/json"
    (error,) = answer.json()["errors"]
    assert sorted(answer.json()) == ["errors"]
    assert sorted(error) == ["code", "detail", "message"]
    assert error["message"], "nothing a person could read"
    return answer.status_code, error["code"]


def unnumbered(answer: Any) -> dict[str, str]:
    """The headers of an answer without its number, which no other answer has."""
    return {name: value for name, value in answer.headers.items() if name != "X-Request-Id"}
