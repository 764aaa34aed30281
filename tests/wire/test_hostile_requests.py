"""A table of bad requests for every route and method. Whatever comes: no 5xx, always the envelope, soon, and in bounded
memory; and the server works afterwards."""

import json
import re
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.images import IMAGE, bytes_of, image
from tests.wire.connection import Answer, Closed, Connection, chunked, is_ours

QUICK = 2.0  # seconds for any of the answers
GROWTH = 50 * 1024  # KiB that all web processes may grow by over the whole table
LARGEST = 200 * 1024  # KiB of any web process, on average
HUGE = "9" * 5000
SERVERS_OWN = (400, 414, 417, 431, 501)  # for what is not HTTP, or too much of it
ZERO = "0" * 64
UPLOAD_ID = "00000000-0000-4000-8000-000000000000"

NAMES = [
    "..",
    ".",
    "-",
    "A",
    "a//b",
    "a" * 256,
    "a" * 5000,
    "a/" * 1000 + "a",
    "a-" * 120 + "!",  # for regular expressions that backtrack
    "%00",
    "a%00b",
    "%0a",
    "a%0d%0ab",
    "%ff%fe",
    "%c0%ae%c0%ae",
    "%ed%a0%80",
    "%E2%80%AE",
    "%F0%9F%90%8B",
    "%",
    "%2",
    "%zz",
    "%25%32%35",
    "a%2fb",
    "a%5cb",
    "..%2f..%2fetc%2fpasswd",
    "a'--",
    "a;b",
    "{{a}}",
    "${a}",
    "<a>",
    "a:b",
    "a@b",
]
REFERENCES = [
    *NAMES,
    "sha256:",
    "sha256:" + "g" * 64,
    "sha256:" + "A" * 64,
    f"sha256:{ZERO}0",
    f"sha256:{ZERO}%00",
    f"sha512:{ZERO}",
    "sha256:" + "0" * 5000,
    ":",
    "::",
    f"sha257:{ZERO}",
    f"tarsum.v1%2bsha256:{ZERO}",
    f"sha256:{ZERO},sha256:{ZERO}",
    f"%73ha256:{ZERO}",
]
UPLOAD_IDS = [*NAMES, UPLOAD_ID, "0" * 32, "{" + UPLOAD_ID + "}", f"urn:uuid:{UPLOAD_ID}", "%D9%A0" * 32, HUGE]
QUERIES = [
    "?",
    "?&&&&",
    "?=",
    "?==&=",
    "?digest",
    "?digest=&digest=&digest=",
    f"?digest=sha256:{ZERO}&digest=sha512:{ZERO}",
    "?digest[]=x&digest[a]=y",
    "?digest=%00",
    "?digest=%ff",
    "?digest=" + "a" * 20_000,
    f"?digest=tarsum.v1%2bsha256:{ZERO}",
    "?digest-algorithm=%00",
    "?digest-algorithm=" + "a" * 20_000,
    "?mount=&from=",
    "?mount=%00&from=%00",
    f"?mount=sha256:{ZERO}&from=%00",
    f"?mount=sha256:{ZERO}&from=..%2f..&mount=x",
    "?mount=" + "a" * 20_000,
    f"?n={HUGE}",
    f"?n=-{HUGE}",
    "?n=NaN",
    "?n=1e999",
    "?n=%00",
    "?n=%D9%A1",
    "?n=1&n=x",
    "?last=%00",
    "?last=%ed%a0%80",
    "?last=" + "a" * 20_000,
    f"?last={HUGE}",
    "?last=%ff%fe",
    "?artifactType=%00",
    "?artifactType=" + "a" * 20_000,
    "?tag=%00",
    "?" + "&".join(["tag=v"] * 101),
    "?" + "&".join(["a=b"] * 1001),
    "?" + "&" * 10_000,
    "?" + "a" * 20_000,
    "?%",
    "?%zz=%zz",
    "?a=b;c=d",
]
# Those the server itself may refuse, since it cannot tell yet that they are for /v2/.
TARGETS = [
    "/v2/NAME/manifests/\x00",
    "/v2/NAME/manifests/\xff",
    "/v2/\xc3\xa9/tags/list",
    "/v2/NAME/tags/list?last=\xff",
    "/v2/NAME/tags/list#fragment",
    "/v2/NAME/tags/ list",
    "/v2/NAME/tags/list?" + "a" * 60_000,
    "*",
    "v2/",
    "http://127.0.0.1/v2/",
    "http://[/v2/",
    "",
]

