"""How the server listens: what it takes, what it says, and where it writes."""

import os
import shutil
import signal
import ssl
import subprocess
from pathlib import Path

import pytest
from django.core.management import CommandError
from pytest_django.fixtures import Settings

from registry_site import preparation
from registry_site.greeting import greeting
from tests.server import Server, wait_until


def test_a_request_line_with_a_hundred_long_tags_reaches_the_registry(server: Server) -> None:
    assert server.get("/healthz?" + "&".join(["tag=" + 128 * "t"] * 100)) == 200


def test_a_request_line_without_end_is_refused(server: Server) -> None:
    assert server.get("/healthz?" + 40_000 * "t") == 414


def test_a_client_cannot_pretend_to_come_through_a_proxy(server: Server) -> None:
    connection = server.connection()
    connection.request("GET", "/v2/", headers={"X-Forwarded-Proto": "https"})
    assert f'realm="http://{server.registry}/token"' in connection.getresponse().headers["WWW-Authenticate"]
    connection.close()


def test_nothing_is_written_outside_the_data_and_spaces_in_its_path_do_not_matter(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with Server(tmp_path / "my data #1", {"HOME": str(home), "REGISTRY_WORKERS": "1"}) as server:
        assert server.stop() == 0
    assert list(home.iterdir()) == []
    assert {path.name for path in tmp_path.iterdir()} == {"home", "my data #1", "my data #1.log"}
    assert (server.data / "db.sqlite3").exists()


needs_openssl = pytest.mark.skipif(
    shutil.which("openssl") is None and "CI" not in os.environ, reason="the certificate is made with openssl"
)


@needs_openssl
def test_with_a_certificate_it_serves_https(fresh: Server, tmp_path: Path) -> None:
    certificate, key = certificate_in(tmp_path)
    fresh.arguments = ("--tls-cert", str(certificate), "--tls-key", str(key))
    fresh.start()
    assert fresh.url.startswith("https://")
    connection = fresh.connection()
    connection.request("GET", "/v2/")
    assert f'realm="{fresh.url}/token"' in connection.getresponse().headers["WWW-Authenticate"]
    connection.close()


@needs_openssl
def test_a_renewed_certificate_counts_after_a_hangup_and_an_open_request_is_finished(
    fresh: Server, tmp_path: Path
) -> None:
    certificate, key = certificate_in(tmp_path)
    fresh.arguments = ("--tls-cert", str(certificate), "--tls-key", str(key))
    fresh.start()
    workers, parent = fresh.pids("worker"), fresh.process
    assert parent is not None
    connection = fresh.connection()
    connection.putrequest("POST", "/token")
    connection.putheader("Content-Length", "17")
    connection.endheaders(b"grant_type=")
    before = certificate_of(fresh)
    certificate_in(tmp_path)
    parent.send_signal(signal.SIGHUP)
    wait_until(lambda: certificate_of(fresh) not in ("", before), 30)
    connection.send(b"nobody")
    assert connection.getresponse().status == 400
    connection.close()
    wait_until(lambda: not set(workers) & set(fresh.pids("worker")))
    assert parent.poll() is None


def test_a_certificate_without_a_key_is_refused(settings: Settings) -> None:
    settings.REGISTRY_TLS_CERT, settings.REGISTRY_TLS_KEY = "cert.pem", ""
    with pytest.raises(CommandError, match="both"):
        preparation.check_tls()


def test_a_certificate_that_is_none_is_refused_by_name(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_text("not a certificate")
    settings.REGISTRY_TLS_CERT = settings.REGISTRY_TLS_KEY = str(tmp_path / "cert.pem")
    with pytest.raises(CommandError, match=r"cert\.pem"):
        preparation.check_tls()


@pytest.mark.parametrize("client", ["docker", "podman", "skopeo"])
@pytest.mark.parametrize("url", ["http://127.0.0.1:8000", "https://[::1]:8443"])
def test_the_greeting_names_three_commands_for_the_client_that_is_here(
    monkeypatch: pytest.MonkeyPatch, client: str, url: str
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: name == client)
    registry = url.partition("://")[2]
    commands = [
        line
        for line in greeting("http://127.0.0.1:1", url, "/data").splitlines()
        if registry in line and client in line
    ]
    assert len(commands) == 3
    insecure = url.startswith("http:") and client != "docker"
    assert all(("tls-verify=false" in line) == insecure for line in commands if " tag " not in line)


def certificate_of(server: Server) -> str:
    """What it shows to who connects; empty while nobody is there."""
    try:
        return ssl.get_server_certificate((server.host, server.port), timeout=5)
    except OSError:
        return ""


def certificate_in(directory: Path) -> tuple[Path, Path]:
    certificate, key = directory / "cert.pem", directory / "key.pem"
    subject = ["-subj", "/CN=localhost", "-days", "1", "-nodes"]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", *subject, "-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
    )
    return certificate, key
