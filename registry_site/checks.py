"""Settings that make no sense are refused at the start, with a word on what to do."""

from django.conf import settings
from django.core.checks import CheckMessage, Error, register

from repositories.models import Visibility


@register()
def settings_make_sense(app_configs, **options) -> list[CheckMessage]:
    found: list[CheckMessage] = []

    def refuse(identifier: str, message: str, hint: str) -> None:
        found.append(Error(message, hint=hint, id=f"layerstore.{identifier}"))

    if settings.REGISTRY_DEFAULT_VISIBILITY not in Visibility.values:
        refuse("E001", "REGISTRY_DEFAULT_VISIBILITY is neither private nor public", "Leave it out for private.")
    if settings.REGISTRY_TOKEN_LIFETIME < 60:
        refuse("E002", "REGISTRY_TOKEN_LIFETIME is under 60 seconds", "Clients take no shorter one: say 60 or more.")
    if settings.REGISTRY_MANIFEST_LIMIT < 4 * 1024 * 1024:
        refuse("E003", "REGISTRY_MANIFEST_LIMIT is under 4 MiB", "The spec wants 4194304 bytes accepted, or more.")
    if settings.REGISTRY_PUBLIC_URL and not settings.REGISTRY_PUBLIC_URL.startswith(("http://", "https://")):
        refuse("E004", "REGISTRY_PUBLIC_URL is not a URL", "Write it with its scheme: https://registry.example.com")
    for name in ("REGISTRY_GRACE", "REGISTRY_UPLOAD_EXPIRY"):
        if getattr(settings, name).total_seconds() < 60:
            refuse(
                "E005", f"{name} is under a minute", "Pushes under way would lose what they have sent: seconds, please."
            )
    for name in ("REGISTRY_WORKERS", "REGISTRY_THREADS"):
        if getattr(settings, name) < 1:
            refuse("E007", f"{name} is under 1", "Leave it out: the machine's size decides.")
    if settings.REGISTRY_WORKER not in ("loop", "gthread"):
        refuse("E008", "REGISTRY_WORKER is neither loop nor gthread", "Leave it out for loop.")
    if settings.REGISTRY_BODY_TIMEOUT < 1:
        refuse(
            "E006", "REGISTRY_BODY_TIMEOUT is under a second", "How many seconds may a sender be silent? 60 is usual."
        )
    return found
