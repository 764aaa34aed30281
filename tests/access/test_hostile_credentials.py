"""An `Authorization` header holds anything at all."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from access import credentials, failures, revocations
from access.credentials import Credential
from oci.errors import RegistryError, Unauthorized

HERE = "192.0.2.1"
HEADER = st.text(st.characters(min_codepoint=0, max_codepoint=255), max_size=200)  # what WSGI can hand over
BASIC = st.binary(max_size=80).map(lambda content: base64.b64encode(content).decode())


@pytest.fixture(autouse=True)
def nothing_revoked(monkeypatch):
    monkeypatch.setattr(revocations, "current", revocations.Revoked)


def outcome(header: str) -> Credential | RegistryError | None:
    failures.forget()
    try:
        return credentials.read(header, HERE)
    except RegistryError as problem:
        return problem


@pytest.mark.django_db
@given(HEADER | st.tuples(st.sampled_from(["Basic", "bearer", "BASIC ", "Digest"]), HEADER | BASIC).map(" ".join))
def test_every_header_is_nothing_or_refused(header):
    found = outcome(header)
    assert isinstance(found, Unauthorized) or (found is None and (not header.strip() or "Og==" in header))


@pytest.mark.parametrize(
    "header",
    [
        "Basic",
        "Basic ",
        "Basic !!!!",
        "Basic Og=",
        "Basic Og== Og==",
        "Basic Ym9i",  # no colon
        "Basic AAAA",
        "Basic w7/Dvw==",
        "Bearer",
        "Bearer  ",
        "Bearer a b",
        "Bearer,Bearer",
        "Bearer é",
        "Basic é",
        "Negotiate YII=",
        'Digest username="bob"',
        "bob:secret",
        "\0",
        "Basic \0",
    ],
)
def test_a_malformed_header_is_unauthorized(client, db, header):
    found = outcome(header)
    assert isinstance(found, Unauthorized)
    for path in ("/v2/", "/token"):
        answer = client.get(path, HTTP_AUTHORIZATION=header)
        assert answer.status_code == 401
        assert answer.json()["errors"][0]["code"] == "UNAUTHORIZED"
        assert answer.headers["WWW-Authenticate"].isascii()


@pytest.mark.parametrize("header", ["", " ", "Basic Og==", "basic  Og==", "BASIC Og== "])
def test_an_empty_header_and_empty_credentials_are_nobody(client, db, header):
    assert outcome(header) is None
    assert client.get("/token", HTTP_AUTHORIZATION=header).status_code == 200
    assert client.get("/v2/", HTTP_AUTHORIZATION=header).status_code == 401


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_name_and_password_beyond_ascii_log_in(db, encoding):
    from access.models import User

    user = User.objects.create_user("zoë", password="pässword")
    header = "Basic " + base64.b64encode("zoë:pässword".encode(encoding)).decode()
    assert outcome(header) == Credential(user.subject, user=user)


def test_a_password_may_hold_colons(db):
    from access.models import User

    user = User.objects.create_user("bob", password="a:b::c")
    assert outcome("Basic " + base64.b64encode(b"bob:a:b::c").decode()) == Credential(user.subject, user=user)
