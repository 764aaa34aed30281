"""How settings are read from environment variables: `REGISTRY_X`, or the file that `REGISTRY_X_FILE` names."""

import environ
from django.core.exceptions import ImproperlyConfigured

env = environ.FileAwareEnv()


def number(name: str, default: int) -> int:
    """Of seconds, bytes or things; raises ImproperlyConfigured for what is none, or more than anybody can mean."""
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
    """Whatever its case; raises ImproperlyConfigured for another."""
    value = env.str(name, default).strip().upper()
    if value in choices:
        return value
    raise ImproperlyConfigured(f"{name} is {value!r}, but has to be one of {', '.join(choices)}.")


def secret(name: str) -> str:
    """The value as it stands: django-environ takes a leading `$` for another variable, and keeps a file's newline."""
    return env.ENVIRON.get(name, "").rstrip("\r\n")
