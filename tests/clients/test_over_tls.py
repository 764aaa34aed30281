"""The server speaks TLS itself, with a certificate that an authority of the tests' own signed: `--tls-cert`."""

import pytest

from tests.clients.authority import Authority
from tests.clients.registry import Registry
from tests.clients.round_trips import Door

pytestmark = pytest.mark.clients


@pytest.fixture(scope="module")
def secure_registry(address, authority, tmp_path_factory):
    certificate, key = authority.certify(address)
    tls = ("--host", address, "--tls-cert", str(certificate), "--tls-key", str(key))
    registry = Registry(tmp_path_factory.mktemp("registry") / "data", arguments=tls, ready_within=300)
    registry.host = address
    with registry:
        yield registry


def test_each_client_pushes_and_pulls(round_trip, secure_registry, authority, images, repository, short_path):
    door = Door(secure_registry.registry, secure_registry.admin_password, authority)

    pulled = round_trip(door, images.image, repository, short_path)

    assert pulled == images.image.manifest()["config"]["digest"]
    assert pulled in secure_registry.digests(repository)


def test_each_client_refuses_a_certificate_of_another_authority(
    round_trip, secure_registry, images, repository, short_path, tmp_path
):
    door = Door(secure_registry.registry, secure_registry.admin_password, Authority(tmp_path / "other"))

    with pytest.raises(AssertionError, match="certificate signed by unknown authority"):
        round_trip(door, images.image, repository, short_path)

    assert not secure_registry.has(repository, "latest")
