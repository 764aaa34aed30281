"""SIGTERM and Ctrl-C: what was begun is finished, nothing new is begun, and the exit status is 0."""

import signal
import time
from collections.abc import Callable
from contextlib import closing
from http.client import HTTPConnection

import pytest

from tests.processes.conftest import OpenRequest
from tests.registry import basic
from tests.server import Server


@pytest.mark.parametrize("signum", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.faults)])
def test_an_open_request_is_finished_before_the_server_ends(
    fresh: Server, open_request: Callable[[Server], OpenRequest], signum: int
) -> None:
    fresh.start()
    request = open_request(fresh)
    assert fresh.ready()
    assert fresh.process is not None
    fresh.process.send_signal(signum)
    time.sleep(1.0)
    assert fresh.process.poll() is None
    assert request.finish().startswith(b"HTTP/1.1 4")
    assert fresh.process.wait(10) == 0


def test_a_second_signal_does_not_wait_for_open_requests(
    fresh: Server, open_request: Callable[[Server], OpenRequest]
) -> None:
    fresh.start()
    open_request(fresh)
    assert fresh.ready()
    assert fresh.process is not None
    began = time.monotonic()
    fresh.process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    fresh.process.send_signal(signal.SIGINT)
    assert fresh.process.wait(20) == 0
    assert time.monotonic() - began < 10


@pytest.mark.faults
def test_a_push_that_never_ends_is_cut_after_thirty_seconds(fresh: Server) -> None:
    fresh.start()
    with closing(HTTPConnection(fresh.host, fresh.port, timeout=30)) as connection:
        who = {"Authorization": basic("admin", fresh.admin_password), "Host": fresh.registry}
        connection.request("POST", "/v2/team/app/blobs/uploads/", headers=who)
        opened = connection.getresponse()
        opened.read()
        connection.putrequest("PATCH", opened.headers["Location"], skip_host=True)
        for name, value in {**who, "Content-Length": "1000000"}.items():
            connection.putheader(name, value)
        connection.endheaders(b"bytes")
        assert fresh.ready()
        began = time.monotonic()
        assert fresh.stop(within=45) == 0
        assert time.monotonic() - began > 25
