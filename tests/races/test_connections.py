"""Connections to PostgreSQL are few: nobody holds one while a client takes its time."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection

from serving.inputs import InputBody
from tests.images import image
from tests.registry import Registry

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite's connection is the thread's own"),
]


@pytest.fixture
def held(monkeypatch) -> list[bool]:
    """For each block that was read from a client, whether a connection was held meanwhile."""
    looks: list[bool] = []
    read = InputBody.blocks

    def blocks(body: InputBody, *patience: Any) -> Iterator[bytes]:
        blocks = read(body, *patience)
        while True:
            looks.append(connection.connection is not None)
            if not (block := next(blocks, b"")):
                return
            yield block

    monkeypatch.setattr(InputBody, "blocks", blocks)
    return looks


def test_no_connection_is_held_while_a_blob_comes(registry: Registry, held):
    location = registry.open_upload("team/app")
    registry.ask("PATCH", location, b"bytes")
    registry.push_blob("team/app", b"other bytes")
    assert held
    assert not any(held)


def test_no_connection_is_held_while_a_manifest_comes(registry: Registry, held):
    registry.push_blob("team/app", b"{}")
    del held[:]
    registry.push_manifest("team/app", image(b"{}"), "latest")
    assert held
    assert not any(held)


def test_no_connection_is_held_while_a_blob_is_sent(registry: Registry):
    digest = registry.push_blob("team/app", b"bytes")
    answer = registry.pull_blob("team/app", digest)
    assert connection.connection is None
    assert b"".join(answer.streaming_content) == b"bytes"
