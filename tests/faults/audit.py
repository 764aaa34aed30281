"""Compares a server, and what it stores, with what its clients were told. Each check returns what it found wrong."""

import contextlib
import hashlib
import json
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.faults.journal import Expected, Part, Thing
from tests.faults.registry import Repository, content_of, digest_of
from tests.faults.wire import Answer
from tests.server import Server

# --- Through the server -----------------------------------------------------------------------------------------------


def served(server: Server, token: str, expected: Expected) -> list[str]:
    """Nothing acknowledged is lost, nothing is served that is not whole, HEAD and GET agree, offsets hold."""
    checks = [
        (served_object, "blobs", expected.blobs),
        (served_object, "manifests", expected.manifests),
        (served_tag, "manifests", expected.tags),
        (served_upload, "", {thing: part for thing, part in expected.uploads.items() if not part.ending}),
        (served_object, "blobs", dict.fromkeys(expected.wrong, None)),
    ]
    with ThreadPoolExecutor(4) as clients:
        futures = [
            clients.submit(check, Repository(server, thing.repository, token), kind, thing.name, expectation)
            for check, kind, things in checks
            for thing, expectation in things.items()
        ]
        return [problem for future in futures for problem in future.result()]


def served_object(repository: Repository, kind: str, digest: str, acknowledged: bool | None) -> list[str]:
    """`acknowledged` None: it must not be there at all."""
    ask = repository.blob if kind == "blobs" else repository.manifest
    head, get = ask(digest, "HEAD"), ask(digest)
    allowed = {True: {200}, False: {200, 404}, None: {404}}[acknowledged]
    if head.status != get.status or get.status not in allowed:
        return [f"{kind} {digest} ({acknowledged=}): HEAD {head.status}, GET {get}"]
    return wrong_content(digest, head, get) if get.status == 200 else []


def served_tag(repository: Repository, kind: str, tag: str, allowed: set[str | None]) -> list[str]:
    head, get = repository.manifest(tag, "HEAD"), repository.manifest(tag)
    digest = get.headers["Docker-Content-Digest"] if get.status == 200 else None
    if head.status != get.status or get.status not in (200, 404) or digest not in allowed:
        return [f"tag {tag}: HEAD {head.status}, GET {get}, allowed {allowed}"]
    return wrong_content(digest, head, get) if digest else []


def wrong_content(digest: str, head: Answer, get: Answer) -> list[str]:
    if digest_of(get.body) != digest:
        return [f"{digest} is served with other bytes: {digest_of(get.body)}"]
    for name in ("Content-Length", "Content-Type", "Docker-Content-Digest", "ETag"):
        if head.headers[name] != get.headers[name]:
            return [f"{digest}: HEAD says {name}: {head.headers[name]}, GET {get.headers[name]}"]
    return []


def served_upload(repository: Repository, _: str, location: str, part: Part) -> list[str]:
    answer = repository.ask("GET", location)
    # "0-0" stands for nothing stored, and for one byte.
    if answer.status != 204 or max(answer.stored, 1) < part.stored:
        return [f"{location}: {part.stored} bytes were acknowledged, and now {answer}"]
    return []


# --- Without the server -----------------------------------------------------------------------------------------------


def stored(server: Server, expected: Expected) -> list[str]:
    """Every row has its object and every object its row, each verified, after no process of the server is left."""
    with database(server) as rows:
        problems = [*rows.execute("PRAGMA foreign_key_check")] if isinstance(rows, sqlite3.Connection) else []
        files = Files(server.data / "blobs")
        return [
            *(f"foreign key: {problem}" for problem in problems),
            *stored_blobs(rows, files),
            *unknown_objects(rows, files),
            *stored_uploads(rows, files, expected),
            *stored_manifests(rows),
            *acknowledged_rows(rows, expected),
        ]


class Files:
    """The objects, as files below a directory."""

    def __init__(self, directory: Path):
        self.directory = directory

    def keys(self) -> set[str]:
        return {str(path.relative_to(self.directory)) for path in self.directory.rglob("*") if path.is_file()}

    def size(self, key: str) -> int | None:
        path = self.directory / key
        return path.stat().st_size if path.exists() else None

    def sha256(self, key: str) -> str:
        with (self.directory / key).open("rb") as file:
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"

    def begins_with(self, key: str, content: bytes) -> bool:
        path = self.directory / key
        with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
            return file.read(len(content)) == content
        return False


