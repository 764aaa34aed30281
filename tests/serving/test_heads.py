"""What the loop reads itself means the same to gunicorn's parser, and what gunicorn refuses is never accepted."""

import io
import sys
from typing import Any

import gunicorn.http.message
import pytest
from gunicorn.config import Config
from gunicorn.http.errors import ParseException
from gunicorn.http.parser import RequestParser
from gunicorn.http.wsgi import create
from hypothesis import given, settings
from hypothesis import strategies as st

from serving import heads

PEER, SERVER = ("192.0.2.7", 4711), ("127.0.0.1", 8000)

# What is not compared. The two of gunicorn's are for applications that hint early or read the socket: short requests do
# neither. Whether there are more processes the loop does not know; "more" is always safe to say.
ONLY_GUNICORN = {"gunicorn.socket", "wsgi.early_hints"}
DIFFERENT = {"wsgi.errors", "wsgi.input", "wsgi.multiprocess", "wsgi.multithread", "SERVER_SOFTWARE"}


class Deaf:
    """A socket to which only an interim answer could be written."""

    def send(self, content: bytes) -> int:
        raise AssertionError(f"something was sent: {content!r}")


@pytest.fixture(scope="module", autouse=True)
def longer_request_lines() -> Any:
    """As the product has them."""
    before = gunicorn.http.message.MAX_REQUEST_LINE
    gunicorn.http.message.MAX_REQUEST_LINE = 32 * 1024
    yield
    gunicorn.http.message.MAX_REQUEST_LINE = before


def configuration() -> Config:
    config = Config()
    config.set("limit_request_line", 32 * 1024)
    config.set("limit_request_fields", 100)
    config.set("limit_request_field_size", 16 * 1024)
    config.set("forwarded_allow_ips", PEER[0])  # the strictest case: the peer is a proxy that is believed
    config.set("forwarder_headers", "")
    return config


CONFIG = configuration()


def of_gunicorn(head: bytes) -> tuple[dict[str, Any], bool, bytes] | None:
    """Its environ, whether the connection goes on, and what it took for the next request; None: refused."""
    try:
        parser = RequestParser(CONFIG, iter([head]), PEER)
        request = next(parser)
    except (ParseException, OSError, StopIteration):
        return None
    _, environ = create(request, Deaf(), PEER, SERVER, CONFIG)
    body = request.body.read()
    assert body == b"", "the head of a request with a body was taken for a whole request"
    return environ, not request.should_close(), parser.unreader.take_buffered()


def compare(head: bytes) -> bool:
    """Whether it was accepted; an AssertionError where the two disagree."""
    ours = heads.environ_of(head, PEER, SERVER)
    if ours is None:
        return False
    theirs = of_gunicorn(head)
    assert theirs is not None, f"gunicorn refuses what we accept: {head!r}"
    environ, keeps_alive, rest = theirs
    assert rest == b"", "a second request went unseen"
    assert heads.keeps_alive(ours) == keeps_alive
    assert {name: ours[name] for name in ours.keys() - DIFFERENT} == {
        name: environ[name] for name in environ.keys() - DIFFERENT - ONLY_GUNICORN
    }
    assert DIFFERENT - {"SERVER_SOFTWARE"} <= ours.keys()
    assert isinstance(ours["wsgi.input"], io.BytesIO)
    assert ours["wsgi.input"].read() == b""
    assert ours["wsgi.errors"] is sys.stderr
    return True


PLAIN = (
    b"GET /v2/library/ubuntu/manifests/24.04?ns=docker.io HTTP/1.1\r\nHost: registry.example:5000\r\n"
    b"User-Agent: docker/27.3 go/1.22\r\nAccept: application/vnd.oci.image.index.v1+json, */*\r\n"
    b"Authorization: Bearer a.b.c\r\nAccept-Encoding: gzip\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n"
)


def test_what_docker_asks_is_read_in_the_loop() -> None:
    assert compare(PLAIN)
    assert compare(PLAIN.replace(b"GET", b"HEAD", 1).replace(b"Connection: close\r\n", b""))


