"""Logins: what they cost, who is counted, and what is remembered."""

import logging
import threading
import time

import pytest
from django.contrib.auth import hashers
from django.db import connection

from access import failures, passwords
from access.models import User
from oci.errors import RegistryError, TooManyRequests, Unauthorized, Unavailable
from tests.access.conftest import PASSWORD, basic
from tests.server import wait_until

HERE, ELSEWHERE = "192.0.2.1", "192.0.2.2"


@pytest.fixture
def hashings(monkeypatch) -> list[str]:
    """The user names whose passwords were hashed, each hash taking a moment."""
    checked: list[str] = []
    inner = passwords.authenticate

    def authenticate(username, password):
        checked.append(username)
        time.sleep(0.1)
        return inner(username=username, password=password)

    monkeypatch.setattr(passwords, "authenticate", authenticate)
    return checked


def fail(username="bob", password="guess", address=HERE) -> None:
    with pytest.raises(Unauthorized):
        passwords.log_in(username, password, address)


def all_at_once(count, call) -> list:
    """What each of `count` threads got or raised, all let go at the same moment."""
    start, results = threading.Barrier(count), []

    def run():
        start.wait()
        try:
            results.append(call())
        except RegistryError as problem:
            results.append(problem)
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


# --- what is remembered -----------------------------------------------------------------------------------------------


def test_a_success_is_remembered_for_a_minute(bob, hashings, monkeypatch):
    assert passwords.log_in("bob", PASSWORD, HERE) == passwords.log_in("bob", PASSWORD, ELSEWHERE) == bob
    assert hashings == ["bob"]
    later = time.monotonic() + passwords.REMEMBERED_FOR
    monkeypatch.setattr(time, "monotonic", lambda: later)
    passwords.log_in("bob", PASSWORD, HERE)
    assert hashings == ["bob", "bob"]


def test_a_remembered_success_is_void_once_the_password_changes(bob):
    passwords.log_in("bob", PASSWORD, HERE)
    bob.set_password("another one")
    bob.save()
    fail("bob", PASSWORD)
    assert passwords.log_in("bob", "another one", HERE) == bob


def test_a_remembered_success_is_void_once_the_user_is_disabled_or_gone(bob):
    passwords.log_in("bob", PASSWORD, HERE)
    User.objects.filter(pk=bob.pk).update(is_active=False)
    fail("bob", PASSWORD)
    User.objects.filter(pk=bob.pk).update(is_active=True)
    passwords.log_in("bob", PASSWORD, HERE)
    bob.delete()
    fail("bob", PASSWORD)


def test_a_remembered_success_is_no_success_for_another_split_of_the_same_characters(db):
    User.objects.create_user("ab", password="cd")
    passwords.log_in("ab", "cd", HERE)
    fail("abc", "d")
    fail("a", "bcd")


def test_no_password_and_no_plain_hash_of_one_is_kept(bob):
    from hashlib import sha256

    passwords.log_in("bob", PASSWORD, HERE)
    kept = repr(passwords._successes)
    assert PASSWORD not in kept
    assert sha256(f"3:bob{PASSWORD}".encode()).hexdigest() not in kept


def test_what_is_remembered_is_bounded(bob, monkeypatch):
    monkeypatch.setattr(passwords, "REMEMBERED", 3)
    for number in range(10):
        User.objects.create_user(f"user{number}", password="x")
        passwords.log_in(f"user{number}", "x", HERE)
    assert len(passwords._successes) == 3


# --- together ---------------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_twelve_identical_logins_at_once_hash_once(hashings):
    bob = User.objects.create_user("bob", password=PASSWORD)
    assert all_at_once(12, lambda: passwords.log_in("bob", PASSWORD, HERE)) == [bob] * 12
    assert hashings == ["bob"]


@pytest.mark.django_db(transaction=True)
def test_twelve_identical_wrong_logins_at_once_hash_once_and_count_once(hashings, settings):
    settings.REGISTRY_LOGIN_FAILURES_PER_MINUTE = 2
    refused = all_at_once(12, lambda: passwords.log_in("bob", "guess", HERE))
    assert [type(problem) for problem in refused] == [Unauthorized] * 12
    assert hashings == ["bob"]
    failures.refuse_if_too_many(HERE, "bob")


@pytest.mark.django_db(transaction=True)
def test_a_process_hashes_one_password_at_a_time(monkeypatch):
    running, most = [], []

    def authenticate(username, password):
        running.append(username)
        most.append(len(running))
        time.sleep(0.05)
        running.pop()

    monkeypatch.setattr(passwords, "authenticate", authenticate)
    names = iter(["a", "b", "c", "d"])
    all_at_once(4, lambda: passwords.log_in(next(names), "x", HERE))
    assert most == [1, 1, 1, 1]


