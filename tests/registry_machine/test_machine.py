"""A registry and a model of it side by side: uploads, layers, manifests, tags and repositories, in any order, while
hours pass, background work is done row by row, disks rot, and the process or the whole machine dies at any statement.

Each call either was acknowledged, or was refused for the reason the model knows, or died: then all of it was done, or
nothing. Only what nothing needs goes by itself, when its grace is over. And in the end nothing is stored but what
manifests name.
"""

import os
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from random import randrange
from typing import Any

import hypothesis
import pytest
from django.db import connection
from django.db.models import Q
from hypothesis import HealthCheck
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from layers import services as layers
from layers.models import Blob, Layer, Naming, PendingDelete
from layers.verifying import verify
from manifests import services as manifests
from manifests.models import Manifest, Tag
from oci.digests import Digest
from oci.errors import (
    BlobUnknown,
    BlobUploadUnknown,
    ManifestBlobUnknown,
    ManifestUnknown,
    NameUnknown,
    UploadBusy,
    UploadSuperseded,
)
from repositories import deletion
from repositories.models import Repository
from tests import integrity
from tests.collecting import COLLECTED, pass_by
from tests.faults.conftest import count, done
from tests.registry_machine.pool import BLOBS, CONTENTS, DIGESTS, MANIFESTS, Content
from tests.registry_machine.world import GRACE, Held, World, observed
from tests.uploads.bodies import Sent
from tests.uploads.disk import Crash, Disk, Fuse
from uploads import services as uploads
from uploads.models import State, Upload
from work.loop import duties, run_due
from work.loop import run as run_duty

OPENER = "user:1"
NAMES = ("team/app", "library/base")
EXPIRY = GRACE  # hours an upload waits for its client

names = st.sampled_from(NAMES)
blobs = st.sampled_from(BLOBS)
contents = st.sampled_from(list(MANIFESTS))
indexes = st.sampled_from([what for what in MANIFESTS if MANIFESTS[what].children])
tags = st.lists(st.sampled_from(("latest", "stable")), unique=True)
which = st.integers(0, 50)
power = st.one_of(st.none(), st.floats(0, 1))  # None: only the process dies
seldom = st.sampled_from((False, False, False, True))
hours = st.sampled_from((0.5, 11, 13, 25))


def crashes(steps: int) -> st.SearchStrategy[tuple[int, float | None] | None]:
    """Mostly none; else after how many steps of about so many, and whether the whole machine dies."""
    return st.one_of(st.none(), st.none(), st.tuples(st.integers(0, steps), power))


@dataclass
class Known:
    """An open upload as its client knows it."""

    name: str
    target: bytes
    acknowledged: int
    expires: float  # hours