@contextlib.contextmanager
def database(server: Server) -> Iterator[Any]:
    """A connection to what is stored; on SQLite to a copy, because opening the file would repair it."""
    if url := server.environment.get("REGISTRY_DATABASE_URL"):
        import psycopg

        with psycopg.connect(url) as connection:
            yield connection
        return
    with tempfile.TemporaryDirectory() as directory:
        for file in server.data.glob("db.sqlite3*"):
            shutil.copy(file, directory)
        with contextlib.closing(sqlite3.connect(Path(directory) / "db.sqlite3")) as connection:
            yield connection


def stored_blobs(rows: Any, files: Files) -> Iterator[str]:
    for digest, key, size in rows.execute("SELECT digest, key, size FROM layers_blob WHERE damaged_at IS NULL"):
        if files.size(key) != size:
            yield f"blob {digest}: {size} bytes recorded, {files.size(key)} stored"
        elif files.sha256(key) != digest:
            yield f"blob {digest}: its object {key} holds {files.sha256(key)}"


def unknown_objects(rows: Any, files: Files) -> Iterator[str]:
    known = """SELECT key FROM layers_blob UNION SELECT key FROM layers_pendingdelete
        UNION SELECT key FROM uploads_upload WHERE state <> 'finished'"""
    for key in sorted(files.keys() - {key for (key,) in rows.execute(known)}):
        yield f"object {key}: no row knows it"


def stored_uploads(rows: Any, files: Files, expected: Expected) -> Iterator[str]:
    found = rows.execute("SELECT id, key, \"offset\" FROM uploads_upload WHERE state <> 'finished'")
    uploads = {str(upload).replace("-", ""): (key, offset) for upload, key, offset in found}
    for key, offset in uploads.values():
        if offset and (files.size(key) or 0) < offset:
            yield f"upload {key}: {offset} bytes recorded, {files.size(key)} stored"
    for thing, part in expected.uploads.items():
        upload = uploads.get(thing.name.partition("?")[0].rpartition("/")[2].replace("-", ""))
        if upload is None:
            if not part.ending:
                yield f"upload {thing}: its row is gone"
        elif upload[1] < part.stored:
            yield f"upload {thing}: {part.stored} bytes acknowledged, {upload[1]} recorded"
        elif upload[1] and not files.begins_with(upload[0], content_of(part.seed, part.size)[: upload[1]]):
            yield f"upload {thing}: its object holds other bytes"


def stored_manifests(rows: Any) -> Iterator[str]:
    """Every manifest is what its digest says and has its blobs here; every tag has its manifest."""
    layers = set(
        rows.execute("SELECT l.repository_id, b.digest FROM layers_layer l JOIN layers_blob b ON b.id=blob_id")
    )
    found = rows.execute("SELECT id, repository_id, digest, content FROM manifests_manifest").fetchall()
    for _, repository, digest, content in found:
        if digest_of(bytes(content)) != digest:
            yield f"manifest {digest}: other bytes are stored"
        manifest = json.loads(bytes(content))
        for descriptor in [manifest.get("config"), *manifest.get("layers", [])]:
            if descriptor and (repository, descriptor["digest"]) not in layers:
                yield f"manifest {digest}: has no {descriptor['digest']}"
    manifests = {(pk, repository) for pk, repository, _, _ in found}
    for name, manifest, repository in rows.execute("SELECT name, manifest_id, repository_id FROM manifests_tag"):
        if (manifest, repository) not in manifests:
            yield f"tag {name}: has no manifest"


def acknowledged_rows(rows: Any, expected: Expected) -> Iterator[str]:
    """What clients were told is there has its rows; a digest that was only claimed has none."""
    blobs = things(rows, "layers_blob b JOIN layers_layer l ON l.blob_id = b.id", "b.digest", "l.repository_id")
    manifests = things(rows, "manifests_manifest m", "m.digest", "m.repository_id")
    tagged = "manifests_tag t JOIN manifests_manifest m ON m.id = t.manifest_id"
    tags = things(rows, tagged, "t.name || '=' || m.digest", "t.repository_id")
    for known, there in ((expected.blobs, blobs), (expected.manifests, manifests)):
        for thing, acknowledged in known.items():
            if acknowledged and thing not in there:
                yield f"{thing}: acknowledged, and no row"
    for thing, allowed in expected.tags.items():
        pointed = [Thing(thing.repository, f"{thing.name}={digest}") in tags for digest in allowed if digest]
        if None not in allowed and not any(pointed):
            yield f"tag {thing}: does not point to any of {allowed}"
    for thing in expected.wrong & blobs:
        yield f"{thing}: never verified, and visible"


def things(rows: Any, tables: str, name: str, repository: str) -> set[Thing]:
    query = f"SELECT r.name, {name} FROM {tables} JOIN repositories_repository r ON r.id = {repository}"
    return {Thing(*row) for row in rows.execute(query)}
