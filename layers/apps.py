from django.apps import AppConfig


class LayersConfig(AppConfig):
    name = "layers"

    def ready(self) -> None:
        from layers import collecting, services, stored_bytes  # noqa: F401 - register what the background process has to do
