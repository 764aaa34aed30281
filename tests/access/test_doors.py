"""Who is let in to `/v2/`, and what the others are told."""

import pytest
from django.utils import timezone

from access import tokens
from access.models import User
from oci.scopes import Scope
from tests.access.conftest import basic, bearer, fetch_token

MANIFEST = "/v2/team/private/manifests/latest"


def refusal(response) -> tuple[int, str]:
    return response.status_code, response.json()["errors"][0]["code"]


def token(user: User, *scopes: str) -> dict[str, str]:
    return bearer(tokens.issue(user.subject, [Scope.parse(scope) for scope in scopes], timezone.now()))


# --- without a credential ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("headers", [{}, {"Authorization": ""}, {"Authorization": "Basic Og=="}])
def test_without_a_credential_even_the_version_is_refused_with_a_challenge(client, headers):
    refused = client.get("/v2/", headers=headers)
    assert refusal(refused) == (401, "UNAUTHORIZED")
    assert refused.headers["WWW-Authenticate"] == 'Bearer realm="http://testserver/token",service="layerstore"'


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("get", MANIFEST, "repository:team/private:pull"),
        ("head", MANIFEST, "repository:team/private:pull"),
        ("put", MANIFEST, "repository:team/private:pull,push"),
        ("delete", MANIFEST, "repository:team/private:delete"),
        ("post", "/v2/team/private/blobs/uploads/", "repository:team/private:pull,push"),
        ("get", "/v2/_catalog", "registry:catalog:*"),
    ],
)
def test_every_route_asks_for_exactly_the_scope_that_it_needs(client, method, path, scope):
    refused = getattr(client, method)(path)
    assert refused.status_code == 401
    assert refused.headers["WWW-Authenticate"].endswith(f'service="layerstore",scope="{scope}"')


def test_the_realm_is_the_public_url_where_one_is_set(client, settings):
    settings.REGISTRY_PUBLIC_URL = "https://registry.example.com"
    challenge = client.get("/v2/").headers["WWW-Authenticate"]
    assert challenge.startswith('Bearer realm="https://registry.example.com/token",')


def test_the_realm_follows_the_scheme_and_the_host_the_client_used(client):
    challenge = client.get("/v2/", secure=True, headers={"Host": "localhost:5000"}).headers["WWW-Authenticate"]
    assert challenge.startswith('Bearer realm="https://localhost:5000/token",')


def test_a_host_that_is_refused_reaches_no_challenge(client, settings):
    settings.ALLOWED_HOSTS = ["localhost"]
    assert client.get("/v2/", headers={"Host": "evil.example.com"}).status_code == 400


def test_no_answer_to_the_unknown_depends_on_what_exists(client, public, private):
    def answer(name, headers):
        refused = client.get(f"/v2/{name}/manifests/latest", headers=headers)
        return refused.status_code, refused.content.decode().replace(name, "…"), refused.headers["WWW-Authenticate"]

    for headers in ({}, bearer(fetch_token(client))):
        there, nowhere = answer("team/private", headers), answer("not/there", headers)
        assert there[:2] == nowhere[:2]
        assert there[2].replace("team/private", "") == nowhere[2].replace("not/there", "")


# --- with a token -----------------------------------------------------------------------------------------------------


def test_a_token_with_the_scope_is_let_in_and_one_of_nobody_sees_the_version(client, charlie):
    assert client.get(MANIFEST, headers=token(charlie, "repository:team/private:pull")).status_code == 404
    assert client.get("/v2/", headers=bearer(fetch_token(client))).status_code == 200


def test_a_token_that_lacks_the_scope_is_told_which_one_to_fetch(client, charlie):
    refused = client.put(MANIFEST, headers=token(charlie, "repository:team/private:pull"))
    assert refusal(refused) == (401, "DENIED")
    challenge = refused.headers["WWW-Authenticate"]
    assert 'scope="repository:team/private:pull,push",error="insufficient_scope"' in challenge
    assert 'error_description="this token does not allow you to push to team/private"' in challenge
    assert refused.json()["errors"][0]["message"] == "this token does not allow you to push to team/private"


