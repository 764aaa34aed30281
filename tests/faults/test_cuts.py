"""A push that is cut at any byte, in any way, goes on where the registry says, and ends byte for byte."""

import contextlib
import random
import time

import pytest

from serving.connections import HEAD_LIMIT
from tests.faults.conftest import count, done
from tests.faults.forms import Form, begun
from tests.faults.registry import Repository, content_of, digest_of
from tests.faults.wire import STREAMED, Cut, Exchange, chunked, closing, part
from tests.server import Server, wait_until

pytestmark = pytest.mark.faults

SIZES = (3_000, 200_000, 2_000_000)  # less than a piece, than a block of the server's, and several of them


def pushed_to_the_end(repository: Repository, location: str, content: bytes) -> None:
    """As a client does it: ask how far it is, go on there, close."""
    at = repository.stored(location)
    assert at <= len(content)
    repository.go_on(location, content, at)
    closed = repository.finish(location, digest_of(content))
    assert closed.status == 201, closed


def is_collected(form: Form, content: bytes) -> bool:
    """A small body with a length is waited for before its request begins: one that falls silent has taken nothing."""
    return form in (Form.RANGE, Form.CLOSE) and len(content) <= HEAD_LIMIT


def cut_once(server: Server, chance: random.Random, form: Form, cut: Cut) -> None:
    content = chance.randbytes(chance.choice(SIZES))
    repository, digest = Repository(server, "faults/cuts"), digest_of(content)
    location = repository.open_upload()
    exchange, body = begun(repository, form, location, content)
    with exchange:
        exchange.send(body[: chance.randrange(len(body))])
        exchange.leave(cut)
        if form is Form.STREAM and cut is Cut.FIN:
            time.sleep(0.2)  # without a range, a request that begins after those that follow it is one more chunk
        if cut is Cut.HALF_CLOSE:
            answer = exchange.answer()
            assert (answer.status, answer.codes) == (400, ["SIZE_INVALID"]), answer
        assert repository.blob(digest, "HEAD").status == 404, "visible before it was complete"
        if form is Form.SINGLE:
            location = repository.open_upload()
        pushed_to_the_end(repository, location, content)
        if cut is Cut.SILENCE and form is not Form.SINGLE and not is_collected(form, content):
            answer = exchange.answer(within=5)
            assert answer.status in (404, 409, 416), answer  # 404: meanwhile the upload has become a blob
    assert repository.blob(digest).body == content
    done(f"pushes cut by {cut}, resumed, byte for byte")


@pytest.mark.parametrize("cut", Cut)
@pytest.mark.parametrize("form", Form)
def test_a_push_that_was_cut_at_a_random_byte_resumes_and_ends_byte_exact(
    server: Server, chance: random.Random, form: Form, cut: Cut
) -> None:
    for _ in range(count(2, 15)):
        cut_once(server, chance, form, cut)


def test_what_was_acknowledged_is_never_asked_for_again(server: Server, chance: random.Random) -> None:
    repository, content = Repository(server, "faults/cuts"), chance.randbytes(3_000_000)
    location = repository.open_upload()
    for at in range(0, len(content), 600_000):
        piece = content[at : at + 600_000]
        repository.go_on(location, content[: at + 300_000], at)
        headers, body = STREAMED | part(at + 300_000, piece[300_000:]), chunked(piece[300_000:])
        exchange = Exchange(server, repository.token, "PATCH", location, headers)
        with exchange, contextlib.suppress(ConnectionError):
            exchange.send(body[: chance.randrange(len(body))])
            exchange.leave(chance.choice([Cut.FIN, Cut.RST]))
        came = repository.stored(location)
        assert at + 300_000 <= came <= at + 600_000
        repository.go_on(location, content[: at + 600_000], came)
    assert repository.finish(location, digest_of(content)).status == 201
    assert repository.blob(digest_of(content)).body == content


def test_a_put_whose_answer_was_lost_is_answered_again(server: Server, chance: random.Random) -> None:
    repository, content = Repository(server, "faults/answers"), content_of(chance.randrange(10**9), 400_000)
    digest, location = digest_of(content), repository.open_upload()
    assert repository.append(location, content, 0).status == 202
    with Exchange(server, repository.token, "PUT", closing(location, digest), {"Content-Length": "0"}) as exchange:
        exchange.leave(Cut.RST)
    # The lost request may begin after its own repetition, and take the upload from it. Then it is the one that ends it.
    wait_until(lambda: repository.finish(location, digest).status != 409)
    for _ in range(3):
        answer = repository.finish(location, digest)
        assert (answer.status, answer.headers["Docker-Content-Digest"]) == (201, digest), answer
    assert repository.blob(digest).body == content


def test_a_put_with_a_whole_body_is_answered_again_when_the_body_comes_again(
    server: Server, chance: random.Random
) -> None:
    repository, content = Repository(server, "faults/answers"), chance.randbytes(400_000)
    digest, location = digest_of(content), repository.open_upload()
    with Exchange(
        server, repository.token, "PUT", closing(location, digest), {"Content-Length": str(len(content))}
    ) as exchange:
        exchange.send(content)
        wait_until(lambda: repository.blob(digest, "HEAD").status == 200)
        exchange.leave(Cut.FIN)
    for _ in range(2):
        answer = repository.finish(location, digest, content)
        assert answer.status == 201, answer
    assert repository.blob(digest).body == content


def test_a_single_post_that_was_cut_leaves_no_upload_behind(fresh: Server, chance: random.Random) -> None:
    repository, content = Repository(fresh, "faults/single"), chance.randbytes(1_000_000)
    for cut in (Cut.FIN, Cut.RST, Cut.HALF_CLOSE):
        exchange, body = begun(repository, Form.SINGLE, "", content)
        with exchange:
            exchange.send(body[:600_000])
            exchange.leave(cut)
    blobs = fresh.data / "blobs"
    wait_until(lambda: not [path for path in blobs.rglob("*") if path.is_file()])
