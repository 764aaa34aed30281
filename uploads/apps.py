from django.apps import AppConfig


class UploadsConfig(AppConfig):
    name = "uploads"

    def ready(self) -> None:
        from uploads import clearing, services  # noqa: F401 - register what the background process has to do
