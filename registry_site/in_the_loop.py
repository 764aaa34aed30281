"""What the web worker may answer in its loop, where nothing may wait for anything but memory and the page cache."""

import threading
from typing import Any

from django.db import connection
from django.db.backends.signals import connection_created

from access import revocations
from oci.errors import Unavailable
from serving.worker import LoopWorker
from wire.errors import envelope


def prepare() -> None:
    """Called in each web process, when Django is ready."""
    LoopWorker.busy = on_the_wire(envelope(Unavailable(message="the server is busy: try again")))
    if connection.vendor == "sqlite":
        connection_created.connect(never_wait, dispatch_uid="never_wait")
        connection.close()
        LoopWorker.short = staticmethod(is_short)


def is_short(environ: dict[str, Any]) -> bool:
    """Reading a manifest with a bearer token: one query of a database that has no lock a reader waits for.

    Once a second a thread has to read the revocations first. A password would cost a hash; PostgreSQL, a conversation.
    """
    path = environ["PATH_INFO"]
    reads = path == "/v2/" or (path.startswith("/v2/") and path.rpartition("/")[0].endswith("/manifests"))
    return reads and environ.get("HTTP_AUTHORIZATION", "")[:7] == "Bearer " and revocations.are_fresh()


def never_wait(connection: Any, **_: Any) -> None:
    """In the loop's thread SQLite says at once that it is busy; the answer is then 503, and a thread tries again."""
    if threading.current_thread() is threading.main_thread():
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA busy_timeout=0")


def on_the_wire(response: Any) -> bytes:
    """A whole HTTP answer that ends the connection."""
    headers = dict(response.items()) | {
        "Docker-Distribution-Api-Version": "registry/2.0",
        "Connection": "close",
        "Content-Length": str(len(response.content)),
    }
    lines = [f"HTTP/1.1 {response.status_code} {response.reason_phrase}", *(f"{k}: {v}" for k, v in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + response.content
