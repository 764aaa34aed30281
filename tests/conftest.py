"""Fixtures of every test that works in this process, and the check after each of them that nothing dangles."""

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import hypothesis
import pytest
from django.contrib.auth.models import Permission

from access import failures, passwords, revocations
from access.models import User
from counts import counting
from storage import driver
from tests import integrity
from tests.registry import PASSWORD, Registry
from uploads import superseded

hypothesis.settings.register_profile("busy", deadline=None)  # a busy machine is no failure
hypothesis.settings.register_profile("soak", deadline=None, max_examples=3000)
hypothesis.settings.load_profile("busy")


def pytest_addoption(parser: pytest.Parser) -> None:
    about = "where blobs are kept; in memory, without the tests that look at files"
    parser.addoption("--storage", choices=["filesystem", "memory"], default="filesystem", help=about)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What looks at the files of blobs is left out where there are none."""
    if config.getoption("storage") == "memory":
        left_out = [item for item in items if "blob_directory" in getattr(item, "fixturenames", ())]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_configure(config: pytest.Config) -> None:
    for marker in (
        "removes_what_is_named: a blob or manifest that another manifest names is gone at the end of the test",
        "damages_storage: objects are changed behind the registry's back",
        "fuzzed: quick, and worth many more examples: `script/soak` runs it with the profile that asks for them",
    ):
        config.addinivalue_line("markers", marker)


def pytest_make_parametrize_id(val: object) -> str | None:
    """Hostile values are long; their names need not be."""
    return f"{val[:30]!r} and so on, {len(val)}" if isinstance(val, str | bytes) and len(val) > 80 else None


def uses_database(request: pytest.FixtureRequest) -> bool:
    marked = request.node.get_closest_marker("django_db") is not None
    return marked or not {"db", "transactional_db"}.isdisjoint(request.fixturenames)


@pytest.fixture(autouse=True)
def storage(request: pytest.FixtureRequest) -> Iterator[None]:
    """Each test that uses the database has storage of its own too, and afterwards the two have to agree."""
    if not uses_database(request):
        yield
        return
    request.getfixturevalue("db")
    settings = request.getfixturevalue("settings")
    for module in (failures, passwords, revocations):
        module.forget()
    with TemporaryDirectory(prefix="layerstore-blobs-") as directory:
        in_memory = {"BACKEND": "storage.memory.MemoryDriver"}
        in_files = settings.STORAGES["blobs"] | {"OPTIONS": {"location": directory}}
        blobs = in_memory if request.config.getoption("storage") == "memory" else in_files
        settings.STORAGES = settings.STORAGES | {"blobs": blobs}
        driver.blobs().prepare()
        yield
        check_integrity(request)


@pytest.fixture(autouse=True)
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test pulls is counted, and written only when the test says so: no thread comes between."""
    monkeypatch.setattr(counting, "start", lambda: None)
    yield
    counting.forget()


def check_integrity(request: pytest.FixtureRequest) -> None:
    marked = {marker.name for marker in request.node.iter_markers()}
    checks = list(integrity.INDEX)
    checks += [] if "damages_storage" in marked else integrity.STORAGE
    checks += [] if "removes_what_is_named" in marked else integrity.PROMISE
    assert [problem for check in checks for problem in check()] == []


@pytest.fixture(autouse=True)
def unwatched(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a test's own transaction nobody else sees its uploads: whoever writes to one for longer than a second
    would be taken for superseded."""
    marker = request.node.get_closest_marker("django_db")
    committed = "transactional_db" in request.fixturenames or (marker is not None and marker.kwargs.get("transaction"))
    if uses_database(request) and not committed:
        monkeypatch.setattr(superseded, "look", lambda writers: None)


# --- Who is there -----------------------------------------------------------------------------------------------------


@pytest.fixture
def make_user(db: None) -> Callable[..., User]:
    def make(username: str, *permissions: str, **fields: Any) -> User:
        user = User.objects.create_user(username, password=PASSWORD, **fields)
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        return user

    return make


@pytest.fixture
def alice(make_user: Callable[..., User]) -> User:
    """May push, and so pull."""
    return make_user("alice", "push_content")


@pytest.fixture
def bob(make_user: Callable[..., User]) -> User:
    """May pull."""
    return make_user("bob", "pull_content")


@pytest.fixture
def carol(make_user: Callable[..., User]) -> User:
    """Has an account and no rights."""
    return make_user("carol")


@pytest.fixture
def root(make_user: Callable[..., User]) -> User:
    """May do all."""
    return make_user("root", is_superuser=True)


# --- Their clients ----------------------------------------------------------------------------------------------------


@pytest.fixture
def registry(alice: User) -> Registry:
    """Alice's client, with bearer tokens."""
    return Registry(alice.username)


@pytest.fixture
def puller(bob: User) -> Registry:
    return Registry(bob.username)


@pytest.fixture
def stranger(carol: User) -> Registry:
    return Registry(carol.username)


@pytest.fixture
def anonymous(db: None) -> Registry:
    return Registry()


@pytest.fixture
def owner(root: User) -> Registry:
    """The superuser's client: the one who may delete."""
    return Registry(root.username)


@pytest.fixture
def blob_directory(storage: None, settings: Any) -> Path:
    return Path(settings.STORAGES["blobs"]["OPTIONS"]["location"])
