"""How settings are read from environment variables: `REGISTRY_X`, or the file that `REGISTRY_X_FILE` names.

What cannot be understood raises ImproperlyConfigured, with one line that names the variable and never shows a secret.
"""

import os
from pathlib import Path
from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured

DATABASES = ("sqlite:", "postgres:", "postgresql:")

env = environ.FileAwareEnv()


def check_files() -> None:
    """Each file that a variable names can be read."""
    for name, path in os.environ.items():
        if name.startswith("REGISTRY_") and name.endswith("_FILE"):
            try:
                Path(path).read_text(encoding="utf-8")
            except (OSError, ValueError) as problem:
                raise ImproperlyConfigured(f"{name}: {problem}") from None


def secret(name: str) -> str:
    """The value as it stands: django-environ takes a leading `$` for another variable, and keeps a file's newline."""
    return env.ENVIRON.get(name, "").rstrip("\r\n")


def text(name: str, default: str) -> str:
    return env.str(name, default).strip()


def flag(name: str, default: bool) -> bool:
    value = text(name, str(default)).lower()
    if value in env.BOOLEAN_TRUE_STRINGS:
        return True
    if value in ("false", "off", "n", "no", "0"):
        return False
    raise ImproperlyConfigured(f"{name} is {value!r}, but has to be true or false.")


def number(name: str, default: int) -> int:
    """Of seconds, bytes or things; more than anybody can mean is refused."""
    try:
        value = env.int(name, default)
    except ValueError:
        value = 2**31
    if abs(value) < 2**31:
        return value
    raise ImproperlyConfigured(f"{name} is {env.ENVIRON[name]!r}, but has to be a whole number below {2**31}.")


def several(name: str) -> list[str]:
    """What is separated by commas."""
    return [part.strip() for part in env.str(name, "").split(",") if part.strip()]


def one_of(name: str, choices: tuple[str, ...], default: str) -> str:
    """Whatever its case."""
    value = text(name, default).upper()
    if value in choices:
        return value
    raise ImproperlyConfigured(f"{name} is {value!r}, but has to be one of {', '.join(choices)}.")


def database(name: str, default: str) -> dict[str, Any]:
    """Django's settings of the database of this URL."""
    url = secret(name) or default
    try:
        if url.startswith(DATABASES):
            return env.db_url_config(url)
    except ValueError:  # whose message has what it took for a port: perhaps half of the password
        raise ImproperlyConfigured(
            f"{name} is not a URL. Has the password a / or @, to be written %2F or %40?"
        ) from None
    raise ImproperlyConfigured(f"{name} is neither sqlite:///path nor postgres://user:password@host:5432/name.")
