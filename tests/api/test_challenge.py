"""What every answer below /v2/ has in common, and how a client is told what it needs."""

import pytest
from django.db import OperationalError, connection
from django.urls import get_resolver

from tests.registry import Registry, basic, challenge, refusal

DIGEST = f"sha256:{'0' * 64}"
UPLOAD = "/v2/team/app/blobs/uploads/0b1e5c3a-6b0d-4e0f-8a52-1f2b4a8d7c11"
# Every route and method, with the scope that it needs; "" is none.
ROUTES = [
    ("GET", "/v2/", ""),
    ("GET", "/v2/team/app/blobs/DIGEST", "repository:team/app:pull"),
    ("HEAD", "/v2/team/app/blobs/DIGEST", "repository:team/app:pull"),
    ("DELETE", "/v2/team/app/blobs/DIGEST", "repository:team/app:delete"),
    ("GET", "/v2/team/app/manifests/latest", "repository:team/app:pull"),
    ("HEAD", "/v2/team/app/manifests/latest", "repository:team/app:pull"),
    ("PUT", "/v2/team/app/manifests/latest", "repository:team/app:pull,push"),
    ("DELETE", "/v2/team/app/manifests/latest", "repository:team/app:delete"),
    ("POST", "/v2/team/app/blobs/uploads/", "repository:team/app:pull,push"),
    ("POST", "/v2/team/app/blobs/uploads/?mount=DIGEST&from=team/base", "repository:team/app:pull,push"),
    ("PATCH", UPLOAD, "repository:team/app:pull,push"),
    ("PUT", f"{UPLOAD}?digest=DIGEST", "repository:team/app:pull,push"),
    ("GET", "/v2/team/app/tags/list", "repository:team/app:pull"),
    ("GET", "/v2/team/app/referrers/DIGEST", "repository:team/app:pull"),
    ("GET", "/v2/_catalog", "registry:catalog:*"),
]


@pytest.mark.parametrize(("method", "path", "scope"), ROUTES)
def test_without_a_credential_every_route_answers_401_with_just_the_scope_it_needs(method, path, scope, anonymous):
    answer = anonymous.once(method, path.replace("DIGEST", DIGEST), b"", "", {})
    assert answer.status_code == 401
    told = challenge(answer)
    assert told["realm"] == "http://testserver/token"
    assert told["service"] == "layerstore"
    assert told.get("scope", "") == scope
    if method != "HEAD":
        assert refusal(answer) == (401, "UNAUTHORIZED")


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_asking_for_and_cancelling_an_upload_need_no_more_than_pushing_it(method, anonymous, registry):
    location = registry.open_upload("team/app")
    scope = challenge(anonymous.once(method, location, b"", "", {}))["scope"]
    assert "delete" not in scope
    assert registry.ask(method, location).status_code == 204


def test_the_version_route_challenges_even_where_everything_is_public(anonymous, settings):
    settings.REGISTRY_DEFAULT_VISIBILITY = "public"
    answer = anonymous.once("GET", "/v2/", b"", "", {})
    assert refusal(answer) == (401, "UNAUTHORIZED")
    assert challenge(answer) == {"realm": "http://testserver/token", "service": "layerstore"}


@pytest.mark.parametrize("path", ["/v2/", "/v2"])
def test_the_version_route_welcomes_any_valid_credential(path, stranger, anonymous):
    assert stranger.ask("GET", path).status_code == 200
    assert anonymous.once("GET", path, b"", f"Bearer {anonymous.token()}", {}).status_code == 200


def test_the_realm_is_the_public_url_where_one_is_set(anonymous, settings):
    settings.REGISTRY_PUBLIC_URL = "https://registry.example.com"
    told = challenge(anonymous.once("GET", "/v2/", b"", "", {}))
    assert told["realm"] == "https://registry.example.com/token"


def test_a_scope_is_decided_before_anything_is_looked_up(registry, stranger):
    digest = registry.push_image("team/app", "v1")
    there = stranger.pull_manifest("team/app", digest)
    nowhere = stranger.pull_manifest("team/none", digest)
    assert refusal(there) == refusal(nowhere) == (401, "DENIED")
    assert there.json()["errors"][0]["message"].replace("app", "none") == nowhere.json()["errors"][0]["message"]


def test_a_token_that_lacks_the_scope_is_told_which_one_in_words_too(registry, stranger):
    registry.push_image("team/app", "v1")
    answer = stranger.pull_manifest("team/app", "v1")
    told = challenge(answer)
    assert told["error"] == "insufficient_scope"
    assert told["scope"] == "repository:team/app:pull"
    assert "pull from team/app" in told["error_description"]
    assert refusal(answer) == (401, "DENIED")


def test_a_password_that_lacks_the_right_is_refused_for_good(bob):
    client = Registry(bob.username, by="basic")
    assert refusal(client.ask("POST", "/v2/team/app/blobs/uploads/")) == (403, "DENIED")
    assert refusal(client.pull_manifest("team/app", "v1")) == (404, "MANIFEST_UNKNOWN")


def test_an_empty_name_and_password_are_anonymous(anonymous):
    answer = anonymous.once("GET", "/v2/", b"", "Basic Og==", {})
    assert refusal(answer) == (401, "UNAUTHORIZED")
    assert "error" not in challenge(answer)


def test_push_is_not_enough_to_delete(registry, alice):
    digest = registry.push_image("team/app", "v1")
    for path in (f"manifests/{digest}", "manifests/v1", f"blobs/{digest}"):
        answer = registry.ask("DELETE", f"/v2/team/app/{path}")
        assert refusal(answer) == (401, "DENIED")
        assert challenge(answer)["scope"] == "repository:team/app:delete"
        assert refusal(Registry(alice.username, by="basic").ask("DELETE", f"/v2/team/app/{path}")) == (403, "DENIED")


