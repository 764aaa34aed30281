"""How the tests drive programs of others: output kept, time bounded, a missing program told apart from a failure."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest


def needed(name: str) -> str:
    """The path of a program. Where it is missing a laptop skips the test; CI, which installs them all, fails."""
    if found := shutil.which(name):
        return found
    reason = f"{name} is not installed; .ci/run installs everything"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def run(
    *command: str | Path, environment: dict[str, str] | None = None, stdin: str = "", within: float = 300.0
) -> subprocess.CompletedProcess[str]:
    """Run to the end, at most `within` seconds; standard error is in `.stdout` too. Whoever calls judges the exit."""
    return subprocess.run(
        command,
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=os.environ | (environment or {}),
        text=True,
        errors="replace",
        timeout=within,
    )


def succeed(*command: str | Path, environment: dict[str, str] | None = None, stdin: str = "") -> str:
    """What the command printed; an AssertionError that shows it all when it failed."""
    done = run(*command, environment=environment, stdin=stdin)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}"
    return done.stdout


def fail(*command: str | Path, environment: dict[str, str] | None = None, stdin: str = "") -> str:
    """What the command printed when it refused; an AssertionError when it succeeded."""
    done = run(*command, environment=environment, stdin=stdin)
    assert done.returncode != 0, f"succeeded: {' '.join(map(str, command))}\n{done.stdout}"
    return done.stdout
