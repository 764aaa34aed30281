"""What is measured. A measure does one run against one server and returns its figures by unit.

In units that end in "/s" more is better, in all others less.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from benchmarks import clients, content, processes
from benchmarks.at_once import at_once
from benchmarks.clients import Client
from benchmarks.content import MIB
from benchmarks.image import Image
from benchmarks.servers import Server

MB, GIB = 1e6, 1024 * MIB
CLIENT_PROCESSES = 2
MANY = 16  # connections
MIXED_LAYER = 64 * MIB  # so that the last layer ends soon after the last GET
Figures = dict[str, float]


@dataclass(frozen=True)
class Plan:
    """How much one run does."""

    image: Image  # on each server that is a registry
    size: int  # bytes of a pushed layer
    seconds: float  # of what is not bounded by its bytes
    unread: bool  # pulling clients let the kernel drop what comes


@dataclass(frozen=True)
class Measure:
    title: str
    run: Callable[[Server, Plan], Figures]
    workers: bool = False  # of gunicorn's workers, not of registries


@dataclass(frozen=True)
class Ran:
    """What clients returned, and what they cost the server."""

    results: list[Any]
    seconds: float
    cpu: float  # seconds, of all processes of the server
    memory: Figures


def push(client: Callable[..., None], server: Server, plan: Plan) -> Figures:
    pushed, authorization = content.fresh(plan.size), server.authorization(clients.PUSH)
    ran = _run(server, [partial(client, server, authorization, pushed)])
    return _bytes_moved(ran, plan.size)


def pull(together: int, server: Server, plan: Plan) -> Figures:
    layer, authorization = plan.image.layer, server.authorization(clients.PULL)
    ran = _run(server, [partial(clients.pull, server, authorization, layer.digest, layer.size, plan.unread)] * together)
    return _bytes_moved(ran, layer.size * together)


def get_manifest(connections: int, server: Server, plan: Plan) -> Figures:
    return _requests(_run(server, _getters(server, clients.MANIFEST, connections, plan.seconds)), plan.seconds)


def get_hello(connections: int, server: Server, plan: Plan) -> Figures:
    return _requests(_run(server, _getters(server, "/", connections, plan.seconds)), plan.seconds)


def mixed(server: Server, plan: Plan) -> Figures:
    """Manifests are read while two clients push. The CPU time cannot be told apart, so it is left out."""
    size = min(plan.size, MIXED_LAYER)
    content.fresh(size)  # the pushing processes inherit all of it but the tail
    authorization = server.authorization(clients.PUSH)
    pushers = [partial(clients.push_until, server, authorization, size, plan.seconds)] * 2
    ran = _run(server, [*pushers, *_getters(server, clients.MANIFEST, MANY, plan.seconds)])
    gets = _requests(replace(ran, results=ran.results[2:]), plan.seconds)
    del gets["CPU µs per request"]
    return {"push MB/s": sum(ran.results[:2]) / MB} | gets


MEASURES = {
    "push-chunks": Measure("push, PATCH in 32 KiB chunks", partial(push, clients.push_chunked)),
    "push-length": Measure("push, one PUT with a length", partial(push, clients.push_length)),
    "pull-1": Measure("pull, 1 client", partial(pull, 1)),
    "pull-8": Measure("pull, 8 clients", partial(pull, 8)),
    "manifest-1": Measure("GET a manifest, 1 connection", partial(get_manifest, 1)),
    "manifest-16": Measure(f"GET a manifest, {MANY} connections", partial(get_manifest, MANY)),
    "mixed": Measure(f"GET a manifest, {MANY} connections, while 2 clients push", mixed),
    "hello-1": Measure("hello, 1 connection", partial(get_hello, 1), workers=True),
    "hello-16": Measure(f"hello, {MANY} connections", partial(get_hello, MANY), workers=True),
}


def _run(server: Server, of: list[Client]) -> Ran:
    processes.forget_peak(server.pid)
    before = processes.cpu_seconds(server.pid)
    results, seconds = at_once(of)
    cpu = max(processes.cpu_seconds(server.pid) - before, 1 / processes.TICKS)
    peaks = [peak / MIB for peak in processes.peak_memory(server.pid)]
    return Ran(results, seconds, cpu, {"MiB, largest process": peaks[0], "MiB, all processes": sum(peaks)})


def _getters(server: Server, target: str, connections: int, seconds: float) -> list[Client]:
    count = min(CLIENT_PROCESSES, connections)
    authorization = server.authorization(clients.PULL)
    return [partial(clients.get_until, server, authorization, target, connections // count, seconds)] * count


def _bytes_moved(ran: Ran, size: int) -> Figures:
    return {"MB/s": size / MB / ran.seconds, "CPU s per GiB": ran.cpu * GIB / size} | ran.memory


def _requests(ran: Ran, seconds: float) -> Figures:
    took = sorted(one for result in ran.results for one in result)
    return {
        "requests/s": len(took) / seconds,
        "CPU µs per request": ran.cpu / len(took) * 1e6,
        "ms, 99 of 100 within": took[len(took) * 99 // 100] * 1e3,
    } | ran.memory
