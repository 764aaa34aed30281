"""A body may be read from the socket or from `wsgi.input`, or left: the next request is found behind it."""

import time
from collections.abc import Callable

import pytest

from tests.serving.client import Client, exchange
from tests.serving.program import Gunicorn

BODY = b"0123456789" * 30
NEXT = b"GET /echo/next HTTP/1.1\r\nHost: x\r\nX-Tag: next\r\n\r\n"


def framed(path: str, body: bytes, chunked: bool) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nX-Tag: first\r\n".encode()
    if chunked:
        return head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("size", [1, 300, 60_000, 200_000])
@pytest.mark.parametrize("path", ["/echo", "/echo/input"])
def test_a_body_that_is_read_is_all_there_and_the_next_request_is_answered(
    loop: Gunicorn, path: str, size: int, chunked: bool
) -> None:
    request = framed(path, (BODY * 1000)[:size], chunked)
    first, second = exchange(loop, [request + NEXT])
    assert (first.status, first.tag, first.said["size"]) == (200, "first", size)
    assert (second.status, second.tag) == (200, "next")


@pytest.mark.parametrize("chunked", [False, True])
def test_a_small_body_that_nobody_reads_is_passed_over(loop: Gunicorn, chunked: bool) -> None:
    first, second = exchange(loop, [framed("/ignore", BODY, chunked) + NEXT])
    assert (first.tag, second.tag) == ("first", "next")


@pytest.mark.parametrize("chunked", [False, True])
def test_for_a_large_body_that_nobody_reads_the_connection_is_closed(loop: Gunicorn, chunked: bool) -> None:
    answers = exchange(loop, [framed("/ignore", BODY * 1000, chunked) + NEXT])
    assert [answer.tag for answer in answers] == ["first"]


def test_dripping_a_body_that_nobody_wants_holds_a_thread_for_a_few_seconds_only(
    start: Callable[..., Gunicorn],
) -> None:
    server = start(threads=2)  # one for bodies
    head = b"POST /ignore HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nf000\r\n"
    with Client(server) as dripping, Client(server) as other:
        dripping.send(head)
        time.sleep(0.2)
        other.send(framed("/echo", BODY, True))
        began = time.monotonic()
        other.socket.settimeout(0.2)
        while time.monotonic() - began < 10:
            dripping.send(b"x")
            try:
                assert other.answer().status == 200
                break
            except TimeoutError:
                continue
        assert time.monotonic() - began < 6
