"""gunicorn's settings, for `python -m gunicorn -c python:registry_site.gunicorn_conf registry_site.wsgi`.

`manage.py serve` runs that, with a socket that is listening already: while gunicorn is started again, clients wait
instead of being refused.
"""

import functools
import ssl
from pathlib import Path
from typing import Any

from django.conf import settings

from registry_site.supervisor import OPEN_REQUESTS_GRACE, end_with_parent
from serving import gunicorn_inside
from serving.loop import Limits
from serving.worker import LoopWorker

# --- Where, and how many at once --------------------------------------------------------------------------------------

backlog = 2048
workers = settings.REGISTRY_WORKERS
worker_class = {"loop": "serving.worker.LoopWorker", "gthread": "gthread"}[settings.REGISTRY_WORKER]
threads = settings.REGISTRY_THREADS
worker_connections = settings.REGISTRY_CONNECTIONS
max_requests = settings.REGISTRY_MAX_REQUESTS
max_requests_jitter = max_requests // 10  # not all at once
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - the heartbeat must not wait for a disk

# --- For how long -----------------------------------------------------------------------------------------------------

timeout = 60  # of a worker's loop; a request may take as long as it likes
graceful_timeout = OPEN_REQUESTS_GRACE
keepalive = 75
LoopWorker.limits = Limits(
    head=settings.REGISTRY_HEAD_TIMEOUT,
    stall=settings.REGISTRY_STALL_TIMEOUT,
    queue=settings.REGISTRY_QUEUE_TIMEOUT,
    per_address=settings.REGISTRY_CONNECTIONS_PER_ADDRESS,
)

# --- What is accepted -------------------------------------------------------------------------------------------------

limit_request_line = 32 * 1024  # a manifest may be pushed with a hundred tags of 128 characters, all in this line
gunicorn_inside.allow_request_lines(limit_request_line)
limit_request_fields = 100
limit_request_field_size = 16 * 1024  # a token that covers many repositories is long
forwarded_allow_ips = ",".join(settings.REGISTRY_TRUSTED_PROXIES)
forwarder_headers = ""  # not even a trusted proxy moves the application to another path
http_protocols = "h1"

# --- TLS --------------------------------------------------------------------------------------------------------------

certfile = settings.REGISTRY_TLS_CERT or None
keyfile = settings.REGISTRY_TLS_KEY or None


@functools.cache
def _tls() -> ssl.SSLContext:
    """Made once in each worker; gunicorn would read the files again for every connection."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(settings.REGISTRY_TLS_CERT, settings.REGISTRY_TLS_KEY)
    return context


def ssl_context(_config: Any, _default: Any) -> ssl.SSLContext:
    return _tls()


# --- What it writes ---------------------------------------------------------------------------------------------------

loglevel = "error"  # a line for every malformed request would let a client fill the disk
LoopWorker.access_log = settings.REGISTRY_ACCESS_LOG
accesslog = "-" if settings.REGISTRY_ACCESS_LOG and settings.REGISTRY_WORKER == "gthread" else None
access_log_format = '%(h)s %(t)s "%(r)s" %(s)s %(b)s %(D)sus "%(a)s"'
control_socket_disable = True  # it would write below the home directory


# --- Ending with the parent -------------------------------------------------------------------------------------------


def on_starting(arbiter: Any) -> None:
    gunicorn_inside.leave_sockets(arbiter)  # the parent's, who starts another gunicorn on them
    end_with_parent()


def post_worker_init(_worker: Any) -> None:
    end_with_parent()  # again, because threads do not survive the fork
    from registry_site import in_the_loop  # needs Django's models, which are loaded by now

    in_the_loop.prepare()
