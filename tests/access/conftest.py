import base64

import pytest
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import AnonymousUser, Permission
from rest_framework.test import APIClient

from access import failures, passwords, revocations
from access.models import User
from repositories.models import Repository

PASSWORD = "correct horse battery staple"


@pytest.fixture(autouse=True)
def nothing_remembered(settings):
    """Each test starts like a new process; cheap hashes, since none of these tests is about their strength."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    failures.forget()
    passwords.forget()
    revocations.forget()


@pytest.fixture
def client() -> APIClient:
    return APIClient()


@pytest.fixture
def anonymous() -> AnonymousUser:
    return AnonymousUser()


@pytest.fixture
def alice(db) -> User:
    """May do all."""
    return User.objects.create_superuser("alice", password=PASSWORD)


@pytest.fixture
def bob(db) -> User:
    """May push, and so pull, everywhere."""
    return permitted("bob", "push_content")


@pytest.fixture
def charlie(db) -> User:
    """Has an account and no rights."""
    return permitted("charlie")


@pytest.fixture
def public(db) -> Repository:
    return Repository.objects.create(name="team/public", visibility="public")


@pytest.fixture
def private(db) -> Repository:
    return Repository.objects.create(name="team/private", visibility="private")


def permitted(username: str, *codenames: str) -> User:
    user = User.objects.create(username=username, password=make_password(PASSWORD))
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    return user


def basic(username: str, password: str = PASSWORD) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def fetch_token(client: APIClient, *scopes: str, username: str = "", **query: str) -> str:
    answer = client.get("/token", {"scope": scopes, **query}, headers=basic(username) if username else {})
    assert answer.status_code == 200, answer.content
    return answer.json()["token"]
