"""The background process: what it hands to whom, and what it does when nobody takes it."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.db import InterfaceError, OperationalError
from django.utils.timezone import now

from layers.models import PendingDelete
from uploads.models import Upload
from work import background, loop
from work.models import Pulse

TOLD = "layers.PendingDelete"


class Broker:
    """Keeps what it is sent; or is away."""

    def __init__(self, away: bool = False) -> None:
        self.away, self.sent = away, []

    def send(self, name: str) -> bool:
        self.sent.append(name)
        return not self.away


class Stop(threading.Event):
    """Set after so many looks; nobody waits."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self.looks, self.pauses = looks, []

    def wait(self, timeout: float | None = None) -> bool:
        self.pauses.append(timeout)
        if len(self.pauses) == self.looks:
            self.set()
        return self.is_set()


@pytest.fixture
def looks(monkeypatch) -> list[str]:
    """What this process looks for without having been told."""
    directly: list[str] = []
    monkeypatch.setattr(background, "look_directly", directly.append)
    return directly


def poll(monkeypatch, looks: int = 1, broker: Broker | None = None) -> Stop:
    stop = Stop(looks)
    monkeypatch.setattr(background, "stopping", stop)
    background.poll(broker or Broker())
    return stop


def due(seconds: float = 1, **fields) -> PendingDelete:
    return PendingDelete.objects.create(key="ab/abcdef", due_at=now() - timedelta(seconds=seconds), **fields)


# --- Looking for work -------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_duty_whose_rows_wait_is_told_and_no_other(duties, looks, monkeypatch):
    for model in (PendingDelete, Upload):
        loop.duty(model, str)(lambda row: None)
    row, broker = due(), Broker()
    poll(monkeypatch, broker=broker)
    assert (broker.sent, looks) == ([TOLD], [])
    row.delete()


@pytest.mark.django_db
@pytest.mark.parametrize("field", ["due_at", "claimed_until"])
def test_nobody_is_told_of_rows_that_do_not_wait(duties, looks, monkeypatch, field):
    loop.duty(PendingDelete, str)(lambda row: None)
    row, broker = due(), Broker()
    PendingDelete.objects.update(**{field: now() + timedelta(minutes=1)})
    poll(monkeypatch, broker=broker)
    assert (broker.sent, looks) == ([], [])
    row.delete()


@pytest.mark.django_db
def test_without_its_broker_a_process_looks_itself(duties, looks, monkeypatch):
    loop.duty(PendingDelete, str)(lambda row: None)
    row = due()
    poll(monkeypatch, broker=Broker(away=True))
    assert looks == [TOLD]
    row.delete()


@pytest.mark.django_db
def test_what_waits_although_messages_were_sent_is_looked_for_directly(duties, looks, monkeypatch):
    """The broker answers, and yet nobody gets its messages."""
    loop.duty(PendingDelete, str)(lambda row: None)
    row = due(seconds=background.LATE.total_seconds() + 1)
    poll(monkeypatch)
    assert looks == [TOLD]
    row.delete()


@pytest.mark.django_db
def test_the_process_says_that_it_is_alive(duties, monkeypatch):
    assert not background.beats()
    poll(monkeypatch)
    assert background.beats()
    Pulse.objects.update(beat_at=now() - timedelta(minutes=1))
    assert not background.beats()


@pytest.mark.django_db
def test_a_sign_of_life_is_not_written_at_every_look(duties, monkeypatch):
    written = []
    monkeypatch.setattr(Pulse.objects, "update_or_create", lambda **_: written.append(now()))
    poll(monkeypatch, looks=3)
    assert len(written) == 1
    monkeypatch.setattr(background, "BEAT", 0)
    poll(monkeypatch, looks=3)
    assert len(written) == 4


