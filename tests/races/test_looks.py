"""Requests that want to know what is inside a layer: few of them at once, and who waits too long comes again."""

import threading

import pytest

from oci.contents import TAR, Inside
from oci.tarsum import TarSum
from tests.registry import Registry, refusal
from tests.server import wait_until
from tests.tars import LAYER, TARSUM
from tests.threads import PATIENCE, Request
from tests.uploads.bodies import Sent
from uploads import services, verifying
from uploads.models import Upload
from uploads.verifying import AT_ONCE

pytestmark = pytest.mark.django_db(transaction=True)

NAME = "team/app"


class Looks:
    """Each takes until `go`."""

    def __init__(self) -> None:
        self.begun = 0
        self._go = threading.Event()

    def look_inside(self, *_: object) -> Inside:
        self.begun += 1
        assert self._go.wait(PATIENCE), "nobody said go"
        return Inside(TAR, tarsum=TARSUM)

    def go(self) -> None:
        self._go.set()


@pytest.fixture
def looks(monkeypatch) -> Looks:
    looks = Looks()
    monkeypatch.setattr(verifying, "look_inside", looks.look_inside)
    yield looks
    looks.go()


def finishing(registry: Registry) -> Request:
    """A PUT by TarSum that is under way."""
    upload_id = registry.open_upload(NAME).rpartition("/")[2]
    registry.ask("PATCH", f"/v2/{NAME}/blobs/uploads/{upload_id}", LAYER)
    opener = Upload.objects.get(pk=upload_id).opener
    return Request(services.finish, NAME, upload_id, opener, TarSum.parse(TARSUM), Sent(), None)


@pytest.fixture
def as_many_as_may_be(registry, looks) -> list[Request]:
    requests = [finishing(registry) for _ in range(AT_ONCE)]
    wait_until(lambda: looks.begun == AT_ONCE)
    return requests


def test_one_more_look_than_may_be_is_refused_after_a_while_and_can_be_asked_for_again(
    registry, looks, as_many_as_may_be, monkeypatch
):
    monkeypatch.setattr(verifying, "PATIENCE", 0.05)
    location = registry.open_upload(NAME)
    answer = registry.ask("PUT", f"{location}?digest={TARSUM}", LAYER)
    assert refusal(answer) == (503, "UNAVAILABLE")
    assert int(answer["Retry-After"]) > 0
    assert looks.begun == AT_ONCE
    assert registry.ask("GET", location)["Range"] == f"0-{len(LAYER) - 1}"
    looks.go()
    assert [request.answer().algorithm for request in as_many_as_may_be] == ["sha256"] * AT_ONCE
    assert registry.ask("PUT", f"{location}?digest={TARSUM}").status_code == 201


def test_one_more_look_than_may_be_waits_until_one_has_ended(registry, looks, as_many_as_may_be, monkeypatch):
    monkeypatch.setattr(verifying, "PATIENCE", PATIENCE)
    waiting = finishing(registry)
    assert not waiting.ends_within(0.1)
    assert looks.begun == AT_ONCE
    looks.go()
    assert waiting.answer().algorithm == "sha256"
    assert looks.begun == AT_ONCE + 1


def test_a_look_that_fails_gives_its_place_to_the_next(registry, monkeypatch):
    def fail(*_: object) -> Inside:
        raise verifying.LookFailed("too busy")

    with monkeypatch.context() as patch:
        patch.setattr(verifying, "look_inside", fail)
        for _ in range(AT_ONCE + 1):
            assert "could not be found out" in finishing(registry).answer().message
    monkeypatch.setattr(verifying, "look_inside", lambda *_: Inside(TAR, tarsum=TARSUM))
    assert finishing(registry).answer().algorithm == "sha256"