def test_a_token_of_nobody_that_lacks_the_scope_is_told_to_log_in(client, db):
    refused = client.get(MANIFEST, headers=bearer(fetch_token(client, "repository:team/private:pull")))
    assert refusal(refused) == (401, "DENIED")
    assert "log in to pull from team/private" in refused.json()["errors"][0]["message"]


@pytest.mark.parametrize(
    ("method", "held"),
    [("delete", "pull,push"), ("put", "delete"), ("get", "push"), ("get", "*"), ("delete", "*")],
)
def test_one_action_never_stands_for_another(client, bob, method, held):
    refused = getattr(client, method)(MANIFEST, headers=token(bob, f"repository:team/private:{held}"))
    assert refusal(refused) == (401, "DENIED")


def test_a_scope_on_one_repository_is_none_on_another(client, bob):
    headers = token(bob, "repository:team/private/sub:pull", "repository:team:pull", "registry:team/private:pull")
    assert refusal(client.get(MANIFEST, headers=headers)) == (401, "DENIED")


def test_an_expired_token_is_refused_as_invalid(client, bob, settings):
    settings.REGISTRY_TOKEN_LIFETIME = -1
    refused = client.get(MANIFEST, headers=token(bob, "repository:team/private:pull"))
    assert refusal(refused) == (401, "UNAUTHORIZED")
    assert 'error="invalid_token",error_description="the token has expired"' in refused.headers["WWW-Authenticate"]


def test_a_token_costs_no_query_beside_the_revocations_once_a_second(client, bob, django_assert_num_queries):
    headers = token(bob)
    with django_assert_num_queries(1):
        client.get("/v2/", headers=headers)
    with django_assert_num_queries(0):
        client.get("/v2/", headers=headers)


# --- with a password --------------------------------------------------------------------------------------------------


def test_a_password_is_let_in_where_the_policy_grants_it(client, bob):
    assert client.get("/v2/", headers=basic("bob")).status_code == 200
    assert client.get(MANIFEST, headers=basic("bob")).status_code == 404


def test_a_password_that_does_not_suffice_is_denied_for_good(client, bob, charlie):
    refused = client.delete(MANIFEST, headers=basic("bob"))
    assert refusal(refused) == (403, "DENIED")
    assert "WWW-Authenticate" not in refused.headers
    assert "you may not delete in team/private" in refused.json()["errors"][0]["message"]
    assert refusal(client.get(MANIFEST, headers=basic("charlie"))) == (403, "DENIED")


def test_a_wrong_password_is_unauthorized(client, bob):
    refused = client.get(MANIFEST, headers=basic("bob", "guess"))
    assert refusal(refused) == (401, "UNAUTHORIZED")
    assert refused.json()["errors"][0]["message"] == "wrong user name or password"


def test_rights_given_with_a_password_count_at_once(client, charlie):
    assert client.get(MANIFEST, headers=basic("charlie")).status_code == 403
    User.objects.filter(pk=charlie.pk).update(is_superuser=True)
    assert client.get(MANIFEST, headers=basic("charlie")).status_code == 404


def test_a_cookie_never_authenticates(client, alice):
    client.force_login(alice)
    assert client.cookies
    assert refusal(client.get("/v2/")) == (401, "UNAUTHORIZED")
    assert refusal(client.get(MANIFEST)) == (401, "UNAUTHORIZED")


# --- the catalog ------------------------------------------------------------------------------------------------------


def test_any_credential_may_ask_for_the_catalog(client, charlie):
    for headers in (token(charlie), basic("charlie"), bearer(fetch_token(client))):
        assert client.get("/v2/_catalog", headers=headers).status_code == 200
    assert client.get("/v2/_catalog").status_code == 401
