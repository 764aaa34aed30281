import pytest

from layers import finalizing
from repositories.models import Repository
from tests.collecting import look_quickly
from tests.server import wait_until
from uploads import superseded


@pytest.fixture(autouse=True)
def quick_watch(monkeypatch):
    """Superseded writers are noticed soon, and the thread that notices them is gone before the next test."""
    monkeypatch.setattr(superseded, "PAUSE", 0.02)
    yield
    wait_until(lambda: not superseded._watching)


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch):
    monkeypatch.setattr(finalizing, "finalize", look_quickly)


@pytest.fixture
def app(transactional_db) -> Repository:
    return Repository.objects.create(name="team/app")


@pytest.fixture
def other(transactional_db) -> Repository:
    return Repository.objects.create(name="team/other")
