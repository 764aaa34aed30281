"""What people send to pages: forms, which no thread waits for."""

import pytest
from django.test import Client

from oci.errors import SizeInvalid
from registry_site.middleware import FORM_LENGTH
from tests.conftest import PASSWORD

LOGIN = "/admin/login/?next=/admin/"


@pytest.fixture
def form(make_user) -> bytes:
    """Of somebody who may log in."""
    make_user("boss", is_superuser=True, is_staff=True)
    return f"username=boss&password={PASSWORD}".encode()


def post(form: bytes, path: str = LOGIN, **environ):
    return Client().generic("POST", path, form, "application/x-www-form-urlencoded", **environ)


def test_a_form_is_understood(form):
    assert post(form).headers["Location"] == "/admin/"


def test_a_form_in_parts_is_understood(form):
    fields = {"username": "boss", "password": PASSWORD}  # multipart/form-data
    assert Client().post(LOGIN, fields).headers["Location"] == "/admin/"


def test_a_form_of_the_greatest_length_is_understood(form):
    assert post(form + b"&more=".ljust(FORM_LENGTH - len(form), b"x")).status_code == 302


def test_a_longer_form_is_refused_unread(form):
    answer = post(form + b"&more=".ljust(FORM_LENGTH - len(form) + 1, b"x"))
    assert answer.status_code == 413
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_a_form_in_chunks_is_refused(form):
    assert post(form, HTTP_TRANSFER_ENCODING="chunked").status_code == 411


def test_a_form_that_waits_to_be_asked_for_is_refused(form):
    assert post(form, HTTP_EXPECT="100-continue").status_code == 417


def test_what_is_for_programs_is_not_read(form, monkeypatch):
    monkeypatch.setattr("registry_site.middleware.Body", lambda request: pytest.fail("it was read"))
    assert post(form, "/v2/a/blobs/uploads/", HTTP_EXPECT="100-continue").status_code == 401


def test_a_form_that_is_cut_or_takes_too_long_is_refused(form, monkeypatch):
    deadlines = []

    def read(self, limit, within=None):
        deadlines.append(within)
        raise SizeInvalid("the body took longer than 10 seconds")

    monkeypatch.setattr("wire.bodies.Body.read", read)
    answer = post(form)
    assert (answer.status_code, deadlines) == (400, [10])
    assert "longer than 10 seconds" in answer.content.decode()
