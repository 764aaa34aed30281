"""No answer is ever delivered to the wrong request, whatever is asked on one connection and however it is split."""

import hashlib
from dataclasses import dataclass
from itertools import pairwise

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.serving.client import Answer, Client, answers_in
from tests.serving.echo import pattern
from tests.serving.program import Gunicorn

PLACES = [
    "/echo",
    "/echo/input",
    "/short",
    "/ignore",
    "/large/100",
    "/large/20000",
    "/large/90000",
    "/file/5",
    "/file/70000",
    "/memory/5",
    "/memory/70000",
]
BROKEN = [
    b"GET /echo HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    b"GET /echo HTTP/1.1\nHost: x\n\n",
    b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"\x00\x01\x02\r\n\r\n",
]


@dataclass(frozen=True)
class Asked:
    """`last`: the connection must not go on after its answer."""

    sent: bytes
    tag: str
    method: str
    path: str
    body: bytes
    last: bool = False


def framed(tag: str, method: str, path: str, body: bytes, *, chunked: bool, extra: bytes, size: int) -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nX-Tag: {tag}\r\n".encode() + extra
    if chunked:
        pieces = [body[at : at + size] for at in range(0, len(body), size)] + [b""]
        return head + b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in pieces)
    length = b"Content-Length: %d\r\n" % len(body) if body or method in ("POST", "PUT") else b""
    return head + length + b"\r\n" + body


@st.composite
def asked(draw: st.DrawFn, tag: str) -> Asked:
    method = draw(st.sampled_from(["GET", "GET", "HEAD", "POST", "PUT"]))
    path = draw(st.sampled_from(PLACES))
    body = b""
    if method in ("POST", "PUT") or draw(st.integers(0, 5)) == 5:
        # A body that looks like requests and answers is what a server that lost count would trip over.
        looks = b"GET /echo HTTP/1.1\r\nHost: x\r\nX-Tag: smuggled\r\n\r\n"
        body = draw(
            st.sampled_from([b"", b"a", looks, looks * 3, b"0\r\n\r\n" + looks, 70_000 * b"b", 2_000_000 * b"c"])
        )
    extra = draw(
        st.sampled_from([b"", b"", b"", b"Expect: 100-continue\r\n", b"Connection: keep-alive\r\n", b"X-A: b\r\n"])
    )
    last = draw(st.integers(0, 15)) == 15
    sent = framed(
        tag,
        method,
        path,
        body,
        chunked=bool(body) and draw(st.booleans()),
        extra=b"Connection: close\r\n" if last else extra,
        size=draw(st.sampled_from([7, 1000, 32_768, 3_000_000])) if len(body) < 100_000 else 32_768,
    )
    return Asked(sent, tag, method, path, body, last)


@st.composite
def conversation(draw: st.DrawFn) -> tuple[list[Asked], bytes, list[int]]:
    """Requests, perhaps something broken behind them, and where the stream is cut."""
    requests = [draw(asked(f"{number}")) for number in range(draw(st.integers(1, 6)))]
    broken = draw(st.sampled_from([b"", b"", b"", *BROKEN]))
    stream = b"".join(request.sent for request in requests) + broken
    cuts = draw(st.lists(st.integers(0, len(stream)), max_size=8))
    return requests, broken, sorted({0, *cuts, len(stream)})


def check(asked: Asked, answer: Answer) -> None:
    assert answer.whole
    assert answer.status == 200, answer
    assert answer.headers["x-method"] == asked.method.lower()
    if asked.method == "HEAD":
        return
    _, word, *size = asked.path.split("/")
    if word in ("large", "file", "memory"):
        assert answer.body == pattern(int(size[0]))
    else:
        assert (answer.said["method"], answer.said["target"]) == (asked.method, asked.path)
        if word != "ignore":
            assert answer.said["digest"] == hashlib.sha256(asked.body).hexdigest()


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(conversation(), st.sampled_from([0.0, 0.0, 0.002]))
def test_answers_come_in_order_and_belong_to_their_requests(
    loop: Gunicorn, conversation: tuple[list[Asked], bytes, list[int]], pause: float
) -> None:
    requests, broken, cuts = conversation
    stream = b"".join(request.sent for request in requests) + broken
    with Client(loop) as client:
        client.send(*(stream[start:end] for start, end in pairwise(cuts)), pause=pause)
        received = client.end().rest()
    answers = [answer for answer in answers_in(received) if answer.status != 100]
    for asked, answer in zip(requests, answers, strict=False):
        assert answer.tag == asked.tag
        check(asked, answer)
        if asked.last:
            assert asked is requests[len(answers) - 1], "it went on after the last"
    rest = answers[len(requests) :]
    assert len(rest) <= 1
    assert all(answer.status in (400, 501) for answer in rest)
    if len(answers) < len(requests):  # it may close early only for what it says, or for a body that nobody reads
        assert answers
        ended = requests[len(answers) - 1]
        assert ended.last or (ended.body and not ended.path.startswith(("/echo", "/short")))
    assert loop.log.count("Traceback") == 0, loop.log[-3000:]
