from django.apps import AppConfig
from django.conf import settings


class RegistrySiteConfig(AppConfig):
    name = "registry_site"

    def ready(self) -> None:
        from registry_site import checks  # noqa: F401 - registers them

        if settings.REGISTRY_BROKER_URL:
            from registry_site import celery  # noqa: F401 - whoever sends a message sends it by this application
