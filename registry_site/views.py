"""Whether the server is alive, and whether it can work: for load balancers and for people."""

from django.db import DatabaseError, connection
from django.http import HttpRequest, JsonResponse

from storage.driver import StorageError, blobs
from work.background import beats


def alive(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"status": "ok"})


def ready(request: HttpRequest) -> JsonResponse:
    """503 while the database or storage is away. A silent background process is reported and fails nothing."""
    worker, storage = background(), storage_works()
    database = worker != "unknown"
    works = database and storage
    state = {True: "ok", False: "unavailable"}
    body = {"status": state[works], "database": state[database], "storage": state[storage], "worker": worker}
    return JsonResponse(body, status=200 if works else 503, headers={} if works else {"Retry-After": "2"})


def background() -> str:
    """Whether a background process works; "unknown" when the database, which knows it, is away."""
    try:
        return "ok" if beats() else "silent"
    except DatabaseError:
        connection.close()
        return "unknown"


def storage_works() -> bool:
    """A question that storage has to answer; no is as good an answer as yes."""
    try:
        blobs().holds("00/readyz", 0)
    except (OSError, StorageError):
        return False
    return True
