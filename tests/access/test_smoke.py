"""The way every client goes: refused, a token, let in."""

from tests.access.conftest import basic, bearer, fetch_token


def test_a_client_is_sent_for_a_token_and_let_in_with_it(client, alice):
    refused = client.get("/v2/")
    assert refused.status_code == 401
    assert refused.headers["WWW-Authenticate"].startswith('Bearer realm="http://testserver/token",service="')
    assert client.get("/v2/", headers=bearer(fetch_token(client, username="alice"))).status_code == 200
    assert client.get("/v2/", headers=bearer(fetch_token(client))).status_code == 200
    assert client.get("/v2/", headers=basic("alice")).status_code == 200
