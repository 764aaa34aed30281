"""Messages that say "look now", to whichever background process takes them first.

They only bring forward what is found without them: a lost one, or a broker that is away, costs time and nothing else.
So a message names a duty and no row, and is worth nothing after some seconds.
"""

import logging
import queue
import threading
import time
from functools import cache, partial
from typing import Any

from django.conf import settings
from django.db import transaction

from work.loop import duties
from work.models import Due

log = logging.getLogger(__name__)

LOOK = "work.tasks.look"
EXPIRY = 5.0  # seconds after which a message says nothing any more
ENOUGH = 100  # messages in the queue: nobody takes them, and more would change nothing
PAUSE = 5.0  # seconds in which a broker that was away is not tried again
QUIET = 60.0  # seconds between two lines of the log about that


class Broker:
    """The broker as this process knows it. For one thread."""

    def __init__(self) -> None:
        self.failures = 0  # since the start
        self._away_until = 0.0  # monotonic seconds, like `_quiet_until`
        self._quiet_until = 0.0

    def send(self, name: str) -> bool:
        """Have somebody look at the rows of a duty, in at most a fraction of a second. False: the broker is away."""
        if time.monotonic() < self._away_until:
            return False
        try:
            _publish(name)
        except Exception as problem:  # noqa: BLE001 - whatever it is, all that is lost is time; it is counted and told
            self._failed(problem)
            return False
        return True

    def _failed(self, problem: Exception) -> None:
        self.failures += 1
        moment = time.monotonic()
        self._away_until = moment + PAUSE
        if moment >= self._quiet_until:
            self._quiet_until = moment + QUIET
            log.warning("the broker is away, work goes on without it (failure %d): %r", self.failures, problem)


def _publish(name: str) -> None:
    from celery import current_app  # loaded by the processes that use it, and by no other

    with current_app.producer_pool.acquire(block=True) as producer:
        channel: Any = producer.channel
        waiting = channel.queue_declare(current_app.conf.task_default_queue).message_count
        if waiting < ENOUGH:
            current_app.send_task(LOOK, (name,), expires=EXPIRY, producer=producer, retry=False, ignore_result=True)


# --- From a request ---------------------------------------------------------------------------------------------------


def look_soon(model: type[Due]) -> None:
    """Rows of `model` were made due now: once the transaction is committed, tell those who do it. Never waits; a
    thread sends. Without a broker between machines nobody is told, and finds the rows within a second."""
    if settings.REGISTRY_BROKER_URL:
        transaction.on_commit(partial(_tell, model))


def _tell(model: type[Due]) -> None:
    for duty in duties():
        if duty.model is model:
            _wanted().put(duty.name)


@cache
def _wanted() -> queue.SimpleQueue[str]:
    """What the thread is to send; both are made when they are first wanted, in the process that wants them."""
    wanted: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_send_what_is_wanted, args=(wanted,), name="messages", daemon=True).start()
    return wanted


def _send_what_is_wanted(wanted: queue.SimpleQueue[str]) -> None:
    broker = Broker()
    while True:
        names = {wanted.get()}
        while not wanted.empty():
            names.add(wanted.get())
        for name in names:
            broker.send(name)
