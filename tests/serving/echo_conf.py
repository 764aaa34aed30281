"""gunicorn's settings for the echo: the limits of requests are the product's, the rest suits impatient tests."""

import json
import os
import ssl
from collections.abc import Callable
from typing import Any

from serving import gunicorn_inside
from serving.loop import Limits
from serving.worker import LoopWorker

limit_request_line = 32 * 1024
gunicorn_inside.allow_request_lines(limit_request_line)
limit_request_fields = 100
limit_request_field_size = 16 * 1024
http_protocols = "h1"
forwarded_allow_ips = ""
forwarder_headers = ""
loglevel = "error"
control_socket_disable = True
graceful_timeout = 10
keepalive = 20

LoopWorker.short = staticmethod(lambda environ: environ["PATH_INFO"].startswith("/short"))
LoopWorker.limits = Limits(**json.loads(os.environ.get("ECHO_LIMITS", "{}")))
LoopWorker.busy = (
    b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nX-Tag: busy\r\nContent-Length: 4\r\n\r\nbusy"
)

CONTEXTS: list[ssl.SSLContext] = []


def ssl_context(_config: Any, make: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    """Made once, as in the product: else every connection costs the loop some milliseconds."""
    if not CONTEXTS:
        CONTEXTS.append(make())
    return CONTEXTS[0]
