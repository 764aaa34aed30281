"""Messages bring work forward; a broker that is away costs time and nothing else."""

import queue
import socket
import time

import pytest
from celery import Celery
from django.db import transaction
from django.db.models import Q

from layers.models import PendingDelete
from uploads.models import Upload
from work import loop, messages
from work.messages import EXPIRY, Broker, look_soon

NAME, END = "layers.PendingDelete", "uploads.Upload"


@pytest.fixture
def celery(monkeypatch):
    """An application of the test's own, whose broker is in this process."""

    def make(url: str = "memory://localhost/", **options: object) -> Celery:
        app = Celery(broker=url, set_as_current=False)
        app.conf.update(task_default_queue=f"queue-{id(app)}", broker_transport_options=options)
        monkeypatch.setattr("celery.current_app", app)
        return app

    return make


def received(app: Celery) -> list:
    """The messages in the queue."""
    with app.connection_for_read() as connection:
        queue = connection.SimpleQueue(app.conf.task_default_queue)
        found = []
        while len(queue):
            found.append(queue.get(block=False))
            found[-1].ack()
        return found


def test_a_message_says_which_duty_and_is_soon_worth_nothing(celery):
    app = celery()
    assert Broker().send(NAME)
    [message] = received(app)
    arguments, named, _ = message.decode()
    assert (message.headers["task"], arguments, named) == ("work.tasks.look", [NAME], {})
    assert message.headers["expires"] is not None
    assert EXPIRY <= 5


def test_a_queue_that_nobody_reads_does_not_grow(celery, monkeypatch):
    monkeypatch.setattr(messages, "ENOUGH", 3)
    app = celery()
    broker = Broker()
    assert [broker.send(NAME) for _ in range(10)] == [True] * 10
    assert len(received(app)) == 3


def test_a_broker_that_is_away_is_told_once_and_tried_again_after_a_while(monkeypatch, caplog):
    tries, moment = [], [1000.0]

    def publish(name: str) -> None:
        tries.append(name)
        raise OSError("refused")

    monkeypatch.setattr(messages, "_publish", publish)
    monkeypatch.setattr(messages.time, "monotonic", lambda: moment[0])
    broker = Broker()
    assert [broker.send(NAME) for _ in range(5)] == [False] * 5
    assert (len(tries), broker.failures) == (1, 1)
    moment[0] += messages.PAUSE
    assert not broker.send(NAME)
    assert (len(tries), broker.failures) == (2, 2)
    assert caplog.text.count("the broker is away") == 1
    moment[0] += messages.QUIET
    assert not broker.send(NAME)
    assert caplog.text.count("the broker is away") == 2
    assert "failure 3" in caplog.text
    monkeypatch.setattr(messages, "_publish", tries.append)
    moment[0] += messages.PAUSE
    assert broker.send(NAME)


@pytest.mark.parametrize("backlog", [0, 8])
def test_a_broker_that_takes_nothing_holds_nobody_up(celery, backlog):
    """Nobody listens; or somebody does, and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=8) as server:
        port = server.getsockname()[1]
        if not backlog:
            server.close()
        celery(f"redis://127.0.0.1:{port}/0", socket_connect_timeout=0.3, socket_timeout=0.3, max_retries=0)
        broker = Broker()
        began = time.monotonic()
        assert [broker.send(NAME) for _ in range(3)] == [False] * 3
        assert time.monotonic() - began < 5, "it would be 19 s with Celery's own retries"
        assert broker.failures == 1


# --- From a request ---------------------------------------------------------------------------------------------------


@pytest.fixture
def told(monkeypatch) -> list[type]:
    models: list[type] = []
    monkeypatch.setattr(messages, "_tell", models.append)
    return models


@pytest.mark.django_db(transaction=True)
def test_a_request_tells_what_fell_due_once_it_is_committed(told, settings):
    settings.REGISTRY_BROKER_URL = "redis://localhost/0"
    with transaction.atomic():
        look_soon(PendingDelete)
        assert told == []
    assert told == [PendingDelete]
    with transaction.atomic():
        look_soon(PendingDelete)
        transaction.set_rollback(True)
    assert told == [PendingDelete]


@pytest.mark.django_db(transaction=True)
def test_without_a_broker_between_processes_nobody_is_told(told):
    look_soon(PendingDelete)
    assert told == []


def test_every_duty_that_the_rows_may_be_for_is_told_and_no_other(duties, monkeypatch):
    wanted: queue.SimpleQueue[str] = queue.SimpleQueue()
    monkeypatch.setattr(messages, "_wanted", lambda: wanted)

    def erase_some(row: PendingDelete) -> None: ...

    def erase_others(row: PendingDelete) -> None: ...

    some = Q(key__startswith="a")
    loop.duty(PendingDelete, str, only=some)(erase_some)
    loop.duty(PendingDelete, str, only=~some)(erase_others)
    loop.duty(Upload, str)(lambda row: None)
    messages._tell(PendingDelete)
    assert [wanted.get_nowait(), wanted.get_nowait()] == [f"{NAME}.erase_some", f"{NAME}.erase_others"]
    assert wanted.empty()


def test_a_thread_sends_what_requests_tell_each_duty_once(duties, monkeypatch):
    for model in (PendingDelete, Upload):
        loop.duty(model, str)(lambda row: None)
    sent, first = [], []

    def send(_: Broker, name: str) -> bool:
        first.append(name)
        if len(first) == 1:  # while it sends this one, the others come
            for _ in range(5):
                messages._tell(PendingDelete)
            messages._tell(Upload)
        elif name == END:
            sent.extend(first)
        return True

    messages._wanted.cache_clear()
    monkeypatch.setattr(Broker, "send", send)
    messages._tell(PendingDelete)
    deadline = time.monotonic() + 60
    while not sent and time.monotonic() < deadline:
        time.sleep(0.01)
    messages._wanted.cache_clear()
    assert sent.count(NAME) <= 2
    assert END in sent
