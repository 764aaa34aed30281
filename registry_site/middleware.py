"""Django's middleware for pages, which `/v2/` neither needs nor pays for, and the headers every `/v2/` answer has."""

import io
from collections.abc import Callable
from ipaddress import ip_address, ip_network

from django.conf import settings
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.core.exceptions import MiddlewareNotUsed
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.middleware.clickjacking import XFrameOptionsMiddleware
from django.middleware.common import CommonMiddleware
from django.middleware.csrf import CsrfViewMiddleware
from whitenoise.middleware import WhiteNoiseMiddleware

from oci.errors import RegistryError
from wire import requests
from wire.bodies import Body
from wire.views import is_for_clients

PROGRAMS = ("/v2", "/token", "/healthz", "/readyz")  # what people have no use for
FORM_LENGTH, FORM_WITHIN = 64 * 1024, 10.0  # bytes, which our worker collects before it takes a thread; and seconds

GetResponse = Callable[[HttpRequest], HttpResponseBase]


def distribution_headers(get_response: GetResponse) -> GetResponse:
    """Outermost, so that answers of any status, Django's own 400 and 500 included, carry the headers."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        number = request.META["layerstore.request_id"] = requests.begin()  # the access log finds it there
        response = get_response(request)
        response["X-Request-Id"] = number
        if request.path_info.startswith(PROGRAMS):
            set_length(request, response)
        if is_for_clients(request):
            response["Docker-Distribution-Api-Version"] = "registry/2.0"
            response["X-Content-Type-Options"] = "nosniff"
            response["Content-Security-Policy"] = "default-src 'none'; frame-ancestors 'none'; sandbox"
        return response

    return middleware


def client_address(get_response: GetResponse) -> GetResponse:
    """Behind a trusted proxy the client is the last address in X-Forwarded-For that is not itself such a proxy's."""
    networks = [ip_network(text, strict=False) for text in settings.REGISTRY_TRUSTED_PROXIES]
    if not networks:
        raise MiddlewareNotUsed

    def trusted(address: str) -> bool:
        try:
            return any(ip_address(address) in network for network in networks)
        except ValueError:
            return not address  # a Unix socket's peer has none, and is on this machine

    def middleware(request: HttpRequest) -> HttpResponseBase:
        path = [part.strip() for part in request.headers.get("X-Forwarded-For", "").split(",") if part.strip()]
        while path and trusted(request.META["REMOTE_ADDR"]):
            request.META["REMOTE_ADDR"] = path.pop()
        return get_response(request)

    return middleware


def whole_forms(get_response: GetResponse) -> GetResponse:
    """Django would wait for a form for as long as somebody drips it, and each would hold a thread. So pages take only
    what our worker has collected when it calls us: short, of known length, and sent without asking first. Every browser
    sends forms like that. Under another worker the form is waited for here, and not for long."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        if request.path_info.startswith(PROGRAMS):
            return get_response(request)
        if request.META.get("HTTP_TRANSFER_ENCODING"):
            return refused(411, "a form has to have a Content-Length")
        if request.META.get("HTTP_EXPECT"):
            return refused(417, "a form has to be sent at once, without Expect")
        try:
            form = Body(request).read(FORM_LENGTH, within=FORM_WITHIN)
        except RegistryError as error:
            return refused(400, f"{error.message}: {error.detail}")
        if form is None:
            return refused(413, f"a form may have {FORM_LENGTH} bytes")
        request._stream = request.META["wsgi.input"] = io.BytesIO(form)
        return get_response(request)

    def refused(status: int, why: str) -> HttpResponse:
        return HttpResponse(f"{why}\n", status=status, content_type="text/plain; charset=utf-8")

    return middleware


def set_length(request: HttpRequest, response: HttpResponseBase) -> None:
    """Without a length the server would send chunks; and an answer to HEAD has only the length, whatever was made."""
    if not isinstance(response, HttpResponse) or response.status_code in (204, 304):
        return
    response.headers.setdefault("Content-Length", str(len(response.content)))
    if request.method == "HEAD":
        response.content = b""


class ForPages:
    """Mixed into a Django middleware: what programs ask for passes it by, so cookies mean nothing there."""

    def __call__(self, request):
        if request.path_info.startswith(PROGRAMS):
            return self.get_response(request)  # type: ignore[attr-defined]
        return super().__call__(request)  # type: ignore[misc]

    def process_view(self, request, view, args, kwargs):
        inherited = getattr(super(), "process_view", None)
        if inherited is None or request.path_info.startswith(PROGRAMS):
            return None
        return inherited(request, view, args, kwargs)


class WhiteNoise(ForPages, WhiteNoiseMiddleware): ...


class Sessions(ForPages, SessionMiddleware): ...


class Common(ForPages, CommonMiddleware): ...


class Csrf(ForPages, CsrfViewMiddleware): ...


class Authentication(ForPages, AuthenticationMiddleware): ...


class Messages(ForPages, MessageMiddleware): ...


class FrameOptions(ForPages, XFrameOptionsMiddleware): ...
