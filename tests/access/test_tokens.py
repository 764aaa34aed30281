"""What a bearer token says, and when it is believed."""

import time
from datetime import timedelta

import jwt
import pytest
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from access import revocations, tokens
from oci.errors import Unauthorized
from oci.scopes import Scope

PUSH = Scope.parse("repository:team/app:pull,push")


@pytest.fixture(autouse=True)
def nothing_revoked(monkeypatch):
    """These tests are about what a token says; the table has its own."""
    monkeypatch.setattr(revocations, "current", revocations.Revoked)


def claims(token: str) -> dict:
    return jwt.decode(token, options={"verify_signature": False})


def forge(settings, *, key=None, algorithm="HS256", **changes) -> str:
    said = claims(tokens.issue("user:1", [PUSH], timezone.now())) | changes
    said = {name: value for name, value in said.items() if value is not None}
    return jwt.encode(said, settings.REGISTRY_TOKEN_KEY if key is None else key, algorithm)


def test_a_token_says_whose_it_is_and_what_it_allows(settings):
    token = tokens.issue("user:1", [PUSH], timezone.now())
    assert tokens.accept(token).subject == "user:1"
    assert tokens.accept(token).scopes == (PUSH,)
    assert claims(token)["access"] == [{"type": "repository", "name": "team/app", "actions": ["pull", "push"]}]
    assert claims(token)["iss"] == claims(token)["aud"] == settings.REGISTRY_SERVICE


def test_the_moment_of_issue_is_kept_in_milliseconds_and_never_rounded_up():
    moment = timezone.now().replace(microsecond=123_987)
    token = tokens.issue("user:1", [], moment)
    assert claims(token)["iat"] == pytest.approx(int(moment.timestamp()) + 0.123, abs=1e-6)
    assert tokens.accept(token).issued_at < moment.timestamp()


def test_two_tokens_are_never_the_same():
    moment = timezone.now()
    assert tokens.issue("user:1", [PUSH], moment) != tokens.issue("user:1", [PUSH], moment)


def test_a_token_lives_as_long_as_the_setting_says_and_not_a_second_longer(settings, monkeypatch):
    settings.REGISTRY_TOKEN_LIFETIME = 100
    token = tokens.issue("user:1", [PUSH], timezone.now())
    tokens.accept(token)
    later = int(time.time()) + 100
    monkeypatch.setattr(time, "time", lambda: later - 1)
    tokens.accept(token)
    monkeypatch.setattr(time, "time", lambda: later + 1)
    with pytest.raises(Unauthorized, match="expired"):
        tokens.accept(token)


def test_a_database_whose_clock_is_ahead_does_not_make_tokens_too_young():
    tokens.accept(tokens.issue("user:1", [PUSH], timezone.now() + timedelta(minutes=2)))


def test_a_token_signed_with_another_key_is_refused(settings):
    with pytest.raises(Unauthorized):
        tokens.accept(forge(settings, key="x" * 64))


def test_a_token_of_a_key_that_was_replaced_is_refused_although_it_was_verified_before(settings):
    token = tokens.issue("user:1", [PUSH], timezone.now())
    tokens.accept(token)
    settings.REGISTRY_TOKEN_KEY = "y" * 64
    with pytest.raises(Unauthorized):
        tokens.accept(token)


def test_an_unsigned_token_and_another_algorithm_are_refused(settings):
    for token in (forge(settings, key="", algorithm="none"), forge(settings, algorithm="HS512")):
        with pytest.raises(Unauthorized):
            tokens.accept(token)


@pytest.mark.parametrize("claim", ["iss", "aud", "sub", "iat", "exp", "jti"])
def test_a_token_without_one_of_its_claims_is_refused(settings, claim):
    with pytest.raises(Unauthorized):
        tokens.accept(forge(settings, **{claim: None}))


@pytest.mark.parametrize("claim", ["iss", "aud"])
def test_a_token_for_another_service_is_refused(settings, claim):
    with pytest.raises(Unauthorized):
        tokens.accept(forge(settings, **{claim: "elsewhere"}))


def test_a_changed_token_is_refused():
    head, body, signature = tokens.issue("user:1", [PUSH], timezone.now()).split(".")
    for changed in (f"{head}.{body}x.{signature}", f"{head}.{body}.{signature[:-4]}AAAA", f"{head}.{body}.", body):
        with pytest.raises(Unauthorized):
            tokens.accept(changed)


@given(st.text(max_size=300) | st.from_regex(r"[A-Za-z0-9_-]{1,99}\.[A-Za-z0-9_-]{1,99}\.[A-Za-z0-9_-]{1,99}"))
def test_no_text_but_a_token_is_accepted_and_none_is_an_accident(text):
    with pytest.raises(Unauthorized):
        tokens.accept(text)


@pytest.mark.parametrize(
    "head",
    [
        "[" * 6000,
        '{"alg":["HS256"]}',
        '{"alg":{}}',
        '{"alg":"HS256","crit":["b64"],"b64":false}',
        '{"alg":"HS256","kid":7}',
        '{"alg":' + "9" * 5000 + "}",
        '{"alg":"HS256","typ":"\\ud800"}',
        "\0",
        "null",
        '"HS256"',
    ],
)
def test_a_hostile_header_of_a_token_is_refused_like_any_other(head):
    encoded = jwt.utils.base64url_encode(head.encode()).decode()
    with pytest.raises(Unauthorized):
        tokens.accept(f"{encoded}.e30.AAAA")


def test_the_tokens_that_a_process_remembers_are_bounded():
    tokens._verified.cache_clear()
    for number in range(tokens.REMEMBERED + 50):
        tokens.accept(tokens.issue(f"user:{number}", [], timezone.now()))
    assert tokens._verified.cache_info().currsize == tokens.REMEMBERED


def test_garbage_takes_no_place_among_the_remembered_tokens():
    tokens._verified.cache_clear()
    for number in range(20):
        with pytest.raises(Unauthorized):
            tokens.accept(f"garbage{number}")
    assert tokens._verified.cache_info().currsize == 0


@pytest.mark.parametrize("access", ["x", [1], [{}], [{"type": "repository"}], 7, None])
def test_a_token_whose_scopes_have_another_form_is_foreign(settings, access):
    with pytest.raises(Unauthorized):
        tokens.accept(forge(settings, access=access))
