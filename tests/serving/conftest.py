from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.serving.program import GTHREAD, LOOP, Gunicorn


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    """The worker under test."""
    with Gunicorn(tmp_path_factory.mktemp("loop") / "log", LOOP) as server:
        yield server


@pytest.fixture(scope="module")
def gthread(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    """gunicorn's own, which is the measure."""
    with Gunicorn(tmp_path_factory.mktemp("gthread") / "log", GTHREAD) as server:
        yield server


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Gunicorn]]:
    """Starts a server with settings of the test's own."""
    with ExitStack() as stack:

        def begin(worker: str = LOOP, **options: Any) -> Gunicorn:
            log = tmp_path / f"log-{len(list(tmp_path.iterdir()))}"
            return stack.enter_context(Gunicorn(log, worker, **options))

        yield begin