@pytest.mark.parametrize(
    "change",
    [
        (b"GET", b"POST"),
        (b"GET", b"get"),
        (b"GET", b"GETS"),
        (b"HTTP/1.1", b"HTTP/1.0"),
        (b"HTTP/1.1", b"HTTP/2.0"),
        (b"HTTP/1.1", b"HTTP/1.1 "),
        (b" /v2", b"  /v2"),
        (b" /v2", b" //v2"),
        (b" /v2", b" http://registry.example/v2"),
        (b" /v2/library", b" *"),
        (b"ubuntu", b"ub%75ntu"),
        (b"ubuntu", b"ub\x00ntu"),
        (b"ubuntu", b"ub\xc3\xbcntu"),
        (b"ubuntu", b"ub#ntu"),
        (b"docker.io", b"docker%2Eio"),
        (b"docker.io", b"a#b"),
        (b"Host: ", b"Host : "),
        (b"Host: ", b" Host: "),
        (b"Host: ", b"X-Host: "),
        (b"Host: ", b"Host: other\r\nHost: "),
        (b"Host: ", b"\r\nHost: "),
        (b"Host: registry.example:5000\r\n", b"Host:\r\n"),
        (b"User-Agent: ", b"User_Agent: "),
        (b"User-Agent: ", b"Accept: x\r\nUser-Agent: "),
        (b"User-Agent: ", b"Content-Length: 3\r\nUser-Agent: "),
        (b"User-Agent: ", b"content-length: 0\r\nUser-Agent: "),
        (b"User-Agent: ", b"Transfer-Encoding: chunked\r\nUser-Agent: "),
        (b"User-Agent: ", b"Expect: 100-continue\r\nUser-Agent: "),
        (b"User-Agent: ", b"Upgrade: h2c\r\nUser-Agent: "),
        (b"User-Agent: ", b"X-Forwarded-Proto: https\r\nUser-Agent: "),
        (b"User-Agent: ", b"x-forwarded-for: 1.1.1.1\r\nUser-Agent: "),
        (b"docker/27.3", b"\x7f"),
        (b"docker/27.3", b"a\tb"),
        (b"docker/27.3", b"a\r\n folded"),
        (b"docker/27.3", b"a\nInjected: b"),
        (b"docker/27.3", b"a\rb"),
        (b"docker/27.3", b"\xe9"),
        (b"Connection: close", b"Connection: keep-alive, close"),
        (b"Connection: close", b"Connection: upgrade"),
        (b"\r\n\r\n", b"\n\n"),
        (b"\r\n\r\n", b"\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n"),
        (b"\r\n\r\n", b"\r\n"),
    ],
)
def test_whatever_is_odd_is_left_to_gunicorn(change: tuple[bytes, bytes]) -> None:
    head = PLAIN.replace(*change, 1)
    assert head != PLAIN
    assert heads.environ_of(head, PEER, SERVER) is None


def test_a_head_as_long_as_gunicorn_takes_is_read_and_a_longer_one_is_not() -> None:
    room = heads.LONGEST - len(PLAIN) - len(b"X-Long: \r\n")
    longest = PLAIN.replace(b"\r\n\r\n", b"\r\nX-Long: %b\r\n\r\n" % (b"x" * room))
    assert len(longest) == heads.LONGEST
    assert compare(longest)
    assert not compare(longest.replace(b"X-Long", b"X-Longer"))


def test_with_a_unix_socket_gunicorn_reads_all() -> None:
    assert heads.environ_of(PLAIN, "", "/run/registry.sock") is None


def test_an_empty_query_is_kept_as_it_was_sent() -> None:
    assert compare(b"GET /a? HTTP/1.1\r\nHost: x\r\n\r\n")


# --- Made up heads ----------------------------------------------------------------------------------------------------

PLAIN_NAMES = [
    "Host",
    "User-Agent",
    "Accept",
    "Authorization",
    "Content-Type",
    "Cookie",
    "Range",
    "If-None-Match",
    "X-A",
]
PLAIN_VALUES = ["a", "close ", "registry:5000", "a/b, */*;q=0.1", '"x"', "Bearer a.b-c_d", "bytes=0-", "0"]
NAMES = [
    *("Content-Length", "Transfer-Encoding", "Connection", "Keep-Alive", "Expect", "Upgrade", "HTTP2-Settings", "TE"),
    *("Trailer", "Proxy", "Script-Name", "Content-Encoding", "X-Forwarded-Proto", "X-Forwarded-Protocol", "Forwarded"),
    *(
        "X-Forwarded-Ssl",
        "X-Forwarded-For",
        "Remote-Addr",
        "Path-Info",
        "Host_",
        "Wsgi.Url-Scheme",
        "Transfer_Encoding",
    ),
    *("host", "x-a"),
]
VALUES = [
    *(
        "close",
        "keep-alive",
        "Keep-Alive",
        "CLOSE",
        "close ",
        "keep-alive\t",
        "chunked",
        "0",
        "5",
        "100-continue",
        "h2c",
    ),
    *("https", "on", "ssl", "identity", "gzip", "Upgrade, HTTP2-Settings", "", " ", "close, close"),
]
plain = st.tuples(st.sampled_from(PLAIN_NAMES), st.just(": "), st.sampled_from(PLAIN_VALUES), st.just("\r\n"))
special = st.tuples(st.sampled_from(NAMES), st.just(": "), st.sampled_from(VALUES), st.just("\r\n"))
odd = st.tuples(
    st.sampled_from(NAMES) | st.text(st.characters(min_codepoint=1, max_codepoint=255), min_size=1, max_size=8),
    st.sampled_from([": ", ":", ":  ", ":\t", " : ", ":\r\n "]),
    st.sampled_from(VALUES) | st.text(st.characters(min_codepoint=0, max_codepoint=255), max_size=6),
    st.sampled_from(["\r\n", "\r\n", "\n", "\r", " \r\n", "\t\r\n", "\r\n "]),
)
PATH = "/abc.:@;=&?!$'()*+,-_~"
targets = st.text(st.sampled_from(PATH), max_size=12).map("/".__add__) | (
    st.text(st.sampled_from(PATH + '"<>[]\\^`{|}%#\t\x00\x7f\xe9'), max_size=20).map("/".__add__)
    | st.sampled_from(["*", "//x/y", "http://x/y", "/a//b", "/..;/x", "/?", "/a?b?c", "/a:b", "x:1", "", "/[::1]"])
)


