from rest_framework.response import Response

from wire.views import RegistryView


class VersionView(RegistryView):
    """end-1: whether this is a registry, and whether the credential is good."""

    def get(self, request):
        return Response({})
