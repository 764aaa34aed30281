"""Settings that make no sense, and the hosts that requests may be for."""

import os
import re
import socket
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import RequestFactory
from pytest_django.fixtures import Settings

from registry_site import checks
from registry_site.addresses import as_host, own_hosts
from registry_site.checks import LEAST, settings_make_sense
from tests.server import ROOT


def complaint(data: Path, **environment: str) -> str:
    """What the server says instead of starting; empty when it finds nothing."""
    command = [sys.executable, ROOT / "manage.py", "check"]
    environment = {**os.environ, "REGISTRY_DATA": str(data), **environment}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stderr.strip()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REGISTRY_THREADS", "abc"),
        ("REGISTRY_PORT", "x"),
        ("REGISTRY_WORKERS", ""),
        ("REGISTRY_GRACE", "99999999999999"),
        ("REGISTRY_LOG_LEVEL", "LOUD"),
        ("REGISTRY_PUBLIC_URL", "http://[::1"),
        ("REGISTRY_DELETE_ENABLED", "flase"),
        ("REGISTRY_DATABASE_URL", "sesame"),
        ("REGISTRY_DATABASE_URL", "postgres://registry:sesame/2@db:5432/registry"),
        ("REGISTRY_TOKEN_KEY_FILE", "/no/such/file"),
    ],
)
def test_a_value_of_the_wrong_kind_is_named_in_one_line(tmp_path: Path, name: str, value: str) -> None:
    said = complaint(tmp_path, **{name: value})
    assert said.startswith(f"Layerstore cannot start: {name}")
    assert "\n" not in said
    assert "sesame" not in said


def test_values_from_files_and_lists_with_spaces_are_taken(tmp_path: Path) -> None:
    given = {"LOG_LEVEL": "debug\n", "DEFAULT_VISIBILITY": "public\n", "ACCESS_LOG": "off\n", "THREADS": "8\n"}
    files = {f"REGISTRY_{name}_FILE": str(tmp_path / name) for name in given}
    for name, value in given.items():
        (tmp_path / name).write_text(value)
    lists = {"REGISTRY_TRUSTED_PROXIES": "10.0.0.1, 10.1.0.0/16", "REGISTRY_ALLOWED_HOSTS": "a.example, b.example"}
    assert complaint(tmp_path / "data", **files, **lists) == ""


@pytest.mark.parametrize(("name", "least"), [(name, least) for name, least, _ in LEAST])
def test_a_value_under_the_least_is_refused_by_name(settings: Settings, name: str, least: int) -> None:
    duration = isinstance(getattr(settings, name), timedelta)
    setattr(settings, name, timedelta(seconds=least - 1) if duration else least - 1)
    [error] = settings_make_sense(None)
    assert name in str(error.msg)
    setattr(settings, name, timedelta(seconds=least) if duration else least)
    assert settings_make_sense(None) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REGISTRY_PORT", 65536),
        ("REGISTRY_PUBLIC_URL", "registry.example.com"),
        ("REGISTRY_DEFAULT_VISIBILITY", "secret"),
        ("REGISTRY_WORKER", "sync"),
        ("REGISTRY_BROKER_URL", "redis.example.com:6379"),
        ("REGISTRY_BROKER_URL", "amqp://rabbit"),
        ("REGISTRY_BROKER_URL", "redis://:pass/word@host:6379"),
        ("REGISTRY_TRUSTED_PROXIES", ["nginx"]),
        ("REGISTRY_TRUSTED_PROXIES", ["10.0.0.1/8"]),
    ],
)
def test_a_value_that_is_none_of_its_kind_is_refused_by_name(settings: Settings, name: str, value: object) -> None:
    setattr(settings, name, value)
    [error] = settings_make_sense(None)
    assert name in str(error.msg)


# --- Hosts ------------------------------------------------------------------------------------------------------------


def test_no_two_complaints_have_the_same_id() -> None:
    """Else who silences one silences both."""
    ids = re.findall(r'id="(.+?)"', Path(checks.__file__).read_text())
    assert len(ids) >= 7
    assert len(ids) == len(set(ids))


def test_who_listens_on_all_addresses_is_reached_by_each_of_its_own() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:  # nothing is sent
        try:
            udp.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no network")
        address = udp.getsockname()[0]
    assert address in own_hosts("0.0.0.0", "")
    assert address in own_hosts("::", "")
    assert address not in own_hosts("127.0.0.1", "")


def test_addresses_of_ipv6_have_brackets_wherever_they_come_from() -> None:
    assert {"[fd00::1]", "[fd00::2]", "[::1]"} <= set(own_hosts("FD00:0::1", "https://[fd00::2]:5000"))
    assert as_host("fd00::3") == as_host("[FD00::3]") == "[fd00::3]"
    assert as_host(".Example.com") == ".example.com"


def test_a_unix_socket_is_no_host_name() -> None:
    assert not [name for name in own_hosts("unix:/run/socket", "") if name.startswith("unix")]


@pytest.mark.parametrize("host", ["[fd00::1]:5000", "[FD00::1]", "registry.example.com"])
def test_django_accepts_such_hosts(settings: Settings, host: str) -> None:
    settings.ALLOWED_HOSTS = own_hosts("fd00::1", "https://registry.example.com")
    assert RequestFactory().get("/", headers={"host": host}).get_host() == host


def test_a_public_url_that_is_none_is_refused() -> None:
    with pytest.raises(ImproperlyConfigured, match="REGISTRY_PUBLIC_URL"):
        own_hosts("127.0.0.1", "http://[::1")
