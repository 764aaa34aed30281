from django.apps import AppConfig


class ManifestsConfig(AppConfig):
    name = "manifests"

    def ready(self) -> None:
        from manifests import collecting  # noqa: F401 - registers what the background process has to do
