"""What clients do. Each function is one client, and `at_once` gives each a process of its own."""

import hashlib
import select
import time
from array import array
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from benchmarks import content
from benchmarks.connection import END_OF_HEAD, BadAnswer, Connection
from benchmarks.content import Content
from benchmarks.servers import Server

REPOSITORY = "bench/image"
TAG = "latest"
BLOBS = f"/v2/{REPOSITORY}/blobs/"
MANIFEST = f"/v2/{REPOSITORY}/manifests/{TAG}"
PULL = f"repository:{REPOSITORY}:pull"
PUSH = f"repository:{REPOSITORY}:pull,push"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
Client = Callable[[], Any]


def push_chunked(server: Server, authorization: str, pushed: Content) -> None:
    """As docker pushes a layer: POST, one PATCH in chunks, and an empty PUT."""
    with Connection(server.address, authorization) as connection:
        location = open_upload(connection)
        answer = connection.exchange(202, "PATCH", location, pushed.chunked(), Transfer_Encoding="chunked")
        location = closing(answer.headers["location"], pushed.digest)
        connection.exchange(201, "PUT", location, Content_Length=0)


def push_length(server: Server, authorization: str, pushed: Content) -> None:
    """As containerd, BuildKit and newer dockers push a layer: POST, and one PUT that says its length."""
    with Connection(server.address, authorization) as connection:
        location = closing(open_upload(connection), pushed.digest)
        connection.exchange(201, "PUT", location, pushed.pieces(), Content_Length=pushed.size)


def push_until(server: Server, authorization: str, size: int, seconds: float) -> float:
    """Push as docker does, layer after layer, and return bytes per second of the layers that were acknowledged."""
    began, layers = time.monotonic(), 0
    while time.monotonic() - began < seconds:
        push_chunked(server, authorization, content.fresh(size))
        layers += 1
    return layers * size / (time.monotonic() - began)


def pull(server: Server, authorization: str, digest: str, size: int, unread: bool) -> None:
    """GET a blob and drop it."""
    with Connection(server.address, authorization) as connection:
        connection.socket.sendall(connection.head("GET", BLOBS + digest))
        answer = connection.answer(200)
        if answer.length != size:
            raise BadAnswer(f"{answer.length} bytes instead of {size}")
        connection.drop(size - len(answer.early), unread)


def verify(server: Server, authorization: str, digest: str) -> None:
    """GET a blob and compare its digest: once, so that what is measured is also right."""
    hasher = hashlib.sha256()
    with Connection(server.address, authorization) as connection:
        connection.socket.sendall(connection.head("GET", BLOBS + digest))
        answer = connection.answer(200)
        hasher.update(answer.early)
        left = answer.length - len(answer.early)
        while left and (piece := connection.socket.recv(min(left, content.MIB))):
            hasher.update(piece)
            left -= len(piece)
    if f"sha256:{hasher.hexdigest()}" != digest:
        raise BadAnswer(f"{digest} came back as sha256:{hasher.hexdigest()}")


def get_until(server: Server, authorization: str, target: str, connections: int, seconds: float) -> "array[float]":
    """GET the same thing again and again on each connection, never a request before the last one's answer.

    Returns the seconds each request took. Every answer has to be a 200 and as long as the first one said.
    """
    poll = select.epoll()
    clients = {}
    for _ in range(connections):
        client = Connection(server.address, authorization)
        body_length = client.exchange(200, "GET", target, Accept=OCI_MANIFEST).length
        clients[client.socket.fileno()] = client
        poll.register(client.socket.fileno(), select.EPOLLIN)
    request = client.head("GET", target, Accept=OCI_MANIFEST)
    took = _gets(poll, clients, request, body_length, seconds)
    for client in clients.values():
        client.socket.close()
    poll.close()
    return took


def _gets(
    poll: select.epoll, clients: dict[int, Connection], request: bytes, body_length: int, seconds: float
) -> "array[float]":
    took = array("d")
    received = dict.fromkeys(clients, b"")
    sent = dict.fromkeys(clients, time.perf_counter())
    for client in clients.values():
        client.socket.sendall(request)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        ready = poll.poll(1)
        for which, _ in ready:
            socket = clients[which].socket
            piece = socket.recv(65536)
            answer = received[which] + piece
            head_length = answer.find(END_OF_HEAD)
            if not piece or (head_length >= 0 and not answer.startswith(b"HTTP/1.1 200 ")):
                raise BadAnswer(f"a GET was answered {answer[:500]!r}")
            if head_length < 0 or len(answer) < head_length + len(END_OF_HEAD) + body_length:
                received[which] = answer
                continue
            now = time.perf_counter()
            took.append(now - sent[which])
            sent[which] = now
            received[which] = b""
            socket.sendall(request)
    return took


def open_upload(connection: Connection) -> str:
    return _target(connection.exchange(202, "POST", BLOBS + "uploads/", Content_Length=0).headers["location"])


def closing(location: str, digest: str) -> str:
    target = _target(location)
    return f"{target}{'&' if '?' in target else '?'}digest={digest}"


def _target(location: str) -> str:
    """A Location may be a whole URL; this connection needs path and query."""
    parts = urlsplit(location)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path
