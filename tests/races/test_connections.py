"""Connections to PostgreSQL are few: nobody holds one while bytes move, at a client's pace or at a disk's."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection

from layers import finalizing
from layers.finalizing import finalize
from layers.models import Blob
from oci.contents import TAR, Inside
from serving.inputs import InputBody
from tests.images import image
from tests.registry import Registry
from tests.tars import LAYER, TARSUM
from uploads import verifying
from work.loop import run_due

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


@pytest.fixture
def held_in_looks(monkeypatch) -> list[bool]:
    """For each look into a blob, whether a connection was held meanwhile."""
    looks: list[bool] = []

    def look_inside(*_: object, **__: object) -> Inside:
        looks.append(connection.connection is not None)
        return Inside(TAR, tarsum=TARSUM)

    monkeypatch.setattr(finalizing, "finalize", finalize)  # the real one
    monkeypatch.setattr(finalizing, "look_inside", look_inside)
    monkeypatch.setattr(verifying, "look_inside", look_inside)
    return looks


def test_no_connection_is_held_while_a_new_blob_is_looked_into(registry: Registry, held_in_looks):
    registry.push_blob("team/app", b"bytes")
    run_due()
    assert held_in_looks == [False]
    assert Blob.objects.get().finalized_at


def test_no_connection_is_held_while_a_tarsum_is_computed(registry: Registry, held_in_looks):
    location = registry.open_upload("team/app")
    assert registry.ask("PUT", f"{location}?digest={TARSUM}", LAYER).status_code == 201
    assert held_in_looks == [False]
