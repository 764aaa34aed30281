"""What ends a token before its time, and how soon every process knows."""

import threading
import time
from datetime import timedelta

import pytest
from django.contrib.auth import hashers
from django.contrib.auth.models import Group
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from access import passwords, revocations, services, tokens
from access.models import RefreshToken, Revocation, User
from oci.errors import Unauthorized, Unavailable
from oci.scopes import Scope
from tests.access.conftest import PASSWORD, basic, bearer, fetch_token, permitted

APP = Scope.parse("repository:team/app:pull")


def token_of(user: User, *scopes: Scope) -> str:
    """A token that is a moment old."""
    return tokens.issue(user.subject, scopes, timezone.now() - timedelta(milliseconds=5))


def is_void(token: str) -> bool:
    try:
        tokens.accept(token)
    except Unauthorized as problem:
        return "revoked" in problem.message
    return False


# --- what writes a revocation -----------------------------------------------------------------------------------------


def set_password(user):
    user.set_password("another one")
    user.save()


def set_password_alone(user):
    user.set_password("another one")
    user.save(update_fields=["password"])


def assign_hash(user):
    user.password = hashers.make_password("another one")
    user.save()


def make_unusable(user):
    user.set_unusable_password()
    user.save(update_fields=["password"])


def disable(user):
    user.is_active = False
    user.save()


def disable_alone(user):
    user.is_active = False
    user.save(update_fields=["is_active"])


def delete(user):
    user.delete()


def delete_selected(user):
    User.objects.filter(pk=user.pk).delete()


def revoke(user):
    services.revoke(user.subject)


ENDINGS = [
    set_password,
    set_password_alone,
    assign_hash,
    make_unusable,
    disable,
    disable_alone,
    delete,
    delete_selected,
    revoke,
]


@pytest.mark.parametrize("end", ENDINGS)
def test_tokens_and_refresh_tokens_end_with(client, bob, charlie, end):
    token, other = token_of(bob), token_of(charlie)
    refresh = services.issue_refresh_token(bob, "docker")
    services.issue_refresh_token(charlie, "docker")
    end(bob)
    assert is_void(token)
    assert not is_void(other)
    with pytest.raises(Unauthorized):
        services.use_refresh_token(refresh)
    assert RefreshToken.objects.count() == 1


def rename(user):
    user.username = "robert"
    user.save()


def note_login(user):
    client_login = timezone.now()
    user.last_login = client_login
    user.save(update_fields=["last_login"])


def enable(user):
    User.objects.filter(pk=user.pk).update(is_active=False)
    user.is_active = True
    user.save()


def give_rights(user):
    user.is_superuser = True
    user.groups.add(Group.objects.create(name="some"))
    user.save()


def unsaved_fields(user):
    user.set_password("never saved")
    user.is_active = False
    user.save(update_fields=["email"])


@pytest.mark.parametrize("change", [rename, note_login, enable, give_rights, unsaved_fields])
def test_tokens_do_not_end_with(bob, change):
    token = token_of(bob)
    change(bob)
    assert not is_void(token)
    assert not Revocation.objects.exists()


def test_a_stronger_hash_of_the_same_password_ends_nothing(bob, settings):
    token, old = token_of(bob), bob.password
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.PBKDF2SHA1PasswordHasher", *settings.PASSWORD_HASHERS]
    assert passwords.log_in("bob", PASSWORD, "192.0.2.1").password != old
    assert not is_void(token)
    assert not Revocation.objects.exists()


def test_a_new_user_revokes_nothing(db):
    permitted("dora")
    assert not Revocation.objects.exists()


def test_a_user_and_the_revocation_are_saved_together_or_not_at_all(bob, monkeypatch):
    def broken(subject):
        raise DatabaseError

    monkeypatch.setattr(services, "revoke", broken)
    with pytest.raises(DatabaseError):
        set_password(bob)
    assert User.objects.get(pk=bob.pk).check_password(PASSWORD)


@pytest.mark.django_db(transaction=True)
def test_what_was_issued_while_the_change_was_being_saved_is_void_too():
    bob = permitted("bob")
    with transaction.atomic():
        set_password(bob)
        time.sleep(0.01)
        during = tokens.issue(bob.subject, [], timezone.now())
        time.sleep(0.01)
    assert is_void(during)


