"""HTTP's traps, sent over a real socket to our worker and to gunicorn's own: the answers are the same or stricter.

After each trap comes another request, so that a server that lost count answers it wrongly, and then the end. `/echo` is
answered in a thread, `/short` in the loop, where the request is plain.
"""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from tests.serving.client import Answer, Client, answers_in, exchange
from tests.serving.program import Gunicorn

NEXT = b"GET /echo/next HTTP/1.1\r\nHost: x\r\nX-Tag: next\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"


@dataclass(frozen=True)
class Trap:
    """`stricter`: why we answer otherwise than gunicorn, and `answers`: how, as statuses."""

    request: bytes
    stricter: str = ""
    answers: tuple[int, ...] = ()


def post(headers: bytes, body: bytes = b"", method: bytes = b"POST", path: bytes = b"/echo") -> bytes:
    return b"%b %b HTTP/1.1\r\nHost: x\r\nX-Tag: first\r\n%b\r\n%b" % (method, path, headers, body)


def chunks(body: bytes) -> bytes:
    return post(CHUNKED, body)


def get(
    headers: bytes = b"", target: bytes = b"/echo", version: bytes = b"HTTP/1.1", host: bytes = b"Host: x\r\n"
) -> bytes:
    return b"GET %b %b\r\n%bX-Tag: first\r\n%b\r\n" % (target, version, host, headers)


OUR_CHUNKS = "a chunk's frame has one reading, by the letter of the RFC, and no whitespace"
OUR_LIMIT = "a head is 64 KiB at most, whatever its lines are"