HEADERS = [
    ("Range", f"bytes={HUGE}-{HUGE}"),
    ("Range", f"bytes=-{HUGE}"),
    ("Range", "bytes=" + "0-0," * 2000),
    ("Range", "bytes=9-1"),
    ("Range", "\xff"),
    ("If-Range", "\xff" * 1000),
    ("If-Range", '"' * 8000),
    ("If-None-Match", '"' * 8000),
    ("If-None-Match", '"a",' * 3000),
    ("If-None-Match", 'W/"' * 3000),
    ("If-Modified-Since", "\xff" * 100),
    ("Content-Range", f"{HUGE}-{HUGE}"),
    ("Content-Range", f"0-{HUGE}"),
    ("Content-Range", "9223372036854775807-9223372036854775807"),
    ("Content-Range", "18446744073709551616-18446744073709551616"),
    ("Content-Range", "9999999999999999999-9999999999999999999"),
    ("Content-Range", "5-0"),
    ("Content-Range", "\xb2-\xb3"),
    ("Content-Range", "bytes */*"),
    ("Accept", "a/b;q=" + "9" * 5000),
    ("Accept", "*/*," * 4000),
    ("Accept", "\xff"),
    ("Accept-Encoding", "gzip;q=NaN"),
    ("Content-Type", "\xff/\xff"),
    ("Content-Type", "multipart/form-data; boundary="),
    ("Content-Type", "multipart/form-data; boundary=" + "a" * 5000),
    ("Content-Type", "application/x-www-form-urlencoded; charset=nonsense"),
    ("Content-Type", "text/plain; charset=utf-7"),
    ("Content-Type", f"{IMAGE}; " + "a=b; " * 2000),
    ("Content-Encoding", "gzip"),
    ("Cookie", "sessionid=" + "a" * 8000),
    ("Cookie", "\xff=\xff; =; ;;;"),
    ("Host", ""),
    ("Host", "evil.example.com"),
    ("Host", "127.0.0.1:99999999"),
    ("Host", "[::1"),
    ("Host", "a" * 8000),
    ("Host", "127.0.0.1\xff"),
    ("X-Forwarded-Host", "evil.example.com"),
    ("X-Forwarded-Proto", "\xff"),
    ("X-HTTP-Method-Override", "DELETE"),
    ("Expect", "nonsense"),
    ("Connection", "\xff, close, upgrade"),
    ("Upgrade", "h2c"),
    ("Te", "trailers"),
    ("Content-Length", HUGE),
    ("Content-Length", "-1"),
    ("Content-Length", "1_0"),
    ("Content-Length", "\xb2"),
    ("Transfer-Encoding", "gzip"),
    ("Transfer-Encoding", "chunked, chunked"),
]
CREDENTIALS = [
    "Bearer",
    "Bearer ",
    "Bearer  ",
    "Bearer x",
    "Bearer " + "a" * 8000,
    "Bearer a.b.c",
    "Bearer ....",
    "Bearer \xff.\xff.\xff",
    "Bearer eyJhbGciOiJub25lIn0.e30.",
    "Bearer " + "W" * 3000 + "." + "W" * 3000 + ".x",
    "Bearer x y z",
    "bearer x",
    "Basic",
    "Basic ",
    "Basic x",
    "Basic \xff",
    "Basic Og==",
    "Basic Og",
    "Basic ADo=",
    "Basic AAAA",
    "Basic /////w==",
    "Basic " + "Og==" * 2000,
    "Basic YWRtaW4=",
    "Digest username=admin",
    "Negotiate abc",
    "\xff",
    ",",
    "=",
    "a" * 8000,
]

SIMPLE = bytes_of(image(b"{}"))
BODIES = [
    b"",
    b"\0",
    b"{",
    b"[]",
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b"[" * 2_000_000,
    b'{"schemaVersion":' + b"9" * 5000 + b"}",
    b'{"schemaVersion":2,"x":NaN}',
    b'{"schemaVersion":2,"x":-Infinity}',
    b'{"schemaVersion":2,"x":1e999999999}',
    b'{"schemaVersion":2,"\\ud800":"\\udfff"}',
    b'{"schemaVersion":2,"x":"\\u0000"}',
    b'{"schemaVersion":2,"x":"\xff"}',
    SIMPLE[:-1] + b',"schemaVersion":2}',
    SIMPLE[:-1] + b',"manifests":[]}',
    SIMPLE[:-1] + b',"config":{"size":-1}}',
    SIMPLE.replace(b'"size": 2', b'"size": ' + b"9" * 5000),
    SIMPLE.replace(b'"size": 2', b'"size": 1e400'),
    SIMPLE.replace(b'"size": 2', b'"size": -1'),
    SIMPLE.replace(b'"layers": []', b'"layers": [' + b"{}," * 50_000 + b"{}]"),
    SIMPLE.replace(b'"layers": []', b'"layers": [' + b"[]," * 500_000 + b"[]]"),
    SIMPLE[:-1] + b',"annotations":{' + b",".join(b'"%d":""' % n for n in range(200_000)) + b"}}",
    b" " * (4 * 1024 * 1024),
    b"x" * (4 * 1024 * 1024 + 1),
    b"\x1f\x8b\x08\x00" + b"\0" * 1000,
]