def test_no_refresh_token_is_made_from_a_password_that_has_just_changed(bob):
    read_before = User.objects.get(pk=bob.pk)
    set_password(bob)
    with pytest.raises(Unauthorized):
        services.issue_refresh_token(read_before, "docker")
    assert not RefreshToken.objects.exists()


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has one writer at a time")
@pytest.mark.django_db(transaction=True)
def test_no_refresh_token_is_made_behind_the_back_of_a_password_that_is_being_changed():
    bob, changing, tried = permitted("bob"), threading.Event(), []

    def make_one():
        changing.wait()
        try:
            tried.append(services.issue_refresh_token(User.objects.get(pk=bob.pk), "docker"))
        except Unauthorized as problem:
            tried.append(problem)
        finally:
            connection.close()

    thread = threading.Thread(target=make_one)
    thread.start()
    with transaction.atomic():
        set_password(bob)
        changing.set()
        thread.join(0.5)
        assert thread.is_alive()  # it waits for the row
    thread.join()
    assert isinstance(tried[0], Unauthorized)
    assert not RefreshToken.objects.exists()


def test_a_token_that_was_issued_afterwards_is_good(client, bob):
    set_password(bob)
    time.sleep(0.002)
    answer = client.get("/token", headers=basic("bob", "another one"))
    assert not is_void(answer.json()["token"])


def test_a_token_of_the_very_millisecond_of_a_revocation_is_void(bob):
    services.revoke(bob.subject)
    assert is_void(tokens.issue(bob.subject, [], Revocation.objects.get().revoked_at))


# --- refresh tokens one by one ----------------------------------------------------------------------------------------


def test_one_refresh_token_is_revoked_and_the_others_of_its_user_go_on(bob):
    lost, kept = services.issue_refresh_token(bob, "laptop"), services.issue_refresh_token(bob, "server")
    token = token_of(bob)
    services.revoke_refresh_tokens(RefreshToken.objects.filter(client_id="laptop"))
    assert is_void(token)
    assert services.use_refresh_token(kept) == bob
    with pytest.raises(Unauthorized):
        services.use_refresh_token(lost)


# --- repositories -----------------------------------------------------------------------------------------------------


def test_a_revoked_repository_is_out_of_the_tokens_that_had_it_and_the_rest_of_them_stays(bob):
    other = Scope.parse("repository:team/other:pull")
    catalog = Scope("registry", APP.name, frozenset("*"))
    token = token_of(bob, APP, other, catalog)
    services.revoke_repository(APP.name)
    assert tokens.accept(token).scopes == (other, catalog)
    time.sleep(0.002)
    assert tokens.accept(tokens.issue(bob.subject, [APP], timezone.now())).scopes == (APP,)


def test_a_client_whose_repository_was_deleted_is_told_to_fetch_a_new_token(client, bob):
    token = fetch_token(client, "repository:team/app:pull", username="bob")
    time.sleep(0.002)
    services.revoke_repository("team/app")
    refused = client.get("/v2/team/app/manifests/latest", headers=bearer(token))
    assert refused.status_code == 401
    assert 'error="insufficient_scope"' in refused.headers["WWW-Authenticate"]


# --- how soon ---------------------------------------------------------------------------------------------------------


def test_a_token_of_a_changed_password_is_refused_within_the_second(client, bob):
    """Here in the process that changed it: at once."""
    token = fetch_token(client, username="bob")
    assert client.get("/v2/", headers=bearer(token)).status_code == 200
    time.sleep(0.002)
    set_password(bob)
    refused = client.get("/v2/", headers=bearer(token))
    assert refused.status_code == 401
    assert 'error="invalid_token"' in refused.headers["WWW-Authenticate"]


def test_another_process_sees_a_revocation_after_a_second(bob, monkeypatch):
    token = token_of(bob)
    assert not is_void(token)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(revocations, "forget", lambda: None)
        set_password(bob)
    began = revocations._read_at
    monkeypatch.setattr(time, "monotonic", lambda: began + 0.9)
    assert not is_void(token)
    monkeypatch.setattr(time, "monotonic", lambda: began + 1.0)
    assert is_void(token)


def test_the_table_is_read_once_a_second_however_many_ask(bob, django_assert_num_queries):
    token = token_of(bob)
    with django_assert_num_queries(1):
        for _ in range(50):
            tokens.accept(token)


def test_without_the_database_nobody_is_let_in_on_old_news(client, bob, monkeypatch):
    token = fetch_token(client, username="bob")
    assert client.get("/v2/", headers=bearer(token)).status_code == 200
    revocations.forget()

    def broken(*_):
        raise DatabaseError

    with connection.execute_wrapper(broken):
        refused = client.get("/v2/", headers=bearer(token))
    assert refused.status_code == 503
    assert refused.json()["errors"][0]["code"] == "UNAVAILABLE"
    assert refused.headers["Retry-After"]
    assert client.get("/v2/", headers=bearer(token)).status_code == 200


