"""The registry that the clients talk to: started by the README's command, and looked at without any client."""

import base64
import json
import os
import subprocess
import sys

from tests.clients.layouts import blobs_of, digest_of
from tests.server import ROOT, Server

MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, "
    "application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json"
)


class Registry(Server):
    command = (ROOT / "script" / "server",)

    def publish(self, name: str) -> None:
        """Let everybody pull from the repository, as an administrator does."""
        self.manage("repository", "set-visibility", name, "public")

    def manage(self, *arguments: str) -> None:
        environment = os.environ | {"REGISTRY_DATA": str(self.data)}
        subprocess.run([sys.executable, ROOT / "manage.py", *arguments], env=environment, check=True)

    def fetch(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers (their names in lower case) and body of a GET by the administrator."""
        login = base64.b64encode(f"admin:{self.admin_password}".encode()).decode()
        connection = self.connection(60)
        try:
            connection.request("GET", path, headers={"Authorization": f"Basic {login}", "Accept": MANIFESTS})
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def manifest(self, name: str, reference: str) -> tuple[str, str, dict]:
        """Digest, media type and content, after the digest in the header was found to be that of the bytes."""
        status, headers, content = self.fetch(f"/v2/{name}/manifests/{reference}")
        assert status == 200, content
        assert digest_of(content) == headers["docker-content-digest"]
        return headers["docker-content-digest"], headers["content-type"], json.loads(content)

    def digests(self, name: str, reference: str = "latest") -> set[str]:
        """Everything that belongs to an image here, each fetched and verified."""
        digest, _, manifest = self.manifest(name, reference)
        found = {digest}
        for child in manifest.get("manifests", []):
            found |= self.digests(name, child["digest"])
        for blob in blobs_of(manifest):
            status, _, content = self.fetch(f"/v2/{name}/blobs/{blob}")
            assert (status, digest_of(content)) == (200, blob)
            found.add(blob)
        return found

    def has(self, name: str, reference: str) -> bool:
        """Whether there is such a manifest."""
        status = self.fetch(f"/v2/{name}/manifests/{reference}")[0]
        assert status in (200, 404)
        return status == 200

    def tags(self, name: str) -> list[str]:
        return json.loads(self.fetch(f"/v2/{name}/tags/list")[2])["tags"]
