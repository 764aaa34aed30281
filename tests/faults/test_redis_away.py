"""Redis goes, with all it held, and comes back: work goes on, and no answer waits for it."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.conftest import SETTINGS
from tests.processes.rows import calls, done, make_due, seconds_of_cancels
from tests.redis import Redis, needs_redis
from tests.server import Server, wait_until

pytestmark = pytest.mark.faults


@pytest.fixture
def redis() -> Iterator[Redis]:
    needs_redis()
    with Redis() as redis:
        yield redis


@pytest.fixture
def with_redis(tmp_path: Path, redis: Redis) -> Iterator[Server]:
    with Server(tmp_path / "data", SETTINGS | {"REGISTRY_BROKER_URL": redis.url}) as server:
        yield server


def test_while_redis_is_away_and_when_it_is_back_with_nothing_the_work_goes_on(
    with_redis: Server, redis: Redis
) -> None:
    wait_until(lambda: calls(redis, "brpop"), 30)
    redis.kill()
    make_due(with_redis, *(f"ab/{number}" for number in range(20)))
    wait_until(lambda: done(with_redis), 30)
    redis.start()
    wait_until(lambda: calls(redis, "brpop"), 60)
    make_due(with_redis, "ab/last")
    wait_until(lambda: done(with_redis), 30)
    assert with_redis.log.count("the broker is away") <= 2, "a line for each process, not for each try"


@pytest.mark.parametrize("loss", ["kill", "freeze"])
def test_requests_are_answered_as_fast_while_redis_is_away(with_redis: Server, redis: Redis, loss: str) -> None:
    before = seconds_of_cancels(with_redis, 20)
    getattr(redis, loss)()
    while_away = seconds_of_cancels(with_redis, 20)
    assert while_away[10] < before[10] + 0.15, "a send that fails takes twice as long"
    wait_until(lambda: done(with_redis), 30)


def test_a_redis_that_answers_nothing_holds_up_no_stop(with_redis: Server, redis: Redis) -> None:
    wait_until(lambda: calls(redis, "brpop"), 30)
    redis.freeze()
    make_due(with_redis, "ab/1")
    wait_until(lambda: done(with_redis), 30)
    began = time.monotonic()
    assert with_redis.stop() == 0
    assert time.monotonic() - began < 20
