"""`manage.py serve`: the whole server, under one parent process."""

import os
import socket
import sys
from typing import Any

from django.conf import settings
from django.core.management import BaseCommand, CommandParser
from django.db import connections

from registry_site import options, preparation
from registry_site.greeting import greeting
from registry_site.supervisor import Child, supervise


class Command(BaseCommand):
    help = options.DESCRIPTION

    def add_arguments(self, parser: CommandParser) -> None:
        options.add_options(parser)  # manage.py has made them environment variables before the settings were read

    def handle(self, *_args: Any, **_options: Any) -> None:
        os.umask(0o077)  # what is stored is nobody else's to read
        preparation.allow_many_files()
        preparation.check_tls()
        with (
            preparation.lock(settings.REGISTRY_DATA),
            preparation.listen(settings.REGISTRY_HOST, settings.REGISTRY_PORT) as listener,
        ):
            preparation.migrate(self.say)
            preparation.prepare_storage(settings.REGISTRY_DATA, self.say)
            preparation.make_admin(self.say)
            connections.close_all()  # the children have their own
            url = _url(listener)
            proxied = "http://localhost" if url.startswith(preparation.UNIX) else url
            self.say(greeting(url, settings.REGISTRY_PUBLIC_URL or proxied, settings.REGISTRY_DATA))
            supervise([_web(listener), _background()])

    def say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()


def _web(listener: socket.socket) -> Child:
    descriptor = listener.fileno()
    gunicorn = [sys.executable, "-m", "gunicorn", "-c", "python:registry_site.gunicorn_conf"]
    return Child(
        name="The web server",
        command=[*gunicorn, "--bind", f"fd://{descriptor}", "registry_site.wsgi"],
        descriptors=(descriptor,),
        reloads=True,
        environment={
            "GUNICORN_CMD_ARGS": "",  # all settings are REGISTRY_*
            # glibc would raise this by itself, and keep in every thread what a large manifest once needed.
            "MALLOC_MMAP_THRESHOLD_": str(512 * 1024),
        },
    )


def _background() -> Child:
    return Child(name="The background process", command=[sys.executable, "manage.py", "background"])


def _url(listener: socket.socket) -> str:
    """How this machine reaches the listener: one that listens on all addresses is reached on the loopback too."""
    if settings.REGISTRY_HOST.startswith(preparation.UNIX):
        return settings.REGISTRY_HOST
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - a comparison
    scheme = "https" if settings.REGISTRY_TLS_CERT else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