@pytest.mark.django_db(transaction=True)
def test_those_who_waited_for_a_read_that_failed_do_not_read_again_themselves(monkeypatch):
    reads = []

    def filter_slowly(**_):
        reads.append(time.monotonic())
        time.sleep(0.3)
        raise DatabaseError

    monkeypatch.setattr(Revocation.objects, "filter", filter_slowly)
    start, refused = threading.Barrier(12), []

    def ask():
        start.wait()
        with pytest.raises(Unavailable):
            revocations.current()
        refused.append(time.monotonic())

    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 12
    assert len(reads) == 1
    with pytest.raises(Unavailable):  # but whoever comes later asks
        revocations.current()
    assert len(reads) == 2


def test_nobody_waits_for_a_database_that_hangs(bob, monkeypatch):
    monkeypatch.setattr(revocations, "PATIENCE", 0.01)
    with revocations._reading, pytest.raises(Unavailable):
        tokens.accept(token_of(bob))


# --- the table --------------------------------------------------------------------------------------------------------


def test_a_row_lives_at_least_as_long_as_the_tokens_it_voids(bob, settings):
    services.revoke(bob.subject)
    row = Revocation.objects.get()
    assert row.expires_at >= timezone.now() + timedelta(seconds=settings.REGISTRY_TOKEN_LIFETIME)


def test_rows_that_no_token_needs_are_cleared_away_and_no_longer_read(bob):
    services.revoke("user:9")
    Revocation.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    revocations.forget()
    assert not revocations.current().subjects
    services.revoke(bob.subject)
    assert Revocation.objects.count() == 1


def test_a_name_that_is_revoked_twice_has_one_row_with_the_later_moment(bob):
    services.revoke(bob.subject)
    first = Revocation.objects.get().revoked_at
    time.sleep(0.002)
    services.revoke(bob.subject)
    assert Revocation.objects.get().revoked_at > first


# --- the ways of the admin and the command line -----------------------------------------------------------------------


@pytest.fixture
def staff(client, alice):
    client.force_login(alice)
    return client


def test_the_user_page_of_the_admin_ends_tokens_when_it_disables_a_user(staff, bob):
    token = token_of(bob)
    form = {"username": "bob", "date_joined_0": "2026-01-01", "date_joined_1": "00:00"}
    assert staff.post(f"/admin/access/user/{bob.pk}/change/", form, format="multipart").status_code == 302
    assert not User.objects.get(pk=bob.pk).is_active
    assert is_void(token)


def test_the_password_page_of_the_admin_ends_tokens(staff, bob):
    token = token_of(bob)
    form = {"usable_password": "true", "password1": "Tr0ub4dor&3x", "password2": "Tr0ub4dor&3x"}
    assert staff.post(f"/admin/access/user/{bob.pk}/password/", form, format="multipart").status_code == 302
    assert User.objects.get(pk=bob.pk).check_password("Tr0ub4dor&3x")
    assert is_void(token)


def test_delete_selected_in_the_admin_ends_tokens(staff, bob, charlie):
    held = [token_of(bob), token_of(charlie)]
    form = {"action": "delete_selected", "_selected_action": [bob.pk, charlie.pk], "post": "yes"}
    assert staff.post("/admin/access/user/", form, format="multipart").status_code == 302
    assert User.objects.count() == 1
    assert all(is_void(token) for token in held)


def test_deleting_refresh_tokens_in_the_admin_logs_those_clients_out(staff, bob):
    lost, kept = services.issue_refresh_token(bob, "laptop"), services.issue_refresh_token(bob, "server")
    token = token_of(bob)
    assert "laptop" in staff.get("/admin/access/refreshtoken/").content.decode()
    row = RefreshToken.objects.get(client_id="laptop")
    form = {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes"}
    assert staff.post("/admin/access/refreshtoken/", form, format="multipart").status_code == 302
    assert is_void(token)
    assert services.use_refresh_token(kept) == bob
    with pytest.raises(Unauthorized):
        services.use_refresh_token(lost)
    row = RefreshToken.objects.get(client_id="server")
    assert staff.post(f"/admin/access/refreshtoken/{row.pk}/delete/", {"post": "yes"}).status_code == 302
    assert not RefreshToken.objects.exists()


def test_changepassword_on_the_command_line_ends_tokens(bob, monkeypatch):
    token = token_of(bob)
    monkeypatch.setattr("getpass.getpass", lambda prompt: "Tr0ub4dor&3x")
    call_command("changepassword", "bob", verbosity=0)
    assert is_void(token)