class Machine(RuleBasedStateMachine):
    disk: Disk
    fuse: Fuse

    def __init__(self) -> None:
        super().__init__()
        self.world = World({name: Held() for name in NAMES})
        self.open: dict[str, Known] = {}

    @initialize(pushed=st.lists(st.tuples(names, indexes), min_size=2, max_size=6, unique=True))
    def there_is_something_already(self, pushed):
        for name, what in pushed:
            self.push_all_that_is_missing(name, what, [], False, None)

    # --- How something is asked ---------------------------------------------------------------------------------------

    def ask(self, crash: tuple[int, float | None] | None, do: Any, *arguments: Any) -> Any:
        """What it returned, or the problem; Crash where the process died on the way, perhaps the whole machine."""
        self.fuse.left, power = crash or (None, None)
        try:
            return do(*arguments)
        except Crash as end:
            connection.close()
            if power is not None:
                self.disk.lose_power(power)
            return end
        except Exception as problem:  # noqa: BLE001 - it is looked at
            return problem
        finally:
            self.fuse.left = None

    def settle(self, answer: Any, after: World, refusal: type[Exception] | None = None) -> bool:
        """Acknowledged (true), refused as it has to be, or dead: then all was done or nothing."""
        if isinstance(answer, Crash):
            seen = observed(NAMES)
            if seen != self.world.shape():
                assert refusal is None, "what had to be refused was done"
                assert seen == after.shape(), "a part was done"
                self.world = after
            return False
        if refusal:
            assert isinstance(answer, refusal), answer
            return False
        assert not isinstance(answer, Exception), answer
        self.world = after
        return True

    def pick(self, number: int, kind: str) -> tuple[str, str]:
        """A repository, and the digest of a layer or manifest, or the tag, that it has."""
        every = sorted((name, each) for name, held in self.world.held.items() for each in getattr(held, kind))
        return every[number % len(every)]

    def has(self, kind: str) -> bool:
        return any(getattr(held, kind) for held in self.world.held.values())

    # --- Blobs --------------------------------------------------------------------------------------------------------

    @rule(name=names, content=blobs, crash=crashes(40))
    def push_blob(self, name, content, crash):
        answer = self.ask(crash, push, name, Sent(content[:9], self.fuse.step, content[9:]), content)
        self.settle(answer, self.world.after().link(name, str(Digest.of(content)), sound=True))

    @rule(name=names, content=blobs, meanwhile=st.sampled_from(("expiry", "deletion", "same", "work")))
    def push_blob_while_something_happens(self, name, content, meanwhile):
        digest, happens = (
            str(Digest.of(content)),
            {
                "expiry": lambda: self.background_work(30, None),
                "deletion": lambda: self.delete_repository(name, None),
                "same": lambda: self.push_blob(name, content, None),
                "work": lambda: self.background_work(5, None),
            },
        )
        answer = self.ask(None, push, name, Sent(content[:9], happens[meanwhile], content[9:]), content)
        if meanwhile in ("expiry", "deletion"):
            assert isinstance(answer, (BlobUploadUnknown, UploadSuperseded)), answer
        else:
            self.settle(answer, self.world.after().link(name, digest, sound=True))

    @precondition(lambda self: self.has("layers"))
    @rule(number=which, target_name=names, crash=crashes(12))
    def mount(self, number, target_name, crash):
        source, digest = self.pick(number, "layers")
        answer = self.ask(crash, mount, source, target_name, digest)
        if digest in self.world.damaged:
            assert answer is False or isinstance(answer, Crash)
        else:
            assert self.settle(answer, self.world.after().link(target_name, digest)) in (answer, False)

    @precondition(lambda self: self.has("layers"))
    @rule(number=which, name=names, crash=crashes(4))
    def ask_before_pushing_a_blob(self, number, name, crash):
        self.ask_for_blob(name, self.pick(number, "layers")[1], crash)

    def ask_for_blob(self, name: str, digest: str, crash: tuple[int, float | None] | None) -> bool:
        after = self.world.after()
        there = digest in after.held[name].layers and digest not in after.damaged
        if there:
            after.held[name].layers[digest] = max(after.held[name].layers[digest], after.clock + GRACE / 2)
        answer = self.ask(crash, layers.find_for_push, name, Digest.parse(digest))
        return self.settle(answer, after, None if there else BlobUnknown)

    @precondition(lambda self: self.has("layers"))
    @rule(number=which, name=names, crash=crashes(12))
    def delete_blob(self, number, name, crash):
        digest = self.pick(number, "layers")[1]
        there = digest in self.world.held[name].layers
        after = self.world.after().unlink(name, digest) if there else self.world
        self.settle(self.ask(crash, layers.unlink, name, Digest.parse(digest)), after, None if there else BlobUnknown)

    # --- Uploads in several requests ----------------------------------------------------------------------------------

    @rule(name=names, content=blobs, crash=crashes(12))
    def start_upload(self, name, content, crash):
        answer = self.ask(crash, lambda: uploads.start(Repository.objects.for_push(name), OPENER))
        if isinstance(answer, Upload):
            self.open[str(answer.pk)] = Known(name, content, 0, self.world.clock + EXPIRY)
        else:
            assert isinstance(answer, Crash), answer

    @precondition(lambda self: self.open)
    @rule(number=which, size=st.integers(0, 150), crash=crashes(14))
    def append(self, number, size, crash):
        upload_id, known = self.some_upload(number)
        chunk = known.target[known.acknowledged : known.acknowledged + size]
        body = Sent(chunk[:5], self.fuse.step, chunk[5:])
        answer = self.ask(crash, uploads.append, known.name, upload_id, OPENER, body, known.acknowledged)
        known.expires = max(known.expires, self.world.clock + EXPIRY) if isinstance(answer, Upload) else known.expires
        if isinstance(answer, Crash):
            offset = uploads.find(known.name, upload_id, OPENER).offset
            assert offset in (known.acknowledged, known.acknowledged + len(chunk))
            known.acknowledged = offset
        elif not self.never_had_a_file(upload_id, answer):
            assert isinstance(answer, Upload), answer
            known.acknowledged += len(chunk)

    @precondition(lambda self: self.open)
    @rule(number=which, crash=crashes(36))
    def finish(self, number, crash):
        upload_id, known = self.some_upload(number)
        digest, rest = Digest.of(known.target), Sent(known.target[known.acknowledged :])
        answer = self.ask(crash, uploads.finish, known.name, upload_id, OPENER, digest, rest, None)
        if self.never_had_a_file(upload_id, answer):
            return
        before, after = self.world, self.world.after().link(known.name, str(digest), sound=True)
        self.settle(answer, after)
        finished = Upload.objects.get(pk=upload_id).state == State.FINISHED
        if isinstance(answer, Crash) and before.shape() == after.shape():
            self.world = after if finished else before  # the layer was there before: nothing tells but the upload
        assert finished == (self.world is after)
        if finished:
            del self.open[upload_id]

    @precondition(lambda self: self.open)
    @rule(number=which, crash=crashes(14))
    def cancel(self, number, crash):
        upload_id, known = self.some_upload(number)
        answer = self.ask(crash, uploads.cancel, known.name, upload_id, OPENER)
        if not self.never_had_a_file(upload_id, answer):
            assert answer is None or isinstance(answer, Crash), answer
        if not Upload.objects.filter(pk=upload_id).exists():
            del self.open[upload_id]
        else:
            assert answer is not None

    def some_upload(self, number: int) -> tuple[str, Known]:
        return list(self.open.items())[number % len(self.open)]

    def never_had_a_file(self, upload_id: str, answer: Any) -> bool:
        """A power cut took the file before anything of it was acknowledged: the client has to begin anew."""
        if not isinstance(answer, BlobUploadUnknown):
            return False
        assert self.open.pop(upload_id).acknowledged == 0
        assert not (self.disk.directory / Upload.objects.get(pk=upload_id).key).exists()
        return True

    # --- Manifests and tags -------------------------------------------------------------------------------------------

    @rule(name=names, what=contents, tags=tags, crash=crashes(20))
    def push_manifest(self, name, what, tags, crash):
        content, held = MANIFESTS[what], self.world.held[name]
        there = {*(held.layers.keys() - self.world.damaged), *held.manifests}
        refusal = None if content.blobs | content.children <= there else ManifestBlobUnknown
        after = self.world.after().push(name, content, tags)
        self.settle(self.ask(crash, push_manifest, name, content, tags), after, refusal)

    @rule(name=names, what=contents, tags=tags, slowly=st.booleans(), crash=crashes(20))
    def push_all_that_is_missing(self, name, what, tags, slowly, crash):
        """As clients do: they ask for each part, push it if it is not there, and rely on the answers for half a day.
        A slow one began before, and gave up for as long."""
        content = MANIFESTS[what]
        if slowly:
            for digest in sorted(content.blobs):
                self.push_blob(name, DIGESTS[digest], None)
            self.background_work(13, None)
        for child in MANIFESTS:
            digest = MANIFESTS[child].digest
            if digest in content.children and not self.ask_for_manifest(name, digest, None):
                self.push_all_that_is_missing(name, child, [], False, None)
        for digest in sorted(content.blobs):
            if not self.ask_for_blob(name, digest, None):
                self.push_blob(name, DIGESTS[digest], None)
        if slowly:
            self.background_work(11, None)
        assert content.blobs <= self.world.held[name].layers.keys() - self.world.damaged
        assert content.children <= self.world.held[name].manifests.keys()
        self.push_manifest(name, what, tags, crash)

    @precondition(lambda self: self.has("manifests"))
    @rule(number=which, name=names, crash=crashes(4))
    def ask_before_pushing_a_manifest(self, number, name, crash):
        self.ask_for_manifest(name, self.pick(number, "manifests")[1], crash)

    def ask_for_manifest(self, name: str, digest: str, crash: tuple[int, float | None] | None) -> bool:
        after = self.world.after()
        there, until = digest in after.held[name].manifests, after.held[name].manifests.get(digest)
        if until is not None:
            after.held[name].manifests[digest] = max(until, after.clock + GRACE / 2)
        answer = self.ask(crash, lambda: manifests.renew(manifests.find(name, Digest.parse(digest))))
        return self.settle(answer, after, None if there else ManifestUnknown)

    @precondition(lambda self: self.has("manifests"))
    @rule(number=which, index=st.booleans(), then=st.sampled_from((0, 13, 25)), crash=crashes(18))
    def delete_manifest(self, number, index, then, crash):
        """And perhaps wait until the grace of what it named is nearly over, or is."""
        name, digest = self.pick(number, "manifests")
        if index:  # that one, if there is one
            digest = max(self.world.held[name].manifests, key=lambda each: (len(CONTENTS[each].children), each))
        answer = self.ask(crash, manifests.delete, name, Digest.parse(digest))
        self.settle(answer, self.world.after().delete(name, digest))
        if then:
            self.background_work(then, None)

    @precondition(lambda self: self.has("tags"))
    @rule(number=which, crash=crashes(6))
    def untag(self, number, crash):
        name, tag = self.pick(number, "tags")
        self.settle(self.ask(crash, manifests.untag, name, tag), self.world.after().untag(name, tag))

    # --- Repositories -------------------------------------------------------------------------------------------------

    @rule(name=names, really=seldom, crash=crashes(26))
    def delete_some_repository(self, name, really, crash):
        if really:
            self.delete_repository(name, crash)

    def delete_repository(self, name: str, crash: tuple[int, float | None] | None) -> None:
        there = Repository.objects.filter(name=name).exists()
        answer = self.ask(crash, deletion.delete, name)
        self.settle(answer, self.world.after().empty(name), None if there else NameUnknown)
        if there and not Repository.objects.filter(name=name).exists():
            self.world = self.world.after().empty(name)
            self.open = {upload_id: known for upload_id, known in self.open.items() if known.name != name}

    # --- What happens by itself ---------------------------------------------------------------------------------------

    @precondition(lambda self: self.has("layers"))
    @rule(number=which, how=st.sampled_from(("shorter", "other", "gone")), crash=crashes(4))
    def bytes_rot(self, number, how, crash):
        """And `verify` notices."""
        blob = Blob.objects.get(digest=self.pick(number, "layers")[1])
        path = self.disk.directory / blob.key
        if not blob.size or blob.damaged_at:
            return
        if how == "gone":
            path.unlink()
        elif how == "shorter":
            os.truncate(path, blob.size - 1)
        else:
            path.write_bytes(b"\0" * blob.size)
        self.ask(crash, verify, blob)
        assert verify(blob).damaged
        self.world.damaged.add(blob.digest)

    @rule(hours=hours, crash=crashes(70))
    def background_work(self, hours, crash):
        self.jump(hours)
        self.work(crash, run_due)

    @rule(hours=hours, number=which, crash=crashes(24))
    def background_work_on_one_row(self, hours, number, crash):
        self.jump(hours)
        duty = duties()[number % len(duties())]
        self.work(crash, lambda: run_duty(duty, seconds=0))

    @rule(really=seldom)
    def days_pass(self, really):
        if really:
            self.collect_everything()

    def collect_everything(self) -> None:
        """Everything that is open expires, and every grace ends; then nothing is stored but what manifests name."""
        for _ in range(20):
            if not any(model._base_manager.exclude(due_at=None).exists() for model in COLLECTED):
                break
            self.background_work(30, None)
        assert not Upload.objects.exists()
        assert [problem for check in integrity.COLLECTED for problem in check()] == []
        sound = set(Blob.objects.filter(damaged_at=None).values_list("key", flat=True))
        assert sound <= self.disk.stored() <= set(Blob.objects.values_list("key", flat=True))

    def jump(self, hours: float) -> None:
        pass_by(timedelta(hours=hours))
        self.world.clock += hours

    def work(self, crash: tuple[int, float | None] | None, do: Any) -> None:
        """What was there and is not must have been needed by nothing."""
        answer = self.ask(crash, do)
        assert not isinstance(answer, Exception), answer
        seen, after = observed(NAMES), self.world.after()
        for name in NAMES:
            unneeded = self.world.collectable(name)
            gone = tuple(set(had) - has for had, has in zip(self.world.shape()[name][:2], seen[name][:2], strict=True))
            assert gone[0] <= unneeded[0], f"layers of {name} are gone that were needed: {gone[0] - unneeded[0]}"
            assert gone[1] <= unneeded[1], f"manifests of {name} are gone that were needed: {gone[1] - unneeded[1]}"
            for digest in gone[1]:
                after.delete(name, digest)
            for digest in gone[0]:
                after.unlink(name, digest)
        after.damaged &= seen["damaged"] | {digest for held in after.held.values() for digest in held.layers}
        self.world = after
        left = set(map(str, Upload.objects.values_list("pk", flat=True)))
        for upload_id in self.open.keys() - left:
            assert self.open.pop(upload_id).expires <= self.world.clock, "an upload is gone too early"

    # --- What is always so --------------------------------------------------------------------------------------------

    @invariant()
    def all_is_well(self):
        self.what_was_acknowledged_is_there_and_nothing_else()
        self.it_is_served_as_it_was_pushed()
        self.uploads_are_as_far_as_was_said_and_durably_so()
        self.rows_and_objects_agree_and_blobs_are_durable()
        self.no_duty_has_failed_but_for_an_upload_that_is_written_to()

    def what_was_acknowledged_is_there_and_nothing_else(self):
        assert observed(NAMES) == self.world.shape()
        for held in self.world.held.values():
            assert held.lacking() <= held.removed, "a manifest misses what nobody took away by name"

    def it_is_served_as_it_was_pushed(self):
        for name, held in self.world.held.items():
            for digest in held.layers:
                assert served(name, digest) == (None if digest in self.world.damaged else DIGESTS[digest])
            for digest in held.manifests:
                assert bytes(manifests.find(name, Digest.parse(digest)).content) == CONTENTS[digest].bytes
            for tag, digest in held.tags.items():
                assert manifests.find(name, tag).digest == digest

    def uploads_are_as_far_as_was_said_and_durably_so(self):
        for upload_id, known in self.open.items():
            upload = uploads.find(known.name, upload_id, OPENER)
            assert upload.offset == known.acknowledged
            if known.acknowledged:
                assert self.disk.holds(upload.key, upload.offset)

    def rows_and_objects_agree_and_blobs_are_durable(self):
        checks = [*integrity.INDEX, integrity.blobs_without_their_object, integrity.objects_that_nobody_knows]
        assert [problem for check in checks for problem in check()] == []
        assert all(self.disk.holds(blob.key, blob.size) for blob in Blob.objects.filter(damaged_at=None))

    def no_duty_has_failed_but_for_an_upload_that_is_written_to(self):
        errors = {error for model in COLLECTED for error in model._base_manager.values_list("last_error", flat=True)}
        assert {error for error in errors if error and not error.startswith(UploadBusy.__name__)} == set()

    def teardown(self):
        self.fuse.left = None
        try:
            self.collect_everything()
        finally:
            for model in (Upload, Tag, Naming, Layer, Manifest, PendingDelete, Blob, Repository):
                model._base_manager.all().delete()
            self.disk.wipe()