def test_a_mount_never_asks_for_its_source(alice, registry):
    digest = registry.push_blob("team/base", b"shared")
    answer = registry.once("POST", f"/v2/team/app/blobs/uploads/?mount={digest}&from=team/base", b"", "", {})
    assert "team/base" not in answer["WWW-Authenticate"]


def test_cookies_never_authenticate(client, root):
    client.force_login(root)
    assert client.get("/v2/").status_code == 401
    assert client.get("/v2/_catalog").status_code == 401


@pytest.mark.parametrize("path", ["/v2/", "/v2/team/app/manifests/x", "/v2/no/such/route", "/v2"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
def test_every_answer_carries_the_registrys_headers(method, path, owner):
    answer = owner.ask(method, path)
    assert answer["Docker-Distribution-Api-Version"] == "registry/2.0"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in answer["Content-Security-Policy"]
    assert not answer.cookies
    assert "Vary" not in answer.headers


@pytest.mark.parametrize("path", ["/v2/nowhere", "/v2/team/app/", "/v2/team/app/tags", "/v2/a/blobs/uploads/b/c"])
def test_an_unknown_route_is_404_in_the_envelope_and_no_redirect(path, owner):
    assert refusal(owner.ask("GET", path)) == (404, "NAME_UNKNOWN")
    assert owner.ask("HEAD", path).content == b""


ALLOWED = {
    "/v2/": "GET, HEAD",
    "/v2/_catalog": "GET, HEAD",
    "/v2/team/app/tags/list": "GET, HEAD",
    f"/v2/team/app/referrers/{DIGEST}": "GET, HEAD",
    f"/v2/team/app/blobs/{DIGEST}": "GET, DELETE, HEAD",
    "/v2/team/app/manifests/latest": "GET, PUT, DELETE, HEAD",
    "/v2/team/app/blobs/uploads/": "POST",
    UPLOAD: "GET, PUT, PATCH, DELETE, HEAD",
}


@pytest.mark.parametrize("path", ALLOWED)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"])
def test_a_method_that_a_route_does_not_have_is_405_with_those_it_has(method, path, root):
    allowed = set(ALLOWED[path].split(", "))
    answer = Registry(root.username, by="basic").ask(method, path)
    if method in allowed:
        assert answer.status_code != 405
    else:
        assert answer.status_code == 405
        assert answer.content == b"" if method == "HEAD" else refusal(answer) == (405, "UNSUPPORTED")
        assert set(answer["Allow"].split(", ")) == allowed


def test_the_table_of_methods_above_has_every_route():
    distribution = next(entry for entry in get_resolver().url_patterns if str(entry.pattern) == "v2/")
    assert len(ALLOWED) == len(distribution.url_patterns)


def test_no_transaction_spans_a_request():
    """Bytes move for hours; a database would wait as long."""
    assert not connection.settings_dict["ATOMIC_REQUESTS"]


def test_a_refused_host_is_answered_in_the_envelope(anonymous, settings):
    settings.ALLOWED_HOSTS = ["registry.example.com"]
    answer = anonymous.once("GET", "/v2/", b"", "", {"Host": "evil.example.com"})
    assert refusal(answer) == (400, "UNSUPPORTED")
    assert "REGISTRY_ALLOWED_HOSTS" in answer.json()["errors"][0]["message"]
    assert answer["Docker-Distribution-Api-Version"] == "registry/2.0"


def test_too_many_failed_logins_are_429_with_the_seconds_to_wait(anonymous, alice, settings):
    settings.REGISTRY_LOGIN_FAILURES_PER_MINUTE = 2
    wrong = basic(alice.username, "wrong")
    for _ in range(2):
        assert refusal(anonymous.once("GET", "/v2/", b"", wrong, {})) == (401, "UNAUTHORIZED")
    answer = anonymous.once("GET", "/v2/", b"", wrong, {})
    assert refusal(answer) == (429, "TOOMANYREQUESTS")
    assert 0 < int(answer["Retry-After"]) <= 61


def test_a_fault_of_ours_is_500_in_the_envelope_and_tells_nothing(registry, monkeypatch):
    def fail(*_: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr("manifests.services.find", fail)
    answer = registry.pull_manifest("team/app", "v1")
    assert refusal(answer) == (500, "UNKNOWN")
    assert b"secret" not in answer.content
    assert answer["Docker-Distribution-Api-Version"] == "registry/2.0"


@pytest.mark.parametrize(("number", "status"), [(5, 503), (28, 507), (122, 507)])  # EIO, ENOSPC, EDQUOT
@pytest.mark.usefixtures("blob_directory")
def test_storage_that_fails_is_a_reason_to_come_back_later(number, status, registry, monkeypatch):
    def fail(*_: object) -> None:
        raise OSError(number, "the disk says no", "/secret/path")

    location = registry.open_upload("team/app")
    monkeypatch.setattr("storage.filesystem.FileWriter.append", fail)
    answer = registry.ask("PATCH", location, b"bytes")
    assert refusal(answer) == (status, "UNAVAILABLE")
    assert int(answer["Retry-After"]) >= 1
    assert b"secret" not in answer.content
    monkeypatch.undo()
    assert registry.ask("GET", location)["Range"] == "0-0"
    assert registry.ask("PATCH", location, b"bytes")["Range"] == "0-4"


def test_a_database_that_fails_is_503(registry, monkeypatch):
    def fail(*_: object) -> None:
        raise OperationalError("secret")

    monkeypatch.setattr("manifests.services.find", fail)
    answer = registry.pull_manifest("team/app", "v1")
    assert refusal(answer) == (503, "UNAVAILABLE")
    assert answer["Retry-After"] == "2"
    assert b"secret" not in answer.content
