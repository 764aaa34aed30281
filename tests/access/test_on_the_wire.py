"""Logging in to the real server: what no test client can show."""

import base64
import json
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from access.views import FORM_WITHIN
from tests.server import ROOT, Server

PASSWORD = "admin-password-of-a-test"
BASIC = {"Authorization": "Basic " + base64.b64encode(f"admin:{PASSWORD}".encode()).decode()}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    data = tmp_path_factory.mktemp("access") / "data"
    # Every refusal that these tests provoke comes from one address.
    environment: dict[str, str | None] = {"REGISTRY_WORKERS": "2", "REGISTRY_LOGIN_FAILURES_PER_MINUTE": "100"}
    with Server(data, environment, admin_password=PASSWORD) as running:
        yield running


def request(server: Server, method: str, path: str, headers: dict, body=None) -> tuple[int, dict, dict]:
    connection = server.connection()
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read() or b"{}"), dict(answer.headers)
    finally:
        connection.close()


def test_podman_sends_the_form_of_its_refresh_token_in_chunks(server):
    _, fields, _ = request(server, "GET", "/token?offline_token=true&client_id=docker", BASIC)
    form = urlencode(
        {"grant_type": "refresh_token", "refresh_token": fields["refresh_token"], "scope": "repository:a:*"}
    )
    chunks = (form[start : start + 7].encode() for start in range(0, len(form), 7))
    status, fields, _ = request(server, "POST", "/token", FORM, chunks)
    assert status == 200
    assert fields["scope"] == "repository:a:delete,pull,push"
    # Little more than is accepted: the server need not read on, and cuts off whoever goes on sending.
    too_long = (b"x" * 8192 for _ in range(9))
    assert request(server, "POST", "/token", FORM, too_long)[0] == 413


@pytest.mark.faults
def test_a_form_that_drips_is_answered_after_ten_seconds(server):
    connection = server.connection()
    connection.putrequest("POST", "/token")
    for header in (FORM | {"Transfer-Encoding": "chunked"}).items():  # with a length, it is awaited without a thread
        connection.putheader(*header)
    connection.endheaders()
    began, answered = time.monotonic(), []
    while not answered:
        assert time.monotonic() - began < FORM_WITHIN + 3
        connection.send(b"1\r\na\r\n")
        answered, _, _ = select.select([connection.sock], [], [], 0.5)
    assert time.monotonic() - began > FORM_WITHIN - 1
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())["errors"][0]["code"]) == (400, "SIZE_INVALID")
    connection.close()


def test_the_challenge_names_the_address_that_the_client_used(server):
    status, _, headers = request(server, "GET", "/v2/", {})
    assert status == 401
    assert headers["WWW-Authenticate"].startswith(f'Bearer realm="http://{server.registry}/token",')


def test_twelve_clients_that_start_at_once_never_wait_for_twelve_hashes(server):
    assert request(server, "GET", "/v2/", BASIC)[0] == 200  # warm
    began = time.monotonic()
    request(server, "GET", "/v2/", {"Authorization": "Basic " + base64.b64encode(b"admin:guess").decode()})
    one_hash = time.monotonic() - began
    other = {"Authorization": "Basic " + base64.b64encode(b"admin:another guess").decode()}
    threads = [threading.Thread(target=request, args=(server, "GET", "/token", other)) for _ in range(12)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - began < 6 * one_hash + 1  # one in each worker process, and room for a busy machine


@pytest.mark.faults
def test_a_password_that_is_changed_in_another_process_ends_tokens_within_two_seconds(server):
    _, fields, _ = request(server, "GET", "/token", BASIC)
    bearer = {"Authorization": f"Bearer {fields['token']}"}
    assert request(server, "GET", "/v2/", bearer)[0] == 200
    change_password_elsewhere(server.data)
    changed = time.monotonic()
    while request(server, "GET", "/v2/", bearer)[0] == 200:
        assert time.monotonic() < changed + 2
        time.sleep(0.05)
    time.sleep(max(0.0, changed + 2 - time.monotonic()))
    for _ in range(20):  # whichever worker answers
        status, _, headers = request(server, "GET", "/v2/", bearer)
        assert status == request(server, "GET", "/v2/", BASIC)[0] == 401
    assert 'error="invalid_token"' in headers["WWW-Authenticate"]
    assert PASSWORD not in server.log


def change_password_elsewhere(data: Path) -> None:
    script = "from access.models import User; u = User.objects.get(); u.set_password('another one'); u.save()"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("REGISTRY_")}
    environment["REGISTRY_DATA"] = str(data)
    subprocess.run([sys.executable, ROOT / "manage.py", "shell", "-c", script], env=environment, check=True)


# --- many at once -----------------------------------------------------------------------------------------------------


@pytest.fixture
def single(tmp_path) -> Iterator[Server]:
    """One process, so that whatever is asked is asked of the one whose threads are wanted elsewhere."""
    with Server(tmp_path / "data", {"REGISTRY_WORKERS": "1"}, admin_password=PASSWORD) as running:
        yield running


def test_a_hundred_names_that_are_guessed_at_once_keep_nobody_else_waiting(single):
    guesses = [single.connection() for _ in range(100)]
    for number, guess in enumerate(guesses):
        name = base64.b64encode(b"user%d:guess" % number).decode()
        guess.request("GET", "/token", headers={"Authorization": f"Basic {name}"})
    time.sleep(0.3)  # they have their threads now
    began = time.monotonic()
    assert single.get("/healthz") == 200
    assert time.monotonic() - began < 0.5
    answers = [guess.getresponse() for guess in guesses]
    told = [answer.status for answer in answers]
    assert sorted(set(told)) == [401, 503]
    assert told.count(401) >= 16, "fewer than may wait were heard"
    assert all(answer.headers["Retry-After"] for answer in answers if answer.status == 503)
    for guess in guesses:
        guess.close()