@st.composite
def head(draw: st.DrawFn) -> bytes:
    """Mostly well formed, so that many are accepted."""
    method = draw(st.sampled_from(["GET"] * 8 + ["HEAD"] * 8 + ["POST", "get", "G T", ""]))
    version = draw(st.sampled_from(["HTTP/1.1"] * 15 + ["HTTP/1.0", "HTTP/1.2", "http/1.1", "HTTP/1.1 x"]))
    kind = draw(st.sampled_from([plain, plain, plain | special, plain | special, plain | special | odd]))
    fields = draw(st.lists(kind, max_size=4, unique_by=None if draw(st.booleans()) else lambda field: field[0]))
    host = draw(st.sampled_from(["Host: x\r\n"] * 4 + [""]))
    end = draw(st.sampled_from(["\r\n"] * 15 + ["\n", "\r\n\r\n", ""]))
    text = f"{method} {draw(targets)} {version}\r\n{host}" + "".join(map("".join, fields)) + end
    return text.encode("latin-1")


@settings(max_examples=600, deadline=None)
@given(head())
def test_a_head_that_is_accepted_means_what_gunicorn_understands(head: bytes) -> None:
    compare(head)


@settings(max_examples=600, deadline=None)
@given(st.integers(0, len(PLAIN) - 1), st.binary(max_size=3), st.integers(0, 3))
def test_a_plain_head_with_a_few_bytes_changed_means_what_gunicorn_understands(at: int, put: bytes, cut: int) -> None:
    compare(PLAIN[:at] + put + PLAIN[at + cut :])


# --- Answers ----------------------------------------------------------------------------------------------------------


def answered(status: str, headers: list[tuple[str, str]], content: bytes, method: str = "GET") -> bytes | None:
    def application(_environ: Any, start_response: Any) -> list[bytes]:
        start_response(status, headers)
        return [content]

    environ = heads.environ_of(PLAIN.replace(b"GET", method.encode(), 1), PEER, SERVER)
    assert environ is not None
    return heads.answer(application, environ, heads.keeps_alive(environ), False)


def test_an_answer_is_framed_by_its_length() -> None:
    answer = answered("200 OK", [("X-A", "b")], b"hello")
    assert answer is not None
    assert answer.startswith(b"HTTP/1.1 200 OK\r\nServer: gunicorn\r\nDate: ")
    assert answer.endswith(b"\r\nConnection: close\r\nX-A: b\r\nContent-Length: 5\r\n\r\nhello")


@pytest.mark.parametrize(
    ("status", "method"), [("204 No Content", "GET"), ("304 Not Modified", "GET"), ("200 OK", "HEAD")]
)
def test_an_answer_that_may_have_no_body_has_none(status: str, method: str) -> None:
    answer = answered(status, [], b"hello", method)
    assert answer is not None
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("value", ["a\r\nSet-Cookie: b", "a\nb", "a\rb"])
def test_a_line_break_in_a_header_never_goes_out(value: str) -> None:
    assert answered("200 OK", [("X-A", value)], b"") is None


def test_errors_of_the_server_are_left_to_a_thread() -> None:
    assert answered("503 Service Unavailable", [], b"") is None


def test_an_application_that_raises_is_left_to_a_thread() -> None:
    environ = heads.environ_of(PLAIN, PEER, SERVER)
    assert environ is not None
    assert heads.answer(lambda *_: 1 / 0, environ, True, False) is None  # type: ignore[arg-type, return-value]