def test_whoever_waits_too_long_for_a_turn_is_told_to_come_back(db, monkeypatch):
    monkeypatch.setattr(passwords, "PATIENCE", 0.01)
    with passwords._hashing, pytest.raises(Unavailable):
        passwords.log_in("bob", PASSWORD, HERE)
    assert not passwords._waiting


@pytest.mark.django_db(transaction=True)
def test_only_a_quarter_of_the_threads_wait_for_hashes_and_the_rest_are_told_at_once(hashings, settings):
    places, names = settings.REGISTRY_THREADS // 4, iter(range(1000))
    with passwords._hashing:  # somebody's takes long
        told: list = []
        waiting = threading.Thread(target=lambda: told.extend(all_at_once(places + 20, log_in_as(names))))
        waiting.start()
        wait_until(lambda: len(passwords._waiting) == places)
        time.sleep(0.2)
        assert len(passwords._waiting) == places
        with pytest.raises(Unavailable) as refused:
            passwords.log_in("one more", PASSWORD, HERE)
        assert refused.value.retry_after
    waiting.join()
    assert [type(problem) for problem in told].count(Unavailable) == 20
    assert len(hashings) == places
    assert len(set(hashings)) == places
    fail()  # there is room again


def log_in_as(names):
    return lambda: passwords.log_in(f"user{next(names)}", PASSWORD, HERE)


@pytest.mark.django_db(transaction=True)
def test_a_remembered_success_needs_no_place_among_those_who_wait(monkeypatch):
    bob = User.objects.create_user("bob", password=PASSWORD)
    passwords.log_in("bob", PASSWORD, HERE)
    monkeypatch.setattr(passwords, "_places", threading.Semaphore(0))
    assert passwords.log_in("bob", PASSWORD, HERE) == bob


@pytest.mark.django_db(transaction=True)
def test_guesses_that_queued_up_before_the_limit_was_reached_are_not_hashed_after_it(hashings, settings):
    settings.REGISTRY_LOGIN_FAILURES_PER_MINUTE = 3
    guesses = iter(range(10))
    problems = all_at_once(10, lambda: passwords.log_in("bob", f"guess{next(guesses)}", HERE))
    assert len(hashings) == 3
    assert sorted(type(problem).__name__ for problem in problems) == ["TooManyRequests"] * 7 + ["Unauthorized"] * 3


def test_a_failed_check_leaves_nobody_waiting(bob, monkeypatch):
    def broken(**_):
        raise RuntimeError

    with monkeypatch.context() as patched:
        patched.setattr(passwords, "authenticate", broken)
        with pytest.raises(RuntimeError):
            passwords.log_in("bob", PASSWORD, HERE)
    assert passwords.log_in("bob", PASSWORD, HERE) == bob


# --- what it tells ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["unknown", "wrong password", "disabled", "no usable password"])
def test_every_refused_login_costs_one_hash_whoever_it_names(bob, monkeypatch, who):
    if who == "disabled":
        User.objects.update(is_active=False)
    if who == "no usable password":
        User.objects.update(password=hashers.make_password(None))
    hashed = []
    inner = hashers.MD5PasswordHasher.encode
    monkeypatch.setattr(hashers.MD5PasswordHasher, "encode", lambda *args: hashed.append(args) or inner(*args))
    name, password = {"unknown": ("nobody", "guess"), "disabled": ("bob", PASSWORD)}.get(who, ("bob", "guess"))
    fail(name, password)
    assert len(hashed) == 1


def test_a_password_is_never_logged(client, bob, caplog):
    with caplog.at_level(logging.DEBUG):
        for secret in (PASSWORD, "a wrong secret"):
            client.get("/token", headers=basic("bob", secret))
            client.get("/v2/", headers=basic("bob", secret))
            form = f"grant_type=password&username=bob&password={secret}"
            client.generic("POST", "/token", form, "application/x-www-form-urlencoded")
    assert PASSWORD not in caplog.text
    assert "secret" not in caplog.text


