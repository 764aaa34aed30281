"""nginx ends TLS in front of the registry, both set up as docs/configuration.md says."""

import json
import socket

import pytest

from tests.clients.nginx import documented_server, nginx
from tests.clients.registry import Registry
from tests.clients.round_trips import Door

pytestmark = pytest.mark.clients


@pytest.fixture(scope="module")
def front(address):
    """Where nginx will listen."""
    with socket.create_server((address, 0)) as listening:
        yield listening


@pytest.fixture(scope="module")
def registry(front, address, tmp_path_factory):
    told = {
        "REGISTRY_PUBLIC_URL": f"https://{address}:{front.getsockname()[1]}",
        "REGISTRY_TRUSTED_PROXIES": "127.0.0.1",
        "REGISTRY_ACCESS_LOG": "true",
    }
    with Registry(tmp_path_factory.mktemp("registry") / "data", told, ready_within=300) as running:
        yield running


@pytest.fixture(scope="module")
def errors(front, registry, address, authority, tmp_path_factory):
    """What the running nginx complains of."""
    certificate, key = authority.certify(address)
    host, port = front.getsockname()
    here = {
        "listen 443": f"listen {host}:{port}",
        "registry.example.com": host,
        "/etc/ssl/registry/fullchain.pem": str(certificate),
        "/etc/ssl/registry/privkey.pem": str(key),
        "127.0.0.1:8000": registry.registry,
    }
    with nginx(tmp_path_factory.mktemp("nginx"), documented_server(here), front) as errors:
        yield errors


@pytest.fixture
def door(errors, registry, authority):
    address = registry.environment["REGISTRY_PUBLIC_URL"].removeprefix("https://")
    return Door(address, registry.admin_password, authority)


def test_each_client_pushes_and_pulls(round_trip, door, registry, address, errors, images, repository, short_path):
    pulled = round_trip(door, images.image, repository, short_path)

    assert pulled == images.image.manifest()["config"]["digest"]
    assert callers(registry, repository) == {address}  # whom nginx serves, not nginx
    assert pulled in registry.digests(repository)
    # It warns of each body and each answer that it puts into a file.
    assert [line for line in errors.read_text().splitlines() if "[notice]" not in line] == []


def callers(registry, repository):
    """Addresses that the access log names. A line is written after its answer, so the last may be missing."""
    lines = [json.loads(line) for line in registry.log.splitlines() if line.startswith("{")]
    return {line["address"] for line in lines if line["target"].startswith(f"/v2/{repository}/")}
