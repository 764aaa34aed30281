"""Settings that make no sense are refused at the start, with a word on what to do."""

from collections.abc import Iterator
from datetime import timedelta
from ipaddress import ip_network
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, register

from repositories.models import Visibility
from storage.driver import blobs
from storage.memory import MemoryDriver

LEAST = [  # setting, its least value (seconds for a duration), and what to say to who set less
    ("REGISTRY_PORT", 0, "A port is a number from 0 to 65535; 0 takes any that is free."),
    ("REGISTRY_WORKERS", 1, "Leave it out: the machine's size decides."),
    ("REGISTRY_THREADS", 1, "Requests at once in each web process. 64 is usual."),
    ("REGISTRY_MAX_REQUESTS", 0, "0 replaces no process."),
    ("REGISTRY_CONNECTIONS", 1, "Nobody could connect. 1000 is usual."),
    ("REGISTRY_CONNECTIONS_PER_ADDRESS", 0, "0 sets no bound."),
    ("REGISTRY_HEAD_TIMEOUT", 1, "No request would have the time to arrive. 10 is usual."),
    ("REGISTRY_STALL_TIMEOUT", 1, "How many seconds may a reader take nothing? 30 is usual."),
    ("REGISTRY_QUEUE_TIMEOUT", 1, "How many seconds may a request wait for a thread? 30 is usual."),
    ("REGISTRY_BODY_TIMEOUT", 1, "How many seconds may a sender be silent? 60 is usual."),
    ("REGISTRY_BODY_MIN_RATE", 0, "0 accepts any rate."),
    ("REGISTRY_MANIFEST_LIMIT", 4 * 1024 * 1024, "The spec wants manifests of 4 MiB accepted, or more."),
    ("REGISTRY_GRACE", 60, "Pushes under way would lose what they have sent."),
    ("REGISTRY_UPLOAD_EXPIRY", 60, "Pushes under way would lose what they have sent."),
    ("REGISTRY_TOKEN_LIFETIME", 60, "Clients take no shorter one."),
    ("REGISTRY_LOGIN_FAILURES_PER_MINUTE", 1, "Nobody could log in after one mistake. 20 is usual."),
    ("REGISTRY_BACKGROUND_THREADS", 2, "One could be held by a slow duty. Leave it out: the machine's size decides."),
    ("REGISTRY_DATABASE_CONNECTIONS", 1, "A process needs one at least. 16 is usual."),
]

BROKERS = ("redis://", "rediss://", "redis+socket://")


@register()
def settings_make_sense(app_configs, **options) -> list[CheckMessage]:
    return [*too_small(), *none_of_the_choices(), *malformed(), *kept_nowhere()]


def too_small() -> Iterator[Error]:
    for name, least, hint in LEAST:
        value = getattr(settings, name)
        if isinstance(value, timedelta):
            value = int(value.total_seconds())
        if value < least:
            yield Error(f"{name} is {value}, but has to be {least} or more", hint=hint, id="layerstore.E001")


def none_of_the_choices() -> Iterator[Error]:
    for name, choices in (("REGISTRY_DEFAULT_VISIBILITY", Visibility.values), ("REGISTRY_WORKER", ["loop", "gthread"])):
        if getattr(settings, name) not in choices:
            hint = f"Leave it out for {choices[0]}."
            yield Error(f"{name} is neither {' nor '.join(choices)}", hint=hint, id="layerstore.E002")


def malformed() -> Iterator[Error]:
    if settings.REGISTRY_PORT > 65535:
        hint = "A port is a number from 0 to 65535."
        yield Error(f"REGISTRY_PORT is {settings.REGISTRY_PORT}: no port", hint=hint, id="layerstore.E003")
    if settings.REGISTRY_PUBLIC_URL and not settings.REGISTRY_PUBLIC_URL.startswith(("http://", "https://")):
        hint = "Write it with its scheme: https://registry.example.com"
        yield Error("REGISTRY_PUBLIC_URL is not a URL", hint=hint, id="layerstore.E004")
    if settings.REGISTRY_BROKER_URL and not is_broker(settings.REGISTRY_BROKER_URL):
        hint = f"Leave it out, or write redis://host:6379/0. Known are {', '.join(BROKERS)}."
        yield Error("REGISTRY_BROKER_URL is not the URL of a broker", hint=hint, id="layerstore.E006")
    for text in settings.REGISTRY_TRUSTED_PROXIES:
        try:
            ip_network(text)
        except ValueError as problem:
            hint = "Addresses and networks, separated by commas: 10.0.0.1,10.1.0.0/16. Names are not looked up."
            yield Error(f"REGISTRY_TRUSTED_PROXIES: {problem}", hint=hint, id="layerstore.E005")


def kept_nowhere() -> Iterator[Error]:
    if isinstance(blobs(), MemoryDriver):
        hint = "That is for tests. A server is several processes, and would keep nothing: choose another driver."
        yield Error("STORAGES keeps blobs in the memory of one process", hint=hint, id="layerstore.E007")


def is_broker(url: str) -> bool:
    try:
        return url.startswith(BROKERS) and urlsplit(url).port != 0
    except ValueError:
        return False
