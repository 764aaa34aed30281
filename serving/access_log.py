"""One line of JSON for each request: who, what, how it ended, bytes sent, seconds.

An application says who asked, and by which number the request goes in its own log, in the environ: `layerstore.subject`
and `layerstore.request_id`.
"""

import json
import logging
import time
from typing import Any

log = logging.getLogger("layerstore.access")


class Entry:
    """Made when a request begins, written when its answer has gone out, or did not."""

    __slots__ = ("_began", "_environ")

    def __init__(self, environ: dict[str, Any]):
        self._environ, self._began = environ, time.monotonic()

    def write(self, status: str, sent: int, whole: bool = True) -> None:
        environ = self._environ
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "address": environ.get("REMOTE_ADDR", ""),
            "who": environ.get("layerstore.subject", ""),
            "method": environ.get("REQUEST_METHOD", ""),
            "target": environ.get("RAW_URI", ""),
            "status": int(status[:3]),
            "sent": sent,
            "seconds": round(time.monotonic() - self._began, 6),
            "agent": environ.get("HTTP_USER_AGENT", ""),
            "id": environ.get("layerstore.request_id", ""),
        }
        if not whole:
            line["cut"] = True
        log.info(json.dumps(line))