def test_a_password_is_not_in_the_report_of_an_accident(rf, bob, monkeypatch):
    """Django mails such reports to the administrators; locals of our functions are in them."""
    from django.views.debug import SafeExceptionReporterFilter

    from access import credentials

    def broken(**_):
        raise RuntimeError

    monkeypatch.setattr(passwords, "authenticate", broken)
    with pytest.raises(RuntimeError) as raised:
        credentials.read(basic("bob")["Authorization"], HERE)
    shown, traceback = [], raised.tb
    reporter = SafeExceptionReporterFilter()
    while traceback:
        if traceback.tb_frame.f_globals["__name__"].startswith("access."):
            shown.append(reporter.get_traceback_frame_variables(rf.get("/"), traceback.tb_frame))
        traceback = traceback.tb_next
    assert len(shown) >= 4
    assert PASSWORD not in repr(shown)
    assert basic("bob")["Authorization"].split()[1] not in repr(shown)


def test_a_name_with_a_nul_is_refused_without_a_question_to_the_database(db, django_assert_num_queries):
    with django_assert_num_queries(0):
        fail("bob\0", PASSWORD)


# --- the limit --------------------------------------------------------------------------------------------------------


def test_failures_of_a_name_from_an_address_reach_a_limit_that_says_when_to_return(client, bob, settings):
    settings.REGISTRY_LOGIN_FAILURES_PER_MINUTE = 3
    for _ in range(3):
        assert client.get("/token", headers=basic("bob", "guess")).status_code == 401
    refused = client.get("/token", headers=basic("bob"))
    assert refused.status_code == 429
    assert refused.json()["errors"][0]["code"] == "TOOMANYREQUESTS"
    assert 1 <= int(refused.headers["Retry-After"]) <= 61
    assert client.get("/v2/", headers=basic("bob")).status_code == 429


def test_the_limit_is_over_when_the_failures_are_a_minute_old(bob, settings, monkeypatch):
    settings.REGISTRY_LOGIN_FAILURES_PER_MINUTE = 1
    fail()
    with pytest.raises(TooManyRequests) as refused:
        passwords.log_in("bob", PASSWORD, HERE)
    later = time.monotonic() + refused.value.retry_after
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert passwords.log_in("bob", PASSWORD, HERE) == bob


def test_nobody_is_locked_out_by_failures_from_another_address(bob, settings):
    settings.REGISTRY_LOGIN_FAILURES_PER_MINUTE = 1
    fail(address=ELSEWHERE)
    assert passwords.log_in("bob", PASSWORD, HERE) == bob


def test_a_remembered_success_passes_while_the_limit_is_reached(bob, settings):
    settings.REGISTRY_LOGIN_FAILURES_PER_MINUTE = 1
    passwords.log_in("bob", PASSWORD, HERE)
    fail()
    assert passwords.log_in("bob", PASSWORD, HERE) == bob


def test_successes_never_count(bob, settings, hashings):
    settings.REGISTRY_LOGIN_FAILURES_PER_MINUTE = 1
    for _ in range(5):
        passwords.forget()
        passwords.log_in("bob", PASSWORD, HERE)
    assert len(hashings) == 5


def test_an_address_that_tries_many_names_reaches_a_limit_too(db, settings):
    settings.REGISTRY_LOGIN_FAILURES_PER_MINUTE = 2
    for number in range(2 * failures.NAMES_OF_AN_ADDRESS):
        fail(f"name{number}")
    with pytest.raises(TooManyRequests):
        passwords.log_in("another", "guess", HERE)


def test_all_addresses_of_one_ipv6_customer_count_as_one(db, settings):
    settings.REGISTRY_LOGIN_FAILURES_PER_MINUTE = 1
    fail(address="2001:db8::1")
    with pytest.raises(TooManyRequests):
        passwords.log_in("bob", "guess", "2001:db8::2")
    fail(address="2001:db8:0:1::1")


@pytest.mark.parametrize("address", ["", "unix", "fe80::1%eth0", "::ffff:192.0.2.1"])
def test_an_address_of_any_form_is_counted(db, settings, address):
    settings.REGISTRY_LOGIN_FAILURES_PER_MINUTE = 1
    fail(address=address)
    with pytest.raises(TooManyRequests):
        passwords.log_in("bob", "guess", address)


def test_an_empty_name_is_counted_like_any_other(db, settings):
    settings.REGISTRY_LOGIN_FAILURES_PER_MINUTE = 1
    fail("")
    with pytest.raises(TooManyRequests):
        passwords.log_in("", "guess", HERE)
    fail("bob")


def test_the_failures_that_are_remembered_are_bounded(monkeypatch):
    monkeypatch.setattr(failures, "KEYS", 10)
    for number in range(100):
        failures.count(f"192.0.2.{number}", "bob")
    assert len(failures._failures) == 10
