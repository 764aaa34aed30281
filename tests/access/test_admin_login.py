"""The login form of the admin: what it costs, and that it is limited like `/token`."""

import pytest
from django.contrib.auth import authenticate
from django.test import Client

from access import failures, passwords
from tests.access.conftest import PASSWORD, basic


@pytest.fixture
def page() -> Client:
    return Client()


def log_in(page: Client, username: str, password: str = PASSWORD):
    return page.post("/admin/login/?next=/admin/", {"username": username, "password": password})


def is_in(page: Client) -> bool:
    return page.get("/admin/").status_code == 200


def test_staff_come_in_with_their_password(page, alice):
    answer = log_in(page, "alice")
    assert (answer.status_code, answer["Location"]) == (302, "/admin/")
    assert is_in(page)


@pytest.mark.parametrize(("username", "password"), [("alice", "guess"), ("nobody", PASSWORD), ("bob", PASSWORD)])
def test_nobody_else_comes_in(page, alice, bob, username, password):
    answer = log_in(page, username, password)
    assert answer.status_code == 200
    assert "Please enter the correct" in answer.content.decode()
    assert not is_in(page)


def test_a_disabled_user_does_not_come_in(page, alice):
    log_in(page, "alice")
    alice.is_active = False
    alice.save()
    assert not is_in(page)
    log_in(page, "alice")
    assert not is_in(page)


def test_failures_at_the_form_and_at_the_token_endpoint_count_towards_one_limit(page, alice, settings):
    settings.REGISTRY_LOGIN_FAILURES_PER_MINUTE = 3
    for _ in range(2):
        log_in(page, "alice", "guess")
    assert page.get("/token", headers=basic("alice", "guess")).status_code == 401
    refused = log_in(page, "alice")
    assert "too many failed logins" in refused.content.decode()
    assert not is_in(page)
    failures.forget()
    log_in(page, "alice")
    assert is_in(page)


def test_the_form_waits_for_no_hash_when_too_many_do(page, alice, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(passwords._places, "acquire", lambda blocking: False)
        assert passwords.BUSY in log_in(page, "alice").content.decode()
        assert not is_in(page)
    log_in(page, "alice")
    assert is_in(page)


def test_what_has_no_request_is_checked_by_django_alone(alice, settings):
    settings.REGISTRY_LOGIN_FAILURES_PER_MINUTE = 1
    assert authenticate(username="alice", password="guess") is None
    assert authenticate(username="alice", password=PASSWORD) == alice
