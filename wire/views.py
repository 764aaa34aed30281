"""What every `/v2/` endpoint shares. No endpoint lives here."""

from django.http import HttpRequest
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.renderers import JSONRenderer
from rest_framework.views import APIView

from oci.names import parse_name
from oci.scopes import Scope

PULL, PUSH, DELETE = frozenset({"pull"}), frozenset({"pull", "push"}), frozenset({"delete"})


def is_for_clients(request: HttpRequest) -> bool:
    """Whether the request belongs to the registry's wire protocol, not to pages for people."""
    return request.path_info.startswith("/v2/") or request.path_info == "/v2"


class IgnoreAccept(BaseContentNegotiation):
    """Clients send the manifest types they know in Accept; errors are JSON whatever they say."""

    def select_parser(self, request, parsers):
        return None

    def select_renderer(self, request, renderers, format_suffix=None):
        return renderers[0], renderers[0].media_type


class RegistryView(APIView):
    """A route of `/v2/`: host, name and scope are checked before the method runs, in that order."""

    # Attributes, not settings: DRF resolves setting strings while APIView itself is being imported.
    parser_classes = []
    renderer_classes = [JSONRenderer]
    content_negotiation_class = IgnoreAccept
    http_method_names = ["get", "head", "post", "patch", "put", "delete"]  # DRF's OPTIONS describes views to nobody

    actions = {"GET": PULL, "HEAD": PULL, "POST": PUSH, "PATCH": PUSH, "PUT": PUSH, "DELETE": DELETE}

    def initial(self, request, *args, **kwargs):
        request.get_host()  # a refused Host is a 400 here too, though CommonMiddleware never runs
        if "name" in kwargs:
            parse_name(kwargs["name"])
        super().initial(request, *args, **kwargs)

    def required_scopes(self) -> list[Scope]:
        if "name" not in self.kwargs:
            return []
        return [Scope("repository", self.kwargs["name"], self.actions.get(self.request.method or "", PULL))]

    def error_headers(self, error: Exception) -> dict[str, str]:
        """Headers that the answer to this error needs, besides those every error has."""
        return {}

    @property
    def default_response_headers(self):
        """None: DRF would add Allow and Vary to every answer; Allow is sent where it belongs, with a 405."""
        return {}
