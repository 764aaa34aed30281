"""A certificate authority of the tests' own, and the address it vouches for."""

import ipaddress
import os
import subprocess
from pathlib import Path

import pytest

from registry_site.addresses import interface_addresses
from tests.clients.programs import needed

CONFIGURATION = "[req]\ndistinguished_name = names\n[names]\n"  # openssl's own would add extensions


class Authority:
    """`ca.crt` in a directory with nothing else in it, as podman, skopeo and docker look for it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "ca").mkdir(parents=True)
        (directory / "openssl.cnf").write_text(CONFIGURATION)
        self.certificate, self.key = directory / "ca" / "ca.crt", directory / "ca.key"
        self._make(self.certificate, self.key, "authority", "basicConstraints=critical,CA:TRUE")

    def certify(self, address: str) -> tuple[Path, Path]:
        """A certificate for a server at this IP address, and its key."""
        made = self.directory / f"{address}.crt", self.directory / f"{address}.key"
        signed = ("-CA", self.certificate, "-CAkey", self.key, "-addext", "basicConstraints=critical,CA:FALSE")
        self._make(*made, "server", f"subjectAltName=IP:{address}", *signed)
        return made

    def _make(self, certificate: Path, key: Path, name: str, extension: str, *options: str | Path) -> None:
        openssl = (needed("openssl"), "req", "-x509", "-config", self.directory / "openssl.cnf", "-days", "1")
        new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-keyout", key)
        about = ("-out", certificate, "-subj", f"/CN={name}", "-addext", extension)
        subprocess.run((*openssl, *new, *about, *options), check=True, capture_output=True)


def own_address() -> str:
    """One that is not loopback, where docker would verify no certificate, and others would try plain HTTP."""
    for text in interface_addresses():
        address = ipaddress.ip_address(text)
        if address.version == 4 and not address.is_loopback and not address.is_link_local:
            return text
    reason = "this machine has no address but loopback"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
