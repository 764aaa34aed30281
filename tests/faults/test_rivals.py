"""Several requests that want the same upload: the newest proceeds, the others end soon and cleanly, bytes never mix."""

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.faults.conftest import count, done
from tests.faults.registry import Repository, digest_of
from tests.faults.wire import STREAMED, Answer, Exchange, closing, part
from tests.server import Server

pytestmark = pytest.mark.faults

SIZE = 1_000_000
SOON = 5.0  # seconds within which the older one has to end
NAME = "faults/rivals"


def streaming(repository: Repository, location: str, content: bytes) -> Exchange:
    """A PATCH whose body does not end, in the middle of which the client fell silent."""
    exchange = Exchange(repository.server, repository.token, "PATCH", location, STREAMED)
    exchange.chunk(content[: len(content) // 2])
    return exchange


def closing_put(repository: Repository, location: str, content: bytes) -> Exchange:
    """A PUT with half of its body."""
    length = {"Content-Length": str(len(content))}
    exchange = Exchange(repository.server, repository.token, "PUT", closing(location, digest_of(content)), length)
    exchange.send(content[: len(content) // 2])
    return exchange


def assert_superseded(exchange: Exchange, location: str) -> None:
    answer = exchange.answer(within=SOON)
    assert answer.status in (409, 416), answer
    assert answer.codes == ["BLOB_UPLOAD_INVALID"]
    assert answer.headers["Location"] == location, answer
    assert answer.stored in (0, SIZE), "bytes of the older one do not count"


@pytest.mark.parametrize("begin", [streaming, closing_put])
@pytest.mark.parametrize("silent", [1, 2])
def test_a_newer_writer_proceeds_and_the_silent_ones_end_soon(
    server: Server, chance: random.Random, begin: Callable[..., Exchange], silent: int
) -> None:
    repository, content = Repository(server, NAME), chance.randbytes(SIZE)
    for _ in range(count(2, 20)):  # the older may be in the same process or in another
        location = repository.open_upload()
        older = []
        for _ in range(silent):
            older.append(begin(repository, location, chance.randbytes(SIZE)))
            time.sleep(0.3)  # it has to have begun, or it would be the newest
        newest = repository.append(location, content, 0)
        assert (newest.status, newest.stored) == (202, SIZE), newest
        for exchange in older:
            with exchange:
                assert_superseded(exchange, location)
        finished = repository.finish(location, digest_of(content))
        assert finished.status == 201, finished
        assert repository.blob(digest_of(content)).body == content
        done("uploads taken over from silent writers")


def test_a_writer_that_still_sends_is_told_that_it_was_superseded(server: Server, chance: random.Random) -> None:
    repository, content = Repository(server, NAME), chance.randbytes(SIZE)
    location = repository.open_upload()
    with streaming(repository, location, chance.randbytes(SIZE)) as older, ThreadPoolExecutor(1) as other:
        time.sleep(0.3)
        newer = other.submit(repository.append, location, content, 0)
        began = time.monotonic()
        while not newer.done() and time.monotonic() - began < SOON:
            try:
                older.chunk(bytes(1000))
            except ConnectionError:
                break
            time.sleep(0.05)
        assert newer.result(SOON).status == 202
        assert_superseded(older, location)
    assert repository.finish(location, digest_of(content)).status == 201
    assert repository.blob(digest_of(content)).body == content


def test_of_several_that_write_at_once_one_wins_and_the_upload_has_its_bytes_alone(
    server: Server, chance: random.Random
) -> None:
    repository = Repository(server, NAME)
    with ThreadPoolExecutor(3) as writers:
        for _ in range(count(15, 200)):
            location, contents = repository.open_upload(), [chance.randbytes(SIZE) for _ in range(3)]
            answers = list(writers.map(lambda content, at=location: repository.append(at, content, 0), contents))
            assert {answer.status for answer in answers} <= {202, 409, 416}, answers
            [winner] = [content for content, answer in zip(contents, answers, strict=True) if answer.status == 202]
            finished = repository.finish(location, digest_of(winner))
            assert finished.status == 201, finished
            assert repository.blob(digest_of(winner)).body == winner
            done("uploads that several wrote to at the same moment")


def test_chunks_without_a_range_that_come_at_once_are_stored_one_after_the_other_or_not_at_all(
    server: Server, chance: random.Random
) -> None:
    repository = Repository(server, NAME)

    def append(location: str, content: bytes) -> Answer:
        return repository.ask("PATCH", location, body=content)

    with ThreadPoolExecutor(2) as writers:
        for _ in range(count(15, 200)):
            location, [one, two] = repository.open_upload(), [chance.randbytes(SIZE) for _ in range(2)]
            answers = list(writers.map(append, [location] * 2, [one, two]))
            kept = [content for content, answer in zip((one, two), answers, strict=True) if answer.status == 202]
            assert kept, answers
            assert repository.stored(location) == sum(map(len, kept))
            first = len(kept) == 1 or answers[0].stored == SIZE
            content = b"".join(kept if first else kept[::-1])
            finished = repository.finish(location, digest_of(content))
            assert finished.status == 201, finished
            assert repository.blob(digest_of(content)).body == content
            done("uploads that several wrote to at the same moment")


@pytest.mark.parametrize("begin", [streaming, closing_put])
def test_a_cancel_ends_a_request_in_progress(
    server: Server, chance: random.Random, begin: Callable[..., Exchange]
) -> None:
    repository, content = Repository(server, NAME), chance.randbytes(SIZE)
    for _ in range(count(2, 20)):
        location = repository.open_upload()
        with begin(repository, location, content) as exchange:
            time.sleep(0.3)
            cancelled = repository.ask("DELETE", location)
            assert cancelled.status == 204, cancelled
            answer = exchange.answer(within=SOON)
            assert answer.status in (404, 409), answer
            assert answer.codes[0].startswith("BLOB_UPLOAD_")
        assert repository.ask("GET", location).status == 404
        assert repository.blob(digest_of(content), "HEAD").status == 404
        done("uploads cancelled in the middle of a request")


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_a_cancel_at_the_same_moment_ends_one_of_the_two_cleanly(
    server: Server, chance: random.Random, method: str
) -> None:
    repository = Repository(server, NAME)
    with ThreadPoolExecutor(2) as both:
        for _ in range(count(20, 300)):
            location, content = repository.open_upload(), chance.randbytes(300_000)
            url = closing(location, digest_of(content)) if method == "PUT" else location
            pushed = both.submit(repository.ask, method, url, part(0, content), content)
            time.sleep(chance.random() * 0.02)
            cancelled = both.submit(repository.ask, "DELETE", location).result()
            answer, there = pushed.result(), repository.blob(digest_of(content), "HEAD").status == 200
            outcome = (answer.status, cancelled.status, there)
            if method == "PUT":
                assert outcome in {(201, 404, True), (404, 204, False), (409, 204, False), (201, 409, True)}, outcome
            else:
                assert outcome in {(202, 204, False), (404, 204, False), (409, 204, False), (202, 409, False)}, outcome
            done("uploads cancelled at the same moment as a request")
