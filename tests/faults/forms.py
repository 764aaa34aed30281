"""The forms of request by which bytes are pushed."""

from enum import StrEnum

from tests.faults.registry import Repository, digest_of
from tests.faults.wire import STREAMED, Exchange, chunked, closing, part


class Form(StrEnum):
    STREAM = "PATCH, chunked"
    RANGE = "PATCH with Content-Range"
    STREAMED_RANGE = "PATCH, chunked, with Content-Range"
    CLOSE = "PUT with a whole body"
    SINGLE = "POST with a whole body"


def begun(repository: Repository, form: Form, location: str, content: bytes) -> tuple[Exchange, bytes]:
    """The head of the request is sent; the body as it has to follow."""
    length, digest = {"Content-Length": str(len(content))}, digest_of(content)
    single = repository.path("blobs", f"uploads/?digest={digest}")
    method, path, headers, body = {
        Form.STREAM: ("PATCH", location, STREAMED, chunked(content)),
        Form.RANGE: ("PATCH", location, length | part(0, content), content),
        Form.STREAMED_RANGE: ("PATCH", location, STREAMED | part(0, content), chunked(content)),
        Form.CLOSE: ("PUT", closing(location, digest), length, content),
        Form.SINGLE: ("POST", single, length, content),
    }[form]
    return Exchange(repository.server, repository.token, method, path, headers), body
