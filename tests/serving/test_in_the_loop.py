"""Which requests the product lets the loop answer: none that may read a file or search long in a database."""

import pytest

from registry_site import in_the_loop

DIGEST = "sha256:" + 64 * "a"
BEARER = "Bearer token"


@pytest.fixture(autouse=True)
def _revocations_are_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("access.revocations.are_fresh", lambda: True)


def is_short(path: str, authorization: str = BEARER) -> bool:
    return in_the_loop.is_short({"PATH_INFO": path, "HTTP_AUTHORIZATION": authorization})


@pytest.mark.parametrize(
    "path",
    ["/v2/", "/v2/a/manifests/latest", f"/v2/a/b/manifests/{DIGEST}", "/v2/a/manifests/b/manifests/c"],
)
def test_the_api_and_manifests_are_for_the_loop(path: str) -> None:
    assert is_short(path)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v2",
        "/token",
        "/admin/manifests/1",
        "/v2/a/tags/list",
        f"/v2/a/blobs/{DIGEST}",
        f"/v2/a/referrers/{DIGEST}",
        f"/v2/a/manifests/b/blobs/{DIGEST}",
        "/v2/a/manifests/b/tags/list",
        f"/v2/a/manifests/b/referrers/{DIGEST}",
        "/v2/a/xmanifests/b",
        "/v2/a/manifests/b/",
    ],
)
def test_anything_else_is_for_a_thread(path: str) -> None:
    assert not is_short(path)


@pytest.mark.parametrize("authorization", ["", "Basic YTpi", "bearer"])
def test_a_password_is_for_a_thread(authorization: str) -> None:
    assert not is_short("/v2/a/manifests/latest", authorization)
