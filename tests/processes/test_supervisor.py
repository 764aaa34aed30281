"""When the parent starts a dead child again."""

import itertools
import os
import signal
import subprocess
import sys
import time

import pytest

from registry_site.supervisor import Child
from tests.server import ROOT


@pytest.fixture
def dying() -> Child:
    """A child that ends as soon as it was started."""
    return Child(name="It", command=[sys.executable, "-c", ""])


def die(child: Child, after: float = 0.0) -> float:
    """Let the child live for `after` seconds; the seconds until it is due again."""
    child.start(lifeline=0)
    assert child.process is not None
    child.process.wait()
    now = child.started + after
    child.notice_death(now)
    return child.due - now


def test_a_child_that_dies_at_once_is_started_later_and_later(dying: Child) -> None:
    delays = [die(dying) for _ in range(12)]
    assert delays[0] <= 0.2
    assert all(15 <= delay <= 30 for delay in delays[9:])
    assert all(sooner <= later for sooner, later in itertools.pairwise(delays[:7]))


def test_a_child_that_lived_for_a_while_is_started_again_at_once(dying: Child) -> None:
    for _ in range(8):
        die(dying)
    assert die(dying, after=61) <= 0.2


def test_a_child_that_cannot_be_started_is_tried_again_later() -> None:
    child = Child(name="It", command=["/nonexistent"])
    child.start(lifeline=0)
    assert child.process is None
    assert child.due > child.started


def test_a_child_that_lives_is_left_alone() -> None:
    child = Child(name="It", command=[sys.executable, "-c", "import time; time.sleep(60)"])
    child.start(lifeline=0)
    assert child.process is not None
    try:
        process = child.process
        child.notice_death(time.monotonic() + 100)
        assert child.process is process
    finally:
        process.kill()
        process.wait()


def test_when_the_terminal_is_gone_a_hangup_ends_all() -> None:
    script = (
        "import sys; from registry_site.supervisor import Child, supervise;"
        "child = [sys.executable, '-c', 'print(1, flush=True); import time; time.sleep(60)'];"
        "supervise([Child(name='It', command=child)])"
    )
    terminal, theirs = os.openpty()
    with subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdin=theirs, stdout=subprocess.PIPE) as parent:
        try:
            os.close(theirs)
            assert parent.stdout is not None
            assert parent.stdout.readline() == b"1\n"
            os.close(terminal)
            parent.send_signal(signal.SIGHUP)
            assert parent.wait(10) == 0
        finally:
            parent.kill()
