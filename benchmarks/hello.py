"""The smallest WSGI application, and the settings gunicorn runs it with: what it costs, the server in front costs."""

from collections.abc import Callable
from typing import Any

workers = 1
threads = 32
keepalive = 75
control_socket_disable = True  # it would write below the home directory


def application(_environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "6")])
    return [b"hello\n"]


def post_worker_init(worker: Any) -> None:
    """Nothing here waits, so a worker that can answer in its loop may."""
    if hasattr(worker, "short"):
        type(worker).short = staticmethod(lambda _environ: True)