@dataclass
class Request:
    """`path` may hold any bytes, as characters up to U+00FF; so may headers."""

    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    in_chunks: bool = False
    ours: bool = True  # whether the answer has to be the registry's, not the server's own

    def __str__(self) -> str:
        return re.sub(r"(.{60}).{20,}(.{20})", r"\1…\2", f"{self.method} {self.path} {self.headers} {self.body!r:.60}")


ROUTES = {
    "/v2/": "GET HEAD",
    "/v2/_catalog": "GET HEAD",
    "/v2/NAME/tags/list": "GET HEAD",
    f"/v2/NAME/referrers/sha256:{ZERO}": "GET HEAD",
    f"/v2/NAME/blobs/sha256:{ZERO}": "GET HEAD DELETE",
    "/v2/NAME/manifests/v1": "GET HEAD PUT DELETE",
    f"/v2/NAME/manifests/sha256:{ZERO}": "GET HEAD PUT DELETE",
    "/v2/NAME/blobs/uploads/": "POST",
    f"/v2/NAME/blobs/uploads/{UPLOAD_ID}": "GET HEAD PATCH PUT DELETE",
    "UPLOAD": "GET HEAD PATCH PUT",
    "/token": "GET HEAD POST",
}
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "BREW", "GET1", "X" * 20]


def pairs():
    """Every route with each of its methods."""
    return ((route, method) for route, methods in ROUTES.items() for method in methods.split())


def bad_names():
    for name in NAMES:
        yield from (
            Request("GET", f"/v2/{name}/{rest}") for rest in ("tags/list", "manifests/v1", f"blobs/sha256:{ZERO}")
        )
        yield from (Request(method, f"/v2/{name}/manifests/v1") for method in ("HEAD", "DELETE", "PUT"))
        yield from (Request(method, f"/v2/{name}/blobs/uploads/{UPLOAD_ID}") for method in ("PATCH", "PUT"))
        yield Request("POST", f"/v2/{name}/blobs/uploads/")
        yield Request("GET", f"/v2/{name}/referrers/sha256:{ZERO}")


def bad_references():
    for reference in REFERENCES:
        for kind in ("manifests", "blobs"):
            yield from (Request(method, f"/v2/NAME/{kind}/{reference}") for method in ("GET", "HEAD", "DELETE"))
        yield Request("GET", f"/v2/NAME/referrers/{reference}")
        yield Request("PUT", f"/v2/NAME/manifests/{reference}", {"Content-Type": IMAGE}, SIMPLE)
        yield Request("PUT", f"UPLOAD?digest={reference}", body=b"")
        yield Request("POST", f"/v2/NAME/blobs/uploads/?digest={reference}", body=b"x")
        yield Request("POST", f"/v2/NAME/blobs/uploads/?mount={reference}&from={reference}", body=b"")


def bad_uploads():
    for upload_id in UPLOAD_IDS:
        for method in ("GET", "HEAD", "PATCH", "PUT", "DELETE"):
            yield Request(method, f"/v2/NAME/blobs/uploads/{upload_id}?digest=sha256:{ZERO}", body=b"x")


def bad_queries():
    return (Request(method, route + query) for route, method in pairs() for query in QUERIES)


def bad_headers():
    """The server's own parser refuses some of them."""
    for route, method in pairs():
        yield from (Request(method, route, {name: value}, ours=False) for name, value in HEADERS)
        yield Request(method, route, {f"X-{number}": "x" for number in range(99)}, ours=False)
        yield Request(method, route, {"X": "x" * 20_000}, ours=False)


def bad_credentials():
    return (Request(method, route, {"Authorization": value}) for route, method in pairs() for value in CREDENTIALS)


def bad_bodies():
    for body in BODIES:
        for media_type in (IMAGE, "", "application/json"):
            yield Request("PUT", "/v2/NAME/manifests/v1", {"Content-Type": media_type}, body)
        yield Request("PUT", f"/v2/NAME/manifests/sha256:{ZERO}", {"Content-Type": IMAGE}, body, in_chunks=True)
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        yield Request("POST", "/token", form, body)
        yield Request("POST", "/token", {"Content-Type": "multipart/form-data; boundary=x"}, body)
        yield Request("PUT", f"UPLOAD?digest=sha256:{ZERO}", {"Content-Range": f"{HUGE}-0"}, body[:1000])


