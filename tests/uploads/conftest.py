import pytest

from repositories.models import Repository


@pytest.fixture
def app(db) -> Repository:
    return Repository.objects.create(name="team/app")
