"""The disk of the blobs is not mounted: said so, nothing recorded about it, and all well once it is back."""

import json
from contextlib import closing

from tests.faults.registry import Repository, content_of, digest_of
from tests.server import Server, wait_until

CONTENT = content_of(1, 5000)
DIGEST = digest_of(CONTENT)


def unmount(server: Server) -> None:
    (server.data / "blobs").rename(server.data / "disk")
    (server.data / "blobs").mkdir()


def mount(server: Server) -> None:
    (server.data / "blobs").rmdir()  # fails where something was written into it
    (server.data / "disk").rename(server.data / "blobs")


def pushed(server: Server) -> tuple[Repository, str]:
    """A repository with a blob, and where an upload of it goes on after one byte."""
    repository = Repository(server, "away/app")
    location = repository.open_upload()
    assert repository.append(location, CONTENT, 0).status == 202
    assert repository.finish(location, DIGEST).status == 201
    location = repository.open_upload()
    assert repository.append(location, CONTENT[:1], 0).status == 202
    return repository, location


def assert_away(repository: Repository, location: str) -> None:
    for answer in (
        repository.blob(DIGEST),
        repository.ask("POST", repository.path("blobs", "uploads/")),
        repository.append(location, CONTENT[1:], 1),
        repository.finish(location, DIGEST, CONTENT[1:], 1),
    ):
        assert (answer.status, answer.codes) == (503, ["UNAVAILABLE"]), answer
        assert answer.headers["Retry-After"]


def state(server: Server) -> tuple[int, str]:
    with closing(server.connection()) as connection:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        return answer.status, json.load(answer)["storage"]


def test_storage_that_is_away_is_answered_with_503_and_comes_back_without_a_restart(fresh: Server) -> None:
    fresh.start()
    repository, location = pushed(fresh)
    unmount(fresh)
    assert state(fresh) == (503, "unavailable")
    assert_away(repository, location)
    mount(fresh)
    assert state(fresh) == (200, "ok")
    assert repository.blob(DIGEST).body == CONTENT
    assert repository.finish(location, DIGEST, CONTENT[1:], 1).status == 201


def test_a_server_that_starts_without_its_disk_does_not_take_the_empty_directory_for_it(fresh: Server) -> None:
    fresh.start()
    repository, location = pushed(fresh)
    assert fresh.stop() == 0
    unmount(fresh)
    fresh.start(wait=False)
    wait_until(lambda: fresh.get("/healthz") == 200, within=60)
    assert "Is their disk mounted?" in fresh.log
    assert_away(repository, location)
    mount(fresh)
    assert repository.blob(DIGEST).body == CONTENT
