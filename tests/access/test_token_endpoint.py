"""`/token`, as docker, podman, containerd, crane and oras call it."""

from datetime import datetime, timedelta

import pytest
from django.utils import timezone

from access import tokens
from access.models import RefreshToken, User
from tests.access.conftest import PASSWORD, basic, fetch_token

FORM = "application/x-www-form-urlencoded"


def held(token: str) -> set[str]:
    return {str(scope) for scope in tokens.accept(token).scopes}


def post(client, content_type=FORM, **form):
    from urllib.parse import urlencode

    return client.post("/token", urlencode(form, doseq=True), content_type=content_type)


def refusal(response) -> tuple[int, str]:
    return response.status_code, response.json()["errors"][0]["code"]


# --- GET --------------------------------------------------------------------------------------------------------------


def test_nobody_gets_a_token_that_pulls_what_is_public(client, public, private):
    token = fetch_token(client, "repository:team/public:pull,push", "repository:team/private:pull")
    assert held(token) == {"repository:team/public:pull"}
    assert tokens.accept(token).subject == ""


def test_an_empty_name_and_password_are_nobody(client, public):
    answer = client.get("/token", headers={"Authorization": "Basic Og=="})
    assert tokens.accept(answer.json()["token"]).subject == ""


def test_a_user_gets_what_they_may_do_of_what_they_asked_for(client, bob):
    token = fetch_token(client, "repository:team/app:pull,push,delete", username="bob")
    assert held(token) == {"repository:team/app:pull,push"}
    assert tokens.accept(token).subject == bob.subject


def test_the_answer_has_the_fields_of_the_specification(client, bob, settings):
    answer = client.get("/token", {"service": "layerstore", "account": "bob"}, headers=basic("bob"))
    fields = answer.json()
    assert fields["token"] == fields["access_token"]
    assert fields["expires_in"] == settings.REGISTRY_TOKEN_LIFETIME >= 60
    issued = datetime.strptime(fields["issued_at"], "%Y-%m-%dT%H:%M:%S%z")
    assert abs(timezone.now() - issued) < timedelta(seconds=10)
    assert "refresh_token" not in fields
    assert answer.headers["Cache-Control"] == "no-store"


def test_scopes_come_repeated_or_separated_by_spaces_and_are_put_together(client, bob):
    token = fetch_token(client, "repository:a:pull repository:b:push", "repository:a:push", "", username="bob")
    assert held(token) == {"repository:a:pull,push", "repository:b:push"}


def test_the_name_of_a_resource_may_hold_a_port(client, bob):
    token = fetch_token(client, "repository:localhost:5000/team/app:pull", username="bob")
    assert held(token) == {"repository:localhost:5000/team/app:pull"}


def test_a_star_stands_for_all_that_the_user_may_do(client, bob):
    assert held(fetch_token(client, "repository:a:*", username="bob")) == {"repository:a:pull,push"}


@pytest.mark.parametrize("scope", ["nonsense", "repository:a", "::", "repository::pull", "ünïcode:a:pull", "a" * 9000])
def test_a_scope_that_is_none_is_passed_over(client, alice, scope):
    token = fetch_token(client, "repository:a:pull", scope, username="alice")
    assert held(token) == {"repository:a:pull"}


def test_a_token_fits_into_a_header_however_much_is_asked_for(client, alice):
    wanted = [f"repository:{'n' * length}{number}:*" for number in range(200) for length in (1, 200)]
    token = fetch_token(client, *wanted, username="alice")
    assert len(token) < 8000
    assert f"repository:{'n' * 200}0:delete,pull,push" in held(token)
    assert len(fetch_token(client, *(f"repository:n{number}:*" for number in range(500)), username="alice")) < 8000


@pytest.mark.parametrize("headers", [basic("bob", "guess"), basic("nobody"), basic("bob", ""), basic("", PASSWORD)])
def test_wrong_credentials_are_refused_with_a_challenge_for_basic(client, bob, headers):
    refused = client.get("/token", headers=headers)
    assert refusal(refused) == (401, "UNAUTHORIZED")
    assert refused.headers["WWW-Authenticate"] == 'Basic realm="layerstore"'
    assert refused.json()["errors"][0]["message"] == "wrong user name or password"


def test_a_disabled_user_is_refused_like_an_unknown_one(client, bob):
    User.objects.filter(pk=bob.pk).update(is_active=False)
    assert refusal(client.get("/token", headers=basic("bob"))) == (401, "UNAUTHORIZED")


def test_a_token_fetches_no_token(client, bob):
    token = fetch_token(client, username="bob")
    assert refusal(client.get("/token", headers={"Authorization": f"Bearer {token}"})) == (401, "UNAUTHORIZED")


def test_other_methods_are_refused_in_the_envelope(client):
    assert refusal(client.delete("/token")) == (405, "UNSUPPORTED")


# --- POST -------------------------------------------------------------------------------------------------------------


def test_the_form_of_containerd_gets_a_token_for_a_password(client, bob):
    answer = post(
        client,
        content_type=f"{FORM}; charset=utf-8",
        grant_type="password",
        username="bob",
        password=PASSWORD,
        service="layerstore",
        client_id="containerd-client",
        scope="repository:a:pull,push,delete repository:b:pull",
    )
    assert answer.status_code == 200
    assert answer.json()["scope"] == "repository:a:pull,push repository:b:pull"
    assert held(answer.json()["access_token"]) == {"repository:a:pull,push", "repository:b:pull"}
    assert "refresh_token" not in answer.json()


