"""nginx as docs/configuration.md sets it up, with places of the tests' own."""

import os
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.clients.programs import needed
from tests.server import ROOT, wait_until

AROUND = """\
daemon off;
user root;
pid {place}/pid;
error_log {place}/error.log warn;
events {{}}
http {{
    access_log {place}/access.log;
    client_body_temp_path {place}/body;
    proxy_temp_path {place}/proxy;
    fastcgi_temp_path {place}/fastcgi;
    scgi_temp_path {place}/scgi;
    uwsgi_temp_path {place}/uwsgi;

{server}}}
"""


def documented_server(replacements: dict[str, str]) -> str:
    """The server that the document shows, with these of its words replaced."""
    document = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    (server,) = re.findall(r"^```nginx\n(.*?)^```", document, re.M | re.S)
    for theirs, ours in replacements.items():
        assert theirs in server, theirs
        server = server.replace(theirs, ours)
    return server


@contextmanager
def nginx(place: Path, server: str, listening: socket.socket) -> Iterator[Path]:
    """Serves on the socket, which it takes over as it would from the nginx before it. Gives the file of its errors."""
    (place / "nginx.conf").write_text(AROUND.format(place=place, server=server))
    inherited = {"NGINX": f"{listening.fileno()};"}
    command = (needed("nginx"), "-e", place / "error.log", "-c", place / "nginx.conf")
    process = subprocess.Popen(command, env=os.environ | inherited, pass_fds=(listening.fileno(),))

    def started() -> bool:
        assert process.poll() is None, (place / "error.log").read_text()
        return (place / "pid").exists()

    try:
        wait_until(started)
        listening.close()
        yield place / "error.log"
    finally:
        process.terminate()
        process.wait(30)
