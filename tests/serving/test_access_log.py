"""One line of JSON for each request, wherever it was answered; none where nobody asked for them."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from serving import answers, heads
from serving.access_log import Entry
from tests.faults.registry import Repository, content_of, digest_of, image_of
from tests.faults.wire import Cut, Exchange
from tests.server import Server, wait_until

NAME = "logged/name"


def lines(server: Server, below: str = "") -> list[dict[str, Any]]:
    """Those of requests for what is below a path: a line is written after its answer, so others may come late."""
    found = [json.loads(line) for line in server.log.splitlines() if line.startswith("{")]
    return [line for line in found if line["target"].startswith(below)]


@pytest.mark.parametrize("logged", [True, False])
def test_each_request_has_its_line_or_none_has(tmp_path: Path, logged: bool) -> None:
    settings: dict[str, str | None] = {"REGISTRY_WORKERS": "1", "REGISTRY_ACCESS_LOG": str(logged)}
    with Server(tmp_path / "data", settings) as server:
        repository, blob = Repository(server, NAME), content_of(1, 5_000_000)
        pushed = repository.append(repository.open_upload(), blob, 0)
        repository.finish(pushed.headers["Location"], digest_of(blob))
        repository.push_manifest("tag", image_of(blob, []))
        for _ in range(3):
            assert repository.manifest("tag").status == 200  # in the loop, mostly
        assert repository.manifest("none").status == 404
        pulled = repository.blob(digest_of(blob))
        with Exchange(server, repository.token, "GET", repository.path("blobs", digest_of(blob))) as cut:
            cut.socket.recv(1000)
            cut.leave(Cut.RST)
        if not logged:
            assert lines(server) == []
            return
        wait_until(lambda: len(lines(server, f"/v2/{NAME}/")) == 10)
        *asked, broken = lines(server, f"/v2/{NAME}/")
        assert [(line["method"], line["status"]) for line in asked] == [
            *(("POST", 202), ("PATCH", 202), ("PUT", 201), ("PUT", 201)),
            *(("GET", 200), ("GET", 200), ("GET", 200), ("GET", 404), ("GET", 200)),
        ]
        assert {(line["address"], line["who"]) for line in asked} == {("127.0.0.1", asked[0]["who"])}
        assert asked[0]["who"].startswith("user:")
        assert all(line["seconds"] >= 0 for line in asked)
        assert (asked[-1]["sent"], "cut" in asked[-1]) == (len(blob), False)
        assert asked[-1]["id"] == pulled.headers["X-Request-Id"]
        assert (broken["status"], broken["cut"], broken["sent"] < len(blob)) == (200, True, True)


@pytest.mark.parametrize("logged", [True, False])
def test_an_entry_is_made_for_each_request_or_none_is_ever_made(monkeypatch: pytest.MonkeyPatch, logged: bool) -> None:
    made: list[dict[str, Any]] = []

    def make(environ: dict[str, Any]) -> Entry:
        made.append(environ)
        return Entry(environ)

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("204 No Content", [])
        return []

    for module in (answers, heads):
        monkeypatch.setattr(module, "Entry", make)
    environ = heads.environ_of(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", ("127.0.0.1", 1), ("127.0.0.1", 2))
    assert environ is not None
    assert heads.answer(application, environ, True, logged)
    response: Any = SimpleNamespace(
        start_response=lambda *_: None, close=lambda: None, response_length=None, status="204 No Content", sent=0
    )
    answering = answers.Answering(response, environ, logged)
    answering.begin(application, lambda: False)
    answering.end(True)
    assert made == ([environ, environ] if logged else [])