def test_the_form_of_podman_repeats_the_scope(client, bob):
    given = client.get("/token", {"offline_token": "true"}, headers=basic("bob")).json()["refresh_token"]
    answer = post(
        client, grant_type="refresh_token", refresh_token=given, scope=["repository:a:pull", "repository:b:pull"]
    )
    assert answer.json()["scope"] == "repository:a:pull repository:b:pull"


def test_a_wrong_password_in_a_form_is_refused(client, bob):
    refused = post(client, grant_type="password", username="bob", password="guess")
    assert refusal(refused) == (401, "UNAUTHORIZED")
    assert refusal(post(client, grant_type="password")) == (401, "UNAUTHORIZED")


@pytest.mark.parametrize("grant", [{}, {"grant_type": "authorization_code"}, {"grant_type": ""}])
def test_another_grant_is_a_bad_request(client, db, grant):
    assert refusal(post(client, **grant)) == (400, "UNSUPPORTED")


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"", FORM, 400),
        (b"\xff\xfe=%ff&%zz=%&&&==", FORM, 400),
        (b"grant_type=password&username=%00&password=%00", FORM, 401),
        (b"grant_type=password&username=%ed%a0%80&password=%ff", FORM, 401),
        (b"grant_type=refresh_token&refresh_token=%00%ff", FORM, 401),
        (b"&".join(b"a%d=1" % n for n in range(3000)), FORM, 400),
        (b"a=" + b"1" * 70_000, FORM, 413),
        (b'{"grant_type": "password"}', "application/json", 400),
        (b"grant_type=password", "multipart/form-data; boundary=x", 400),
    ],
)
def test_garbage_in_a_form_is_refused_in_the_envelope(client, db, body, content_type, status):
    answer = client.generic("POST", "/token", body, content_type)
    assert answer.status_code == status
    assert answer.json()["errors"][0]["code"]


# --- refresh tokens ---------------------------------------------------------------------------------------------------


def refresh(client, token, **more):
    return post(client, grant_type="refresh_token", refresh_token=token, **more)


@pytest.fixture
def given(client, bob) -> str:
    """The refresh token that `docker login` got."""
    query = {"offline_token": "true", "client_id": "docker", "account": "bob"}
    return client.get("/token", query, headers=basic("bob")).json()["refresh_token"]


def test_a_refresh_token_fetches_tokens_without_the_password(client, bob, given):
    answer = refresh(client, given, scope="repository:a:push")
    assert held(answer.json()["access_token"]) == {"repository:a:push"}
    assert tokens.accept(answer.json()["access_token"]).subject == bob.subject
    assert refresh(client, given).status_code == 200


def test_the_form_gives_a_refresh_token_when_offline_access_is_wanted(client, bob):
    answer = post(client, grant_type="password", username="bob", password=PASSWORD, access_type="offline")
    given = answer.json()["refresh_token"]
    assert refresh(client, given, access_type="offline").json()["refresh_token"] == given
    assert "refresh_token" not in refresh(client, given).json()


def test_nobody_gets_no_refresh_token(client, db):
    assert "refresh_token" not in client.get("/token", {"offline_token": "true"}).json()
    assert not RefreshToken.objects.exists()


def test_a_refresh_token_is_kept_only_as_a_keyed_hash(given, settings):
    from hashlib import sha256

    row = RefreshToken.objects.get()
    assert given not in str(vars(row))
    assert row.digest != sha256(given.encode()).hexdigest()
    assert row.client_id == "docker"


def test_an_unknown_refresh_token_is_refused(client, given):
    assert refusal(refresh(client, given + "x")) == (401, "UNAUTHORIZED")
    assert refusal(refresh(client, "")) == (401, "UNAUTHORIZED")


def test_a_refresh_token_ends_after_ninety_days_without_use(client, given):
    RefreshToken.objects.update(last_used_at=timezone.now() - timedelta(days=89))
    assert refresh(client, given).status_code == 200
    assert RefreshToken.objects.get().last_used_at > timezone.now() - timedelta(minutes=1)
    RefreshToken.objects.update(last_used_at=timezone.now() - timedelta(days=90, seconds=1))
    assert refusal(refresh(client, given)) == (401, "UNAUTHORIZED")


def test_ended_refresh_tokens_are_cleared_away_when_the_next_one_is_made(client, given):
    RefreshToken.objects.update(last_used_at=timezone.now() - timedelta(days=91))
    client.get("/token", {"offline_token": "true"}, headers=basic("bob"))
    assert RefreshToken.objects.count() == 1


def test_a_user_has_no_endless_number_of_refresh_tokens(client, given, monkeypatch):
    monkeypatch.setattr("access.services.REFRESH_TOKENS_OF_A_USER", 2)
    newer = [client.get("/token", {"offline_token": "true"}, headers=basic("bob")).json() for _ in range(2)]
    assert refresh(client, given).status_code == 401
    assert all(refresh(client, fields["refresh_token"]).status_code == 200 for fields in newer)


def test_a_disabled_user_refreshes_nothing(client, bob, given):
    User.objects.filter(pk=bob.pk).update(is_active=False)
    assert refusal(refresh(client, given)) == (401, "UNAUTHORIZED")


def test_a_long_or_odd_client_id_is_no_accident(client, bob):
    for client_id in ("x" * 5000, "\0", "ü"):
        answer = client.get("/token", {"offline_token": "true", "client_id": client_id}, headers=basic("bob"))
        assert answer.status_code == 200
