from django.apps import AppConfig


class LayersConfig(AppConfig):
    name = "layers"

    def ready(self) -> None:
        from layers import services  # noqa: F401 - registers what the background process has to do
