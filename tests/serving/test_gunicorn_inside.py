"""A worker that relies on gunicorn's inside does not start where that is another one."""

import gunicorn.http.message
import pytest
from gunicorn.config import Config
from gunicorn.errors import ConfigError
from gunicorn.http.body import Body, ChunkedReader, LengthReader
from gunicorn.http.parser import RequestParser
from gunicorn.http.wsgi import Response

from serving import gunicorn_inside


def test_the_gunicorn_that_is_installed_is_the_one_we_know() -> None:
    gunicorn_inside.check()


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (gunicorn.http.message, "MAX_REQUEST_LINE"),
        (gunicorn.sock, "ssl_wrap_socket"),
        (Config, "forwarded_allow_networks"),
        (Response, "send_headers"),
    ],
)
def test_a_gunicorn_without_what_we_use_is_refused(owner: object, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(owner, name)
    with pytest.raises(ConfigError, match=name):
        gunicorn_inside.check()


def test_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gunicorn.__version__", "99.0")
    with pytest.raises(ConfigError, match=r"99\.0"):
        gunicorn_inside.check()


def test_what_only_instances_have_is_there() -> None:
    config = Config()
    parser = RequestParser(config, [b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"], None)
    request = next(parser)
    assert parser.mesg is request
    assert request.body.reader.req.unreader is parser.unreader
    assert isinstance(request.body, Body)
    assert isinstance(request.body.reader, ChunkedReader)
    request = next(RequestParser(config, [b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na"], None))
    assert isinstance(request.body.reader, LengthReader)
    assert request.body.reader.unreader is request.unreader
    assert request.body.reader.length == 1
    response = Response(request, None, config)
    assert (response.headers_sent, response._omits_body, response.status) == (False, False, None)