TRAPS = {
    # --- Plain ones, for the other answers to mean something
    "a plain request": Trap(get()),
    "a plain request, in the loop": Trap(get(target=b"/short")),
    "HEAD": Trap(b"HEAD /echo HTTP/1.1\r\nHost: x\r\nX-Tag: first\r\n\r\n"),
    "HEAD in the loop": Trap(b"HEAD /short HTTP/1.1\r\nHost: x\r\nX-Tag: first\r\n\r\n"),
    "HEAD of a large answer": Trap(b"HEAD /large HTTP/1.1\r\nHost: x\r\n\r\n"),
    "HEAD of a file": Trap(b"HEAD /file HTTP/1.1\r\nHost: x\r\n\r\n"),
    "a large answer": Trap(get(target=b"/large")),
    "a large answer, in the loop": Trap(get(target=b"/short/../large")),
    "a file": Trap(get(target=b"/file")),
    "an answer without a length": Trap(get(target=b"/stream")),
    "a body with a length": Trap(post(b"Content-Length: 5\r\n", b"hello")),
    "a chunked body": Trap(chunks(b"5\r\nhello\r\n3\r\nyou\r\n0\r\n\r\n")),
    # --- The request line
    "HTTP/1.0": Trap(get(version=b"HTTP/1.0")),
    "HTTP/1.0, in the loop": Trap(get(version=b"HTTP/1.0", target=b"/short")),
    "HTTP/1.0 that keeps alive": Trap(get(b"Connection: keep-alive\r\n", version=b"HTTP/1.0")),
    "HTTP/1.0 without a host": Trap(get(version=b"HTTP/1.0", host=b"")),
    "HTTP/1.0 and no length in the answer": Trap(get(b"Connection: keep-alive\r\n", b"/stream", b"HTTP/1.0")),
    "HTTP/1.9": Trap(get(version=b"HTTP/1.9")),
    "HTTP/2.0": Trap(get(version=b"HTTP/2.0")),
    "HTTP/0.9": Trap(b"GET /echo\r\n\r\n"),
    "no version, one line": Trap(b"GET /echo\r\nHost: x\r\n\r\n"),
    "a version in small letters": Trap(get(version=b"http/1.1")),
    "a version with a long number": Trap(get(version=b"HTTP/1.10")),
    "absolute form": Trap(get(target=b"http://x/echo")),
    "absolute form of another host": Trap(get(target=b"http://evil/echo")),
    "asterisk form": Trap(get(target=b"*")),
    "OPTIONS with an asterisk": Trap(b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n"),
    "authority form": Trap(get(target=b"x:80")),
    "CONNECT": Trap(b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n"),
    "two slashes": Trap(get(target=b"//x/echo")),
    "two spaces": Trap(get(target=b" /echo")),
    "a tab for a space": Trap(b"GET\t/echo\tHTTP/1.1\r\nHost: x\r\n\r\n"),
    "a fragment": Trap(get(target=b"/echo#a")),
    "an escape": Trap(get(target=b"/ech%6f?a=%00")),
    "an escaped NUL": Trap(get(target=b"/echo%00")),
    "an escaped slash in the loop": Trap(get(target=b"/short/a%2fb")),
    "bad escapes": Trap(get(target=b"/echo%zz%")),
    "NUL in the target": Trap(get(target=b"/ec\0ho")),
    "8 bits in the target": Trap(get(target=b"/ech\xf6")),
    "a method in small letters": Trap(b"get /echo HTTP/1.1\r\nHost: x\r\n\r\n"),
    "a method of our own": Trap(b"PROPFIND /echo HTTP/1.1\r\nHost: x\r\n\r\n"),
    "a method with a space before": Trap(b" GET /echo HTTP/1.1\r\nHost: x\r\n\r\n"),
    "an empty line before": Trap(b"\r\n" + get()),
    "an empty line before, in the loop": Trap(b"\r\n" + get(target=b"/short")),
    "two empty lines before": Trap(b"\r\n\r\n" + get()),
    "only empty lines": Trap(b"\r\n\r\n\r\n\r\n"),
    "a carriage return before": Trap(b"\r" + get()),
    "a request line without end": Trap(get(target=b"/" + 40_000 * b"a")),
    "a request line without end that never ends": Trap(b"GET /" + 200_000 * b"a"),
    "a request line of 30 KB": Trap(get(target=b"/echo/" + 30_000 * b"a")),
    "TLS to a plain port": Trap(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(200)) + b"\r\n\r\n"),
    "nothing": Trap(b""),
    # --- Hosts
    "no host": Trap(get(host=b"")),
    "no host, in the loop": Trap(get(host=b"", target=b"/short")),
    "two hosts": Trap(get(b"Host: y\r\n")),
    "two hosts, in the loop": Trap(get(b"Host: y\r\n", target=b"/short")),
    "two equal hosts": Trap(get(b"Host: x\r\n", target=b"/short")),
    "an empty host": Trap(get(host=b"Host:\r\n", target=b"/short")),
    # --- Other headers
    "bare LF everywhere": Trap(get().replace(b"\r\n", b"\n")),
    "bare LF after the request line": Trap(get().replace(b"\r\n", b"\n", 1)),
    "bare LF after a header": Trap(get(b"X-A: b\nX-C: d\r\n")),
    "bare LF in the loop": Trap(get(b"X-A: b\nX-C: d\r\n", target=b"/short")),
    "bare LF at the end": Trap(get()[:-2] + b"\n"),
    "bare CR in a header": Trap(get(b"X-A: b\rc\r\n", target=b"/short")),
    "a folded header": Trap(get(b"X-A: b\r\n c\r\n", target=b"/short")),
    "a folded length": Trap(post(b"Content-Length:\r\n 5\r\n", b"hello")),
    "a folded first header": Trap(b"GET /echo HTTP/1.1\r\n Host: x\r\n\r\n"),
    "NUL in a header": Trap(get(b"X-A: b\0c\r\n", target=b"/short")),
    "NUL in a name": Trap(get(b"X-\0A: b\r\n")),
    "8 bits in a header": Trap(get(b"X-A: \xe9\r\n", target=b"/short")),
    "8 bits in a name": Trap(get(b"X-\xe9: b\r\n")),
    "a space before the colon": Trap(get(b"X-A : b\r\n", target=b"/short")),
    "a length with a space before the colon": Trap(post(b"Content-Length : 5\r\n", b"hello")),
    "no colon": Trap(get(b"X-A\r\n", target=b"/short")),
    "no name": Trap(get(b": b\r\n", target=b"/short")),
    "no value": Trap(get(b"X-A:\r\n", target=b"/short")),
    "an underscore": Trap(get(b"X_Tag: b\r\n", target=b"/short")),
    "a length with an underscore": Trap(post(b"Content_Length: 5\r\n", b"hello")),
    "a header twice": Trap(get(b"X-A: b\r\nX-A: c\r\n", target=b"/short")),
    "SCRIPT_NAME": Trap(get(b"Script-Name: /short\r\nScript_Name: /short\r\n", target=b"/short")),
    "a proxy that nobody trusts": Trap(get(b"X-Forwarded-Proto: https\r\nX-Forwarded-For: 1.1.1.1\r\n", b"/short")),
    "two proxies of two minds": Trap(get(b"X-Forwarded-Proto: https\r\nX-Forwarded-Ssl: off\r\n")),
    "100 headers": Trap(get(b"".join(b"X-%d: b\r\n" % number for number in range(98)))),
    "101 headers": Trap(get(b"".join(b"X-%d: b\r\n" % number for number in range(99)))),
    "a header of 15 KB": Trap(get(b"X-A: " + 15_000 * b"a" + b"\r\n", target=b"/short")),
    "a header of 20 KB": Trap(get(b"X-A: " + 20_000 * b"a" + b"\r\n", target=b"/short")),
    "a head of 60 KB": Trap(get(b"".join(b"X-%d: %b\r\n" % (number, 15_000 * b"a") for number in range(4)))),
    "a head of 90 KB": Trap(
        get(b"".join(b"X-%d: %b\r\n" % (number, 15_000 * b"a") for number in range(6))), OUR_LIMIT, (431,)
    ),
    "headers without end": Trap(get(b"".join(b"X-%d: b\r\n" % number for number in range(30_000)))),
    "a header without end that never ends": Trap(get(b"X-A: " + 200_000 * b"a")[:-4]),
    # --- Connection, Expect, Upgrade
    "close": Trap(get(b"Connection: close\r\n")),
    "close, in the loop": Trap(get(b"Connection: close\r\n", target=b"/short")),
    "Close": Trap(get(b"Connection: Close \r\n", target=b"/short")),
    "close among others": Trap(get(b"Connection: keep-alive, close\r\n", target=b"/short")),
    "keep-alive and close": Trap(get(b"Connection: keep-alive\r\nConnection: close\r\n", target=b"/short")),
    "close and a body": Trap(post(b"Connection: close\r\nContent-Length: 5\r\n", b"hello")),
    "Expect": Trap(post(b"Expect: 100-continue\r\nContent-Length: 5\r\n", b"hello")),
    "Expect with chunks": Trap(post(b"Expect: 100-Continue\r\n" + CHUNKED, b"5\r\nhello\r\n0\r\n\r\n")),
    "Expect without a body": Trap(get(b"Expect: 100-continue\r\n", target=b"/short")),
    "Expect of HTTP/1.0": Trap(get(b"Expect: 100-continue\r\n", version=b"HTTP/1.0")),
    "Expect something else": Trap(post(b"Expect: 200-ok\r\nContent-Length: 5\r\n", b"hello")),
    "Expect twice": Trap(post(b"Expect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: 5\r\n", b"hello")),
    "Expect, and the body is not wanted": Trap(
        post(b"Expect: 100-continue\r\nContent-Length: 5\r\n", b"hello", path=b"/ignore")
    ),
    "Upgrade to h2c": Trap(
        get(b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ\r\n", b"/short")
    ),
    "Upgrade to websocket": Trap(
        get(b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n", b"/short")
    ),
    "the preface of HTTP/2": Trap(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"),
    "the PROXY protocol": Trap(b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n" + get()),
    # --- Bodies with a length
    "a body on GET": Trap(post(b"Content-Length: 5\r\n", b"hello", b"GET", b"/short")),
    "a chunked body on GET": Trap(post(CHUNKED, b"5\r\nhello\r\n0\r\n\r\n", b"GET", b"/short")),
    "a body on HEAD": Trap(post(b"Content-Length: 5\r\n", b"hello", b"HEAD", b"/short")),
    "a request for a body": Trap(post(b"Content-Length: %d\r\n" % len(NEXT), NEXT)),
    "a request for a body that nobody reads": Trap(post(b"Content-Length: %d\r\n" % len(NEXT), NEXT, path=b"/ignore")),
    "a request in chunks that nobody reads": Trap(
        post(CHUNKED, b"%x\r\n%b\r\n0\r\n\r\n" % (len(NEXT), NEXT), path=b"/ignore")
    ),
    "length zero": Trap(post(b"Content-Length: 0\r\n")),
    "length zero on GET, in the loop": Trap(post(b"Content-Length: 0\r\n", method=b"GET", path=b"/short")),
    "no length on POST": Trap(post(b"")),
    "two lengths": Trap(post(b"Content-Length: 5\r\nContent-Length: 6\r\n", b"hello")),
    "two equal lengths": Trap(post(b"Content-Length: 5\r\nContent-Length: 5\r\n", b"hello")),
    "two lengths in one": Trap(post(b"Content-Length: 5, 5\r\n", b"hello")),
    "a second length of zero": Trap(post(b"Content-Length: 5\r\nContent-Length: 0\r\n", b"hello")),
    "a signed length": Trap(post(b"Content-Length: +5\r\n", b"hello")),
    "a negative length": Trap(post(b"Content-Length: -5\r\n", b"hello")),
    "a hexadecimal length": Trap(post(b"Content-Length: 0x5\r\n", b"hello")),
    "a length with an underscore in it": Trap(post(b"Content-Length: 1_0\r\n", b"hello")),
    "a length in superscript": Trap(post(b"Content-Length: \xb2\r\n", b"hello")),
    "an empty length": Trap(post(b"Content-Length:\r\n", b"hello")),
    "a length with zeros before": Trap(post(b"Content-Length: 00005\r\n", b"hello")),
    "a length with a tab": Trap(post(b"Content-Length:\t5\t\r\n", b"hello")),
    "a length without end": Trap(post(b"Content-Length: " + 5_000 * b"9" + b"\r\n", b"hello")),
    "a length of more than 64 bits": Trap(post(b"Content-Length: 99999999999999999999999\r\n", b"hello")),
    "a body that is cut": Trap(post(b"Content-Length: 500\r\n", b"hello")),
    "a large body that is cut": Trap(post(b"Content-Length: 500000\r\n", b"hello")),
    "a large body": Trap(post(b"Content-Length: 500000\r\n", 500_000 * b"a")),
    # --- Bodies in chunks
    "length and chunked": Trap(post(b"Content-Length: 5\r\n" + CHUNKED, b"5\r\nhello\r\n0\r\n\r\n")),
    "chunked and length": Trap(post(CHUNKED + b"Content-Length: 5\r\n", b"5\r\nhello\r\n0\r\n\r\n")),
    "chunked of HTTP/1.0": Trap(chunks(b"5\r\nhello\r\n0\r\n\r\n").replace(b"HTTP/1.1", b"HTTP/1.0")),
    "chunked twice": Trap(post(CHUNKED * 2, b"5\r\nhello\r\n0\r\n\r\n")),
    "chunked, chunked": Trap(post(b"Transfer-Encoding: chunked, chunked\r\n", b"5\r\nhello\r\n0\r\n\r\n")),
    "chunked, identity": Trap(post(b"Transfer-Encoding: chunked, identity\r\n", b"5\r\nhello\r\n0\r\n\r\n")),
    "identity": Trap(post(b"Transfer-Encoding: identity\r\nContent-Length: 5\r\n", b"hello")),
    "gzip": Trap(post(b"Transfer-Encoding: gzip\r\n", b"hello")),
    "gzip, chunked": Trap(post(b"Transfer-Encoding: gzip, chunked\r\n", b"5\r\nhello\r\n0\r\n\r\n")),
    "xchunked": Trap(post(b"Transfer-Encoding: xchunked\r\n", b"5\r\nhello\r\n0\r\n\r\n")),
    "chunked with a vertical tab": Trap(post(b"Transfer-Encoding: \x0bchunked\r\n", b"5\r\nhello\r\n0\r\n\r\n")),
    "chunked in capitals": Trap(post(b"TRANSFER-ENCODING:CHUNKED\r\n", b"5\r\nhello\r\n0\r\n\r\n")),
    "chunked in quotes": Trap(post(b'Transfer-Encoding: "chunked"\r\n', b"5\r\nhello\r\n0\r\n\r\n")),
    "an empty transfer encoding": Trap(post(b"Transfer-Encoding:\r\n", b"hello")),
    "trailers": Trap(chunks(b"5\r\nhello\r\n0\r\nX-A: b\r\nX-C: d\r\n\r\n")),
    "trailers that would mean something": Trap(
        chunks(b"5\r\nhello\r\n0\r\nX-Tag: other\r\n\r\n")
    ),
    "a host in the trailers": Trap(chunks(b"5\r\nhello\r\n0\r\nHost: evil\r\n\r\n")),
    "a length in the trailers": Trap(chunks(b"5\r\nhello\r\n0\r\nContent-Length: 5\r\n\r\n")),
    "a bad trailer": Trap(chunks(b"5\r\nhello\r\n0\r\nX A: b\r\n\r\n")),
    "a folded trailer": Trap(chunks(b"5\r\nhello\r\n0\r\nX-A: b\r\n c\r\n\r\n")),
    "trailers with bare LF": Trap(chunks(b"5\r\nhello\r\n0\r\nX-A: b\n\r\n\r\n")),
    "trailers of 20 KB": Trap(
        chunks(b"0\r\n" + b"".join(b"X-%d: %b\r\n" % (n, 1000 * b"a") for n in range(20)) + b"\r\n"),
        "trailers are 8 KiB at most",
        (400,),
    ),
    "an extension": Trap(chunks(b"5;a=b;c=\"d e\"\r\nhello\r\n0;last\r\n\r\n")),
    "an extension after a space": Trap(chunks(b"5 ;a=b\r\nhello\r\n0\r\n\r\n"), OUR_CHUNKS, (400,)),
    "an extension with bare LF": Trap(chunks(b"5;a\nb\r\nhello\r\n0\r\n\r\n")),
    "an extension without end": Trap(chunks(b"5;" + 50_000 * b"a" + b"\r\nhello\r\n0\r\n\r\n")),
    "an extension of 2 KB": Trap(
        chunks(b"5;" + 2_000 * b"a" + b"\r\nhello\r\n0\r\n\r\n"), "a frame is 1 KiB at most", (400,)
    ),
    "a chunk size that is none": Trap(chunks(b"g\r\nhello\r\n0\r\n\r\n")),
    "an empty chunk size": Trap(chunks(b"\r\nhello\r\n0\r\n\r\n")),
    "a chunk size with a sign": Trap(chunks(b"+5\r\nhello\r\n0\r\n\r\n")),
    "a negative chunk size": Trap(chunks(b"-5\r\nhello\r\n0\r\n\r\n")),
    "a chunk size with 0x": Trap(chunks(b"0x5\r\nhello\r\n0\r\n\r\n")),
    "a chunk size with an underscore": Trap(chunks(b"0_5\r\nhello\r\n0\r\n\r\n")),
    "a chunk size with a space before": Trap(chunks(b" 5\r\nhello\r\n0\r\n\r\n")),
    "a chunk size with a space behind": Trap(chunks(b"5 \r\nhello\r\n0\r\n\r\n")),
    "a chunk size with zeros before": Trap(chunks(b"0000000005\r\nhello\r\n000\r\n\r\n")),
    "a chunk size with many zeros before": Trap(
        chunks(b"0" * 40 + b"5\r\nhello\r\n0\r\n\r\n"), "15 digits are more than anybody sends", (400,)
    ),
    "a chunk size of more than 64 bits": Trap(chunks(b"f" * 20 + b"\r\nhello\r\n0\r\n\r\n")),
    "a chunk size that ends in bare LF": Trap(chunks(b"5\nhello\r\n0\r\n\r\n")),
    "a chunk that is longer than it said": Trap(chunks(b"5\r\nhello!\r\n0\r\n\r\n")),
    "a chunk that is shorter than it said": Trap(chunks(b"5\r\nhell\r\n0\r\n\r\n")),
    "a chunk that ends in bare LF": Trap(chunks(b"5\r\nhello\n0\r\n\r\n")),
    "a chunk that ends in nothing": Trap(chunks(b"5\r\nhello0\r\n\r\n")),
    "a chunked body that ends in bare LF": Trap(chunks(b"5\r\nhello\r\n0\r\n\n")),
    "a chunked body that is cut": Trap(chunks(b"5\r\nhel")),
    "a chunked body without its end": Trap(chunks(b"5\r\nhello\r\n")),
    "a chunked body that is none": Trap(chunks(b"hello")),
}  # fmt: skip


def understood(answers: list[Answer]) -> list[tuple]:
    """What is compared: statuses, whether the connection goes on, how it is framed, and all that the echo was told.

    Not how much came of a body that broke: ours hands on what came, gunicorn's drops some. Nor the words of refusals.
    """
    return [
        (
            answer.status,
            answer.tag,
            answer.whole,
            answer.closes,
            answer.headers.get("transfer-encoding"),
            said(answer),
        )
        for answer in answers
    ]


def said(answer: Answer) -> object:
    if answer.status >= 400 and answer.said:
        return {name: value for name, value in answer.said.items() if name not in ("size", "digest")}
    return answer.said or (answer.body if answer.status < 400 else b"")


@pytest.mark.parametrize("name", TRAPS)
def test_a_trap_is_answered_as_gunicorn_answers_it_or_more_strictly(
    loop: Gunicorn, gthread: Gunicorn, name: str
) -> None:
    trap = TRAPS[name]
    ours, theirs = (exchange(server, [trap.request, NEXT]) for server in (loop, gthread))
    if not trap.stricter:
        assert understood(ours) == understood(theirs)
        return
    assert understood(ours) != understood(theirs), "it is no longer stricter: strike the reason out"
    assert tuple(answer.status for answer in ours) == trap.answers
    assert ours[-1].status >= 400


# --- The same, cut --------------------------------------------------------------------------------------------------

SPLIT = {
    "plain": get(target=b"/echo?a=b"),
    "plain, in the loop": get(target=b"/short?a=b"),
    "pipelined, in the loop": get(target=b"/short/1") + get(target=b"/short/2") + get(target=b"/short/3"),
    "pipelined behind bodies": (
        post(b"Content-Length: 5\r\n", b"hello") + get(target=b"/short") + chunks(b"3\r\nyou\r\n0\r\n\r\n")
    ),
    "pipelined behind a body that nobody reads": post(b"Content-Length: 5\r\n", b"hello", path=b"/ignore") + get(),
    "chunks and trailers": chunks(b"5;a=b\r\nhello\r\n3\r\nyou\r\n0\r\nX-A: b\r\n\r\n"),
    "a bad chunk": chunks(b"5\r\nhello\r\nx\r\n"),
    "Expect": post(b"Expect: 100-continue\r\nContent-Length: 5\r\n", b"hello"),
    "an error in the middle": get() + b"GET /echo HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n" + get(),
    "bare LF": b"GET /echo HTTP/1.1\r\nHost: x\nX-A: b\r\n\r\n",
    "an empty line before": b"\r\n" + get(),
    "close in the middle": (
        get(target=b"/short/1") + get(b"Connection: close\r\n", b"/short/2") + get(target=b"/short/3")
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SPLIT)
def test_where_a_request_is_cut_in_two_makes_no_difference(loop: Gunicorn, gthread: Gunicorn, name: str) -> None:
    stream = SPLIT[name] + NEXT
    expected = understood(exchange(gthread, [stream]))
    cuts = range(1, len(SPLIT[name]) + 1)
    clients = [Client(loop).send(stream[:at]) for at in cuts]
    time.sleep(0.1)  # for the server to read all the beginnings
    try:
        for at, client in zip(cuts, clients, strict=True):
            client.send(stream[at:]).end()
        for at, client in zip(cuts, clients, strict=True):
            assert understood(answers_in(client.rest())) == expected, f"cut at byte {at}: {stream[:at][-20:]!r}"
    finally:
        for client in clients:
            client.socket.close()


@pytest.mark.parametrize("name", SPLIT)
def test_a_request_that_comes_byte_by_byte_is_answered_the_same(loop: Gunicorn, gthread: Gunicorn, name: str) -> None:
    stream = SPLIT[name] + NEXT
    expected = understood(exchange(gthread, [stream]))
    pieces = [stream[at : at + 1] for at in range(len(stream))]
    assert understood(exchange(loop, pieces, pause=0.001)) == expected


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("name", ["pipelined behind bodies", "chunks and trailers", "plain, in the loop", "Expect"])
def test_a_client_that_leaves_at_any_byte_is_forgotten(loop: Gunicorn, name: str, reset: bool) -> None:
    stream = SPLIT[name]
    for at in range(len(stream) + 1):
        client = Client(loop).send(stream[:at])
        client.reset() if reset else client.socket.close()
    assert [answer.tag for answer in exchange(loop, [NEXT])] == ["next"]
    assert loop.log.count("Traceback") == 0, loop.log[-3000:]


# --- Answers that nobody takes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/large/3000000", "/file/3000000", "/short/../large/3000000"])
def test_a_client_that_never_reads_does_not_stop_others(loop: Gunicorn, path: str) -> None:
    request = f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    clients = [Client(loop, receive_buffer=4096).send(request) for _ in range(30)]
    time.sleep(0.3)
    assert [answer.tag for answer in exchange(loop, [NEXT])] == ["next"]
    for client in clients:
        client.socket.close()


def test_a_half_closed_client_gets_all_of_a_large_answer(loop: Gunicorn) -> None:
    for path in (b"/large/3000000", b"/file/3000000"):
        with Client(loop, receive_buffer=4096) as client:
            client.send(get(target=path)).end()
            time.sleep(0.5)
            (answer,) = answers_in(client.rest())
            assert len(answer.body) == 3_000_000


def test_many_clients_that_cut_their_requests_anywhere_get_their_own_answers(loop: Gunicorn) -> None:
    errors = []

    def one(number: int) -> None:
        request = b"GET /short/%d HTTP/1.1\r\nHost: x\r\nX-Tag: %d\r\n\r\n" % (number, number)
        cut = number % len(request)
        with Client(loop) as client:
            for _ in range(5):
                answer = client.send(request[:cut], request[cut:], pause=0.002).answer()
                if answer.tag != str(number):
                    errors.append((number, answer))

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(one, range(200)))
    assert errors == []
    assert threading.active_count() < 30