def wrong_methods():
    for route in [*ROUTES, "/v2", "/v2/x", "/v2/NAME/blobs/uploads", "/v2/NAME/blobs/", "/v2/_catalog/"]:
        yield from (Request(method, route, ours=method.isalpha() and method != "CONNECT") for method in METHODS)


def bad_targets():
    return (Request(method, target, ours=False) for target in TARGETS for method in ("GET", "HEAD", "PUT", "PATCH"))


TABLE = [
    bad_names,
    bad_references,
    bad_uploads,
    bad_queries,
    bad_headers,
    bad_credentials,
    bad_bodies,
    wrong_methods,
    bad_targets,
]


# --- Asking -----------------------------------------------------------------------------------------------------------


class Client:
    """Asks on one connection for as long as the server keeps it open."""

    def __init__(self, server, token, name):
        self.server, self.token, self.name = server, token, name
        self.connection = Connection(server, token)
        self.upload = self.connection.ask("POST", f"/v2/{name}/blobs/uploads/", b"")["Location"]

    def ask(self, request: Request) -> Answer:
        """The answer; a connection that was closed before the request came is opened again, once."""
        for attempt in (1, 2):
            try:
                return self._ask(request)
            except (Closed, ConnectionError):
                self.connection.socket.close()
                self.connection = Connection(self.server, self.token)
                if attempt == 2:
                    raise
        raise AssertionError

    def _ask(self, request: Request) -> Answer:
        path = request.path.replace("NAME", self.name).replace("UPLOAD", self.upload)
        lines = {"Host": self.connection.host, "Authorization": f"Bearer {self.token}", **request.headers}
        body = request.body or b""
        if request.in_chunks:
            lines["Transfer-Encoding"], body = "chunked", chunked(body)
        elif request.body is not None:
            lines.setdefault("Content-Length", str(len(body)))
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value or name == "Host")
        with suppress(ConnectionError):  # it may answer and close before all was sent
            self.connection.send(f"{request.method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body)
        return self.connection.answer(request.method)


def wrong_with(request: Request, answer: Answer) -> str:
    """What the answer should not be, or ""."""
    if answer.status >= 500 and answer.status != 501:  # 501: an unknown transfer coding, of which only the server knows
        return f"{answer.status}"
    if answer.seconds > QUICK:
        return f"{answer.seconds:.1f} seconds"
    theirs = "docker-distribution-api-version" not in answer.headers
    if not request.path.startswith(("/v2", "UPLOAD")):
        return ""
    if theirs and not request.ours and answer.status in SERVERS_OWN:
        return ""
    try:
        is_ours(answer)
    except (AssertionError, KeyError, ValueError, json.JSONDecodeError) as problem:
        return f"not the registry's own: {answer.status} {answer.headers} {answer.body[:200]!r} {problem!r}"
    return ""


def resident(server) -> int:
    """KiB of memory of all web processes."""
    texts = [Path(f"/proc/{pid}/status").read_text(encoding="ascii") for pid in server.pids("worker")]
    return sum(int(re.search(r"VmRSS:\s+(\d+) kB", text)[1]) for text in texts)


@pytest.fixture(scope="module")
def client(server, token_for):
    client = Client(server, token_for("hostile/app"), "hostile/app")
    yield client
    client.connection.socket.close()


@pytest.fixture(scope="module")
def at_first(server, client):
    """Memory and processes before the table, when each process has read the largest bodies: what an allocator keeps of
    those is kept once."""
    for request in (*bad_names(), *bad_bodies(), *bad_bodies()):
        client.ask(request)
    return resident(server), server.pids("worker")


@pytest.mark.parametrize("rows", TABLE)
def test_bad_requests_are_refused_soon_and_in_the_envelope(rows, server, client, at_first):
    wrong, count = [], 0
    for request in rows():
        count += 1
        try:
            problem = wrong_with(request, client.ask(request))
        except (Closed, TimeoutError, ConnectionError, AssertionError) as failure:
            problem = repr(failure)
        if problem:
            wrong.append(f"{request}: {problem}")
    assert count > 20
    assert wrong == []
    memory, processes = at_first
    assert server.pids("worker") == processes, "a process had to be started again"
    assert resident(server) - memory < GROWTH
    assert resident(server) < LARGEST * len(processes)


def test_after_all_that_the_server_works_and_has_nothing_to_complain_of(server, connect, name):
    connection = connect()
    assert connection.ask("POST", f"/v2/{name}/blobs/uploads/?digest=sha256:{ZERO}", b"x").status == 400
    assert connection.is_open()
    assert "Traceback" not in server.log
