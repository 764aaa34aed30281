"""What a load balancer is told."""

from types import SimpleNamespace

import pytest
from django.db import OperationalError
from django.test import Client

from registry_site import views

pytestmark = pytest.mark.django_db


def test_a_database_that_ends_between_two_questions_is_unavailable_and_no_fault(monkeypatch):
    def away() -> bool:
        raise OperationalError("the connection is lost")

    monkeypatch.setattr(views, "beats", away)
    monkeypatch.setattr(views, "connection", SimpleNamespace(close=lambda: None))  # it is the test's too
    answer = Client().get("/readyz")
    assert (answer.status_code, answer.json()["database"]) == (503, "unavailable")
    assert (answer.json()["worker"], answer["Retry-After"]) == ("unknown", "2")


def test_a_background_process_that_is_silent_is_told_and_fails_nothing():
    answer = Client().get("/readyz")
    assert (answer.status_code, answer.json()["worker"]) == (200, "silent")


def test_a_disk_that_is_not_mounted_is_unavailable(blob_directory):
    for path in blob_directory.iterdir():
        path.rmdir()
    answer = Client().get("/readyz")
    assert (answer.status_code, answer.json()["storage"]) == (503, "unavailable")