@pytest.mark.parametrize("problem", [OperationalError("gone"), InterfaceError("the connection is closed")])
@pytest.mark.django_db
def test_a_database_that_is_away_is_waited_for(duties, monkeypatch, problem, caplog):
    tries = []

    def hand_out(_: Broker) -> None:
        tries.append(1)
        if len(tries) < 3:
            raise problem

    monkeypatch.setattr(background, "hand_out", hand_out)
    monkeypatch.setattr(background, "connection", SimpleNamespace(close=lambda: None))  # it is the test's too
    assert poll(monkeypatch, looks=3).pauses == [1, 1, 1]
    assert caplog.text.count("no look for work was possible") == 2


# --- In a thread ------------------------------------------------------------------------------------------------------


@pytest.fixture
def four_threads(settings):
    settings.REGISTRY_BACKGROUND_THREADS = 4
    for made_once in (background._places, background._threads):
        made_once.cache_clear()
    yield
    for made_once in (background._places, background._threads):
        made_once.cache_clear()


@pytest.mark.django_db
def test_a_look_does_what_is_due_of_its_duty_alone(duties):
    done = []

    @loop.duty(PendingDelete, str)
    def erase(row: PendingDelete) -> None:
        done.append(row.key)
        row.delete()

    loop.duty(Upload, str)(lambda row: done.append(row))
    due()
    background.look("uploads.Upload")
    assert done == []
    background.look(TOLD)
    assert done == ["ab/abcdef"]


@pytest.mark.django_db
def test_a_message_that_names_no_duty_changes_nothing(duties, caplog):
    background.look("layers.Nonsense" * 1000)
    assert "no duty" in caplog.text
    assert len(caplog.text) < 1000


@pytest.mark.django_db
@pytest.mark.usefixtures("four_threads")
def test_slow_duties_have_half_of_the_threads_at_most(duties, monkeypatch):
    slow = loop.duty(PendingDelete, str, slow=True)
    slow(lambda row: None)
    loop.duty(Upload, str)(lambda row: None)
    inside, over, at_work = threading.Semaphore(0), threading.Event(), []

    def run(duty: loop.Duty, *_: object) -> int:
        at_work.append(duty.name)
        inside.release()
        assert over.wait(60)
        return 0

    monkeypatch.setattr(loop, "run", run)
    with ThreadPoolExecutor(4) as threads:
        try:
            for _ in range(2):
                threads.submit(background.look, TOLD)
                assert inside.acquire(timeout=60)
            threads.submit(background.look, TOLD).result(60)  # there is no place: it ends at once
            assert at_work == [TOLD, TOLD]
            threads.submit(background.look, "uploads.Upload")
            assert inside.acquire(timeout=60)
        finally:
            over.set()
    assert at_work == [TOLD, TOLD, "uploads.Upload"]
    over.clear()
    over.set()
    background.look(TOLD)
    assert at_work[3:] == [TOLD], "the places are free again"


@pytest.mark.usefixtures("four_threads")
def test_a_duty_is_looked_for_directly_once_at_a_time(monkeypatch):
    over, begun = threading.Event(), []

    def look(name: str) -> None:
        begun.append(name)
        assert over.wait(60)

    monkeypatch.setattr(background, "_looks", {})
    monkeypatch.setattr(background, "look", look)
    for _ in range(3):
        background.look_directly(TOLD)
    background.look_directly("uploads.Upload")
    over.set()
    for future in background._looks.values():
        future.result(60)
    assert sorted(begun) == [TOLD, "uploads.Upload"]
    background.look_directly(TOLD)
    background._looks[TOLD].result(60)
    assert len(begun) == 3


@pytest.mark.usefixtures("four_threads")
def test_a_database_that_goes_away_during_a_look_is_told_in_a_line(monkeypatch, caplog):
    def look(name: str) -> None:
        raise OperationalError("gone")

    monkeypatch.setattr(background, "_looks", {})
    monkeypatch.setattr(background, "look", look)
    background.look_directly(TOLD)
    background._looks[TOLD].result(60)
    assert "broke off: gone" in caplog.text
