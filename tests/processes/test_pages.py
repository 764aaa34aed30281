"""What people see where there is no page, and where one failed."""

import re

import pytest
from django.test import RequestFactory

from tests.server import Server
from wire.errors import server_error


@pytest.mark.parametrize("path", ["/", "/no/such/page"])
def test_a_person_who_finds_no_page_is_led_to_the_admin(server: Server, path: str) -> None:
    status, page = fetch(server, path)
    assert status == 404
    assert "There is no such page" in page
    assert 'href="/admin/"' in page


def test_the_look_of_that_page_comes_from_files_that_are_served(server: Server) -> None:
    _, page = fetch(server, "/no/such/page")
    assert not re.search(r"<style|<script|style=", page)
    [stylesheet] = re.findall(r'<link rel="stylesheet" href="([^"]+)"', page)
    assert server.get(stylesheet) == 200


def test_a_person_whose_page_failed_is_told_that_it_is_not_their_fault() -> None:
    answer = server_error(RequestFactory().get("/admin/"))
    assert answer.status_code == 500
    assert "not with your request" in answer.content.decode()


def fetch(server: Server, path: str) -> tuple[int, str]:
    connection = server.connection()
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        assert answer.headers["Content-Type"].startswith("text/html")
        return answer.status, answer.read().decode()
    finally:
        connection.close()