def push(name: str, body: Sent, content: bytes) -> Digest:
    return uploads.push(Repository.objects.for_push(name), OPENER, Digest.of(content), body, None)


def mount(source: str, target: str, digest: str) -> bool:
    return layers.mount(Digest.parse(digest), Q(name=source), Repository.objects.for_push(target))


def push_manifest(name: str, content: Content, tags: list[str]) -> None:
    repository = Repository.objects.for_push(name)
    manifests.push(repository, Digest.parse(content.digest), content.bytes, content.document, tags, False)


def served(name: str, digest: str) -> bytes | None:
    try:
        blob = layers.index.find(name, Digest.parse(digest)).blob
    except BlobUnknown:
        return None
    with closing(layers.read(blob, 0, blob.size)) as reader:
        return reader.read()


@pytest.fixture
def machine(fuse, disk) -> type[Machine]:
    return type("Registry", (Machine,), {"fuse": fuse, "disk": disk})


def run(machine: type[Machine], **how: Any) -> None:
    checks = list(HealthCheck)
    how = hypothesis.settings(deadline=None, suppress_health_check=checks, **how)
    run_state_machine_as_test(machine, settings=how)


def test_whatever_is_asked_in_whichever_order(machine):
    run(machine, max_examples=6, stateful_step_count=25, derandomize=True)


@pytest.mark.faults
def test_whatever_is_asked_in_whichever_order_many_times(machine, record_property):
    """FAULTS_SEED=… repeats what was asked, FAULTS_SIZE=1 asks for hours."""
    seed = int(os.environ.get("FAULTS_SEED") or randrange(1_000_000))
    print(f"FAULTS_SEED={seed}")
    record_property("seed", seed)
    examples = count(20, 4000)
    run(hypothesis.seed(seed)(machine), max_examples=examples, stateful_step_count=40, database=None)
    done("orders of requests, deaths and background work", examples)
