import re
import tempfile
from functools import partial
from pathlib import Path

import pytest

from tests.clients import engines, round_trips
from tests.clients.authority import Authority, own_address
from tests.clients.images import Workshop
from tests.clients.programs import needed
from tests.clients.registry import Registry


@pytest.fixture(scope="session")
def registry(tmp_path_factory):
    with Registry(tmp_path_factory.mktemp("registry") / "data", ready_within=300) as running:
        yield running


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    return Workshop(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="session")
def docker_engine():
    with engines.docker_engine() as command:
        yield command


@pytest.fixture(scope="session")
def containerd():
    with engines.containerd() as command:
        yield command


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def address():
    """This machine's, which the clients find without a proxy."""
    address = own_address()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", address)
        yield address


@pytest.fixture(params=["docker", "podman", "skopeo", "ctr", "crane", "oras"])
def round_trip(request):
    """Each client in turn: see round_trips.py."""
    engine = {"docker": "docker_engine", "ctr": "containerd"}.get(request.param)
    command = request.getfixturevalue(engine) if engine else (needed(request.param),)
    return partial(getattr(round_trips, request.param), command)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Nobody is logged in, and no configuration of whoever runs the tests counts."""
    directory = tmp_path / "home"
    directory.mkdir()
    (directory / "auth.json").write_text("{}")
    monkeypatch.setenv("HOME", str(directory))
    monkeypatch.setenv("DOCKER_CONFIG", str(directory / "docker"))
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(directory / "auth.json"))  # skopeo, podman and buildah
    monkeypatch.setenv("REGCTL_CONFIG", str(directory / "regctl.json"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(directory))
    return directory


@pytest.fixture
def short_path():
    """A temporary directory whose path leaves room: podman takes at most 50 characters, a socket some 100."""
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory)


@pytest.fixture
def repository(request):
    """A name that no other test uses."""
    file, test = request.path.stem.removeprefix("test_"), request.node.name
    return f"{file}/{re.sub('[^a-z0-9]+', '-', test.removeprefix('test_')).strip('-')}"
