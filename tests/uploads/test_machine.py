"""A model of uploads, layers, manifests, tags and repositories beside the real ones, through any order of requests,
collection, clock jumps, crashes and power cuts.

After every step: what was acknowledged is there and durable, no manifest misses what it names, what was not verified is
not visible, every object has a row. At the end, when nothing is open and the background work is done, storage holds
what manifests name and nothing else.
"""

import os
import uuid
from contextlib import closing, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from django.db import transaction
from django.db.models import Exists, OuterRef, Q
from django.utils.timezone import now
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from layers import collecting, finalizing
from layers import services as layers
from layers.models import Blob, Layer, Naming
from manifests import services as manifests
from manifests.models import Manifest, Tag
from oci.digests import Digest
from oci.documents import Document
from oci.errors import (
    BlobUnknown,
    BlobUploadUnknown,
    ChunkOutOfOrder,
    DigestInvalid,
    ManifestBlobUnknown,
    ManifestUnknown,
    SizeInvalid,
    UploadBusy,
    UploadSuperseded,
)
from repositories import deletion
from repositories.models import Repository
from storage import filesystem
from storage.filesystem import FilesystemDriver
from tests import integrity
from tests.collecting import collect_everything, look_quickly, pass_by
from tests.images import IMAGE, INDEX, bytes_of, descriptor, image, index
from tests.uploads.bodies import Sent
from tests.uploads.disk import Crash, Disk, Fuse
from uploads import clearing, receiving, services, taking
from uploads.models import State, Upload
from work.loop import run_due

OPENER = "user:1"
REPOSITORIES = ("team/app", "team/other")
CONTENTS = (b"", b"some bytes of a layer", bytes(range(200)))
DIGESTS = {str(Digest.of(content, algorithm)): content for content in CONTENTS for algorithm in ("sha256", "sha512")}
LAST_STEPS = [
    (FilesystemDriver, "begin"),
    (FilesystemDriver, "delete"),
    (filesystem, "flush"),
    (filesystem, "sync_directory"),
    (services, "admit"),
    (taking, "drop"),
    (Upload, "record"),
    (Upload, "end"),
    (layers, "kept_blob"),
    (layers, "link"),
    (layers, "discard"),
    (layers, "name"),
    (layers, "unname"),
    (manifests, "store"),
    (manifests, "point"),
    (manifests, "remove"),
    (collecting, "is_named"),
    (Layer, "delete"),
    (Blob, "delete"),
    (deletion.deleted, "send"),
    (clearing, "end"),
]

repositories = st.sampled_from(REPOSITORIES)
contents = st.sampled_from(CONTENTS)
algorithms = st.sampled_from(("sha256", "sha256", "sha256", "sha512"))
seldom = st.sampled_from((False, False, False, True))
fuses = st.one_of(st.none(), st.none(), st.integers(0, 25))
power = st.one_of(st.none(), st.floats(0, 1))  # None: only the process dies
which = st.integers(0, 100)
record = st.sampled_from((0, 1000))  # seconds
offs = st.sampled_from((None, None, 0, 0, 0, 0, 1, -1, 2**40))  # how far from its place the chunk is


@dataclass
class Known:
    """An open upload as its client knows it."""

    repository: str
    target: bytes  # what the client wants to push
    acknowledged: bytes = b""


class Uploads(RuleBasedStateMachine):
    disk: Disk
    fuse: Fuse
    names: Random  # where uploads get theirs from: the same at each repetition

    def __init__(self) -> None:
        super().__init__()
        self.names.seed(0)
        receiving.RECORD = 0
        self.database = transaction.atomic()
        self.database.__enter__()
        for name in REPOSITORIES:
            Repository.objects.create(name=name)
        self.open: dict[str, Known] = {}
        self.finished: dict[str, tuple[str, str]] = {}  # upload: (repository, digest)
        self.links: dict[str, set[str]] = {name: set() for name in REPOSITORIES}
        self.tags: dict[str, dict[str, str]] = {name: {} for name in REPOSITORIES}
        self.removed: set[tuple[str, str]] = set()  # layers and manifests that somebody deleted by name
        self.damaged: set[str] = set()

    # --- How something is done ----------------------------------------------------------------------------------------

    def attempt(self, fuse: int | None, power: float | None, do: Any, *arguments: Any) -> Any:
        """What it returned or raised; Crash when the process died on the way, perhaps the whole machine."""
        self.fuse.left = fuse
        try:
            return do(*arguments)
        except Crash as crash:
            if power is not None:
                self.disk.lose_power(power)
            return crash
        except Exception as problem:  # noqa: BLE001 - it is looked at
            return problem
        finally:
            self.fuse.left = None

    def body(self, content: bytes, broken: bool = False, meanwhile: Any = None) -> Sent:
        middle = len(content) // 2
        steps = [self.fuse.step, content[:middle], meanwhile or self.fuse.step, content[middle:], self.fuse.step]
        return Sent(*[step for step in steps if step != b""], broken="cut" if broken else "")

    def any_link(self, number: int) -> tuple[str, str]:
        """Some repository and a digest that it has."""
        every = sorted((name, digest) for name, digests in self.links.items() for digest in digests)
        return every[number % len(every)]

    def something_is_linked(self) -> bool:
        return any(self.links.values())

    def pick(self, number: int) -> tuple[str, Known]:
        return list(self.open.items())[number % len(self.open)]

    def adopt(self, upload_id: str, sent: bytes, may_be_gone: bool, digest: Digest | None = None) -> None:
        """After no clear answer: the upload is somewhere between what it was and what was asked for."""
        known, row = self.open[upload_id], Upload.objects.filter(pk=upload_id).first()
        possible = known.acknowledged + sent
        if row is None:
            assert may_be_gone, "an upload is gone that nobody has ended"
            del self.open[upload_id]
        elif row.state == State.FINISHED:
            assert digest is not None
            assert row.digest == str(digest)
            self.blob(upload_id, known.repository, digest, possible)
        else:
            assert len(known.acknowledged) <= row.offset <= len(possible)
            known.acknowledged = possible[: row.offset]

    def blob(self, upload_id: str, repository: str, digest: Digest, content: bytes) -> None:
        """The upload became a blob, so its bytes had the digest."""
        assert Digest.of(content, digest.algorithm) == digest, "a blob was made of other bytes"
        self.open.pop(upload_id, None)
        self.finished[upload_id] = (repository, str(digest))
        self.links[repository].add(str(digest))
        self.damaged.discard(str(digest))

    # --- Uploads ------------------------------------------------------------------------------------------------------

    @rule(name=repositories, target_content=contents, algorithm=algorithms, fuse=fuses, power=power)
    def start(self, name, target_content, algorithm, fuse, power):
        before = set(Upload.objects.values_list("pk", flat=True))
        self.attempt(fuse, power, services.start, Repository.objects.named(name), OPENER, algorithm)
        for upload in Upload.objects.exclude(pk__in=before):
            self.open[str(upload.pk)] = Known(name, target_content)

    @precondition(lambda self: self.open)
    @rule(number=which, size=st.integers(0, 250), off=offs, broken=seldom, record=record, fuse=fuses, power=power)
    def append(self, number, size, off, broken, record, fuse, power):
        receiving.RECORD = record
        upload_id, known = self.pick(number)
        at = len(known.acknowledged)
        sent = known.target[at : at + size] or b"junk"[:size]
        body, start = self.body(sent, broken), None if off is None else at + off
        answer = self.attempt(fuse, power, services.append, known.repository, upload_id, OPENER, body, start)
        if isinstance(answer, BlobUploadUnknown):
            self.never_had_a_file(upload_id)
        elif isinstance(answer, Crash):
            self.adopt(upload_id, b"" if off else sent, may_be_gone=False)
        elif off:
            assert isinstance(answer, ChunkOutOfOrder), answer
            assert answer.detail == {"offset": at}
        else:
            assert isinstance(answer, SizeInvalid if broken else Upload), answer
            known.acknowledged += sent

    @precondition(lambda self: self.open)
    @rule(number=which, ends=st.booleans(), record=record)
    def append_and_be_superseded(self, number, ends, record):
        """A newer request comes in the middle, and gives up waiting: 409."""
        receiving.RECORD = record
        upload_id, known = self.pick(number)
        at, came = len(known.acknowledged), []
        sent = known.target[at:] or b"junk"

        def newer() -> None:
            try:
                if ends:
                    services.cancel(known.repository, upload_id, OPENER)
                else:
                    services.append(known.repository, upload_id, OPENER, Sent(b"newer"), None)
            except UploadBusy:
                came.append(True)

        body = self.body(sent, meanwhile=newer)
        answer = self.attempt(None, None, services.append, known.repository, upload_id, OPENER, body, None)
        if isinstance(answer, BlobUploadUnknown):
            self.never_had_a_file(upload_id)
        else:
            assert isinstance(answer, UploadSuperseded)
            assert came
            self.adopt(upload_id, sent, may_be_gone=False)

    @precondition(lambda self: self.open)
    @rule(number=which, algorithm=algorithms, lies=seldom, broken=seldom, fuse=fuses, power=power)
    def finish(self, number, algorithm, lies, broken, fuse, power):
        upload_id, known = self.pick(number)
        sent = known.target[len(known.acknowledged) :]
        whole = known.acknowledged + sent
        digest = Digest.of(b"other bytes" if lies else known.target, algorithm)
        is_true = Digest.of(whole, algorithm) == digest
        answer = self.attempt(
            fuse, power, services.finish, known.repository, upload_id, OPENER, digest, self.body(sent, broken), None
        )
        if isinstance(answer, Digest):
            assert not broken
            self.blob(upload_id, known.repository, digest, whole)
        elif isinstance(answer, DigestInvalid):
            assert not is_true
            del self.open[upload_id]
        elif isinstance(answer, SizeInvalid):
            assert broken
            known.acknowledged = whole
        elif isinstance(answer, BlobUploadUnknown):
            self.never_had_a_file(upload_id)
        else:
            assert isinstance(answer, Crash), answer
            self.adopt(upload_id, sent, may_be_gone=not is_true, digest=digest)

    @precondition(lambda self: self.finished)
    @rule(number=which)
    def finish_again(self, number):
        upload_id, (name, digest) = list(self.finished.items())[number % len(self.finished)]
        answer = self.attempt(
            None, None, services.finish, name, upload_id, OPENER, Digest.parse(digest), Sent(b"again"), None
        )
        if digest in self.links[name] and digest not in self.damaged:
            assert str(answer) == digest
        elif digest not in self.links[name]:
            assert isinstance(answer, BlobUploadUnknown)

    @precondition(lambda self: self.open)
    @rule(number=which, fuse=fuses, power=power)
    def cancel(self, number, fuse, power):
        upload_id, known = self.pick(number)
        answer = self.attempt(fuse, power, services.cancel, known.repository, upload_id, OPENER)
        if answer is None:
            del self.open[upload_id]
        elif isinstance(answer, BlobUploadUnknown):
            self.never_had_a_file(upload_id)
        else:
            assert isinstance(answer, Crash), answer
            self.adopt(upload_id, b"", may_be_gone=True)

    @rule(name=repositories, content=contents, algorithm=algorithms, broken=seldom, fuse=fuses, power=power)
    def push(self, name, content, algorithm, broken, fuse, power):
        """In one request. If the process dies the client never learns the upload's name."""
        before = set(Upload.objects.values_list("pk", flat=True))
        digest = Digest.of(content, algorithm)
        answer = self.attempt(
            fuse, power, services.push, Repository.objects.named(name), OPENER, digest, self.body(content, broken), None
        )
        new = Upload.objects.exclude(pk__in=before)
        if isinstance(answer, Digest):
            assert not broken
            self.blob(str(new.get().pk), name, digest, content)
        elif isinstance(answer, SizeInvalid):
            assert broken
            assert not new
        else:
            assert isinstance(answer, Crash), answer
            for upload in new:
                self.open[str(upload.pk)] = Known(name, content)
                self.adopt(str(upload.pk), content, may_be_gone=False, digest=digest)

    def never_had_a_file(self, upload_id: str) -> None:
        """The process or the machine died before the name of the file was durable: nothing had been acknowledged."""
        assert self.open[upload_id].acknowledged == b""
        assert Upload.objects.get(pk=upload_id).key not in self.disk.stored()

    # --- Blobs and manifests ------------------------------------------------------------------------------------------

    @precondition(something_is_linked)
    @rule(number=which, source=repositories, target_name=repositories, fuse=fuses, power=power)
    def mount(self, number, source, target_name, fuse, power):
        _, digest = self.any_link(number)
        repository = Repository.objects.named(target_name)
        answer = self.attempt(fuse, power, layers.mount, Digest.parse(digest), Q(name=source), repository)
        there = digest in self.links[source]
        if answer is True or (isinstance(answer, Crash) and linked(target_name, digest)):
            assert there or digest in self.links[target_name]
            self.links[target_name].add(digest)
        elif answer is False:
            assert not there or digest in self.damaged

    @precondition(something_is_linked)
    @rule(number=which, name=repositories, fuse=fuses, power=power)
    def unlink(self, number, name, fuse, power):
        _, digest = self.any_link(number)
        answer = self.attempt(fuse, power, layers.unlink, name, Digest.parse(digest))
        if isinstance(answer, BlobUnknown):
            assert digest not in self.links[name]
        elif not isinstance(answer, Crash) or not linked(name, digest):
            self.links[name].discard(digest)
            self.removed.add((name, digest))

    @precondition(something_is_linked)
    @rule(number=which, name=repositories)
    def ask_before_pushing(self, number, name):
        _, digest = self.any_link(number)
        answer = self.attempt(None, None, layers.find_for_push, name, Digest.parse(digest))
        assert isinstance(answer, Layer) == (digest in self.links[name] - self.damaged)

    @precondition(something_is_linked)
    @rule(number=which, wanted=st.lists(contents, max_size=1), tag=st.sampled_from("ab"), fuse=fuses, power=power)
    def push_manifest(self, number, wanted, tag, fuse, power):
        name, digest_of_config = self.any_link(number)
        content = bytes_of(image(DIGESTS[digest_of_config], *wanted))
        digest, document = Digest.of(content), Document.parse(content, IMAGE)
        repository = Repository.objects.named(name)
        answer = self.attempt(fuse, power, manifests.push, repository, digest, content, document, [tag], False)
        named = {str(descriptor.digest) for descriptor in document.blobs}
        if answer is None:
            assert named <= self.links[name]
            self.tags[name][tag] = str(digest)
        elif isinstance(answer, ManifestBlobUnknown):
            assert not named <= self.links[name] - self.damaged
        else:
            assert isinstance(answer, Crash), answer
            assert self.tagged(name, tag) == self.tags[name].get(tag), "it was committed before its transaction ended"

    @precondition(lambda self: any(self.tags.values()))
    @rule(number=which, fuse=fuses, power=power)
    def delete_manifest(self, number, fuse, power):
        every = sorted((name, digest) for name, tags in self.tags.items() for digest in tags.values())
        name, digest = every[number % len(every)]
        answer = self.attempt(fuse, power, manifests.delete, name, Digest.parse(digest))
        if answer is None:
            self.tags[name] = {each: other for each, other in self.tags[name].items() if other != digest}
            self.removed.add((name, digest))
        else:
            assert isinstance(answer, Crash), answer

    @precondition(lambda self: any(self.tags.values()))
    @rule(number=which, fuse=fuses, power=power)
    def untag(self, number, fuse, power):
        every = sorted((name, tag) for name, tags in self.tags.items() for tag in tags)
        name, tag = every[number % len(every)]
        answer = self.attempt(fuse, power, manifests.untag, name, tag)
        assert answer is None or isinstance(answer, Crash), answer
        if self.tagged(name, tag) is None:
            del self.tags[name][tag]

    @precondition(lambda self: any(self.tags.values()))
    @rule(number=which, tag=st.sampled_from("ab"), fuse=fuses, power=power)
    def push_index(self, number, tag, fuse, power):
        every = [name for name, tags in self.tags.items() if tags]
        name = every[number % len(every)]
        rows = [Manifest.objects.get(repository__name=name, digest=each) for each in set(self.tags[name].values())]
        rows.sort(key=lambda row: row.digest)
        content = bytes_of(index(*[descriptor(bytes(row.content), row.media_type) for row in rows]))
        document, repository = Document.parse(content, INDEX), Repository.objects.named(name)
        answer = self.attempt(
            fuse, power, manifests.push, repository, Digest.of(content), content, document, [tag], False
        )
        if answer is None:
            self.tags[name][tag] = str(Digest.of(content))
        else:
            assert isinstance(answer, Crash), answer

    # --- Repositories -------------------------------------------------------------------------------------------------

    @rule(name=repositories, really=seldom, fuse=fuses, power=power)
    def delete_repository(self, name, really, fuse, power):
        """And take its name again."""
        if not really:
            return
        answer = self.attempt(fuse, power, deletion.delete, name)
        assert answer is None or isinstance(answer, Crash), answer
        if Repository.objects.filter(name=name).exists():
            return
        self.links[name], self.tags[name] = set(), {}
        self.removed = {each for each in self.removed if each[0] != name}
        self.open = {upload_id: known for upload_id, known in self.open.items() if known.repository != name}
        self.finished = {upload_id: known for upload_id, known in self.finished.items() if known[0] != name}
        Repository.objects.for_push(name)

    def tagged(self, name: str, tag: str) -> str | None:
        try:
            return manifests.find(name, tag).digest
        except ManifestUnknown:
            return None

    # --- What happens by itself ---------------------------------------------------------------------------------------

    @precondition(something_is_linked)
    @rule(number=which)
    def damage(self, number):
        """Bytes rot away; somebody notices."""
        _, digest = self.any_link(number)
        blob = Blob.objects.get(digest=digest)
        if blob.size and digest not in self.damaged:
            os.truncate(self.disk.directory / blob.key, blob.size - 1)
            with pytest.raises(BlobUnknown):
                layers.read(blob, 0, blob.size)
            self.damaged.add(digest)

    @rule(hours=st.sampled_from((0, 10, 30)), fuse=fuses, power=power)
    def background_work(self, hours, fuse, power):
        pass_by(timedelta(hours=hours))
        may_go = unnamed_and_due()
        due = set(map(str, Upload.objects.filter(due_at__lte=now()).values_list("pk", flat=True)))
        answer = self.attempt(fuse, power, run_due)
        assert isinstance(answer, (int, Crash)), answer
        for name in REPOSITORIES:
            gone = {digest for digest in self.links[name] if not linked(name, digest)}
            assert gone <= {digest for at, digest in may_go if at == name}, "a layer is gone that was needed"
            self.links[name] -= gone
        assert isinstance(answer, Crash) or not [each for each in may_go if linked(*each)]
        left = set(map(str, Upload.objects.values_list("pk", flat=True)))
        assert (self.open.keys() | self.finished.keys()) - left <= due, "an upload is gone that was not due"
        self.open = {upload_id: known for upload_id, known in self.open.items() if upload_id in left}
        self.finished = {upload_id: which for upload_id, which in self.finished.items() if upload_id in left}

    # --- What is always so --------------------------------------------------------------------------------------------

    @invariant()
    def what_was_acknowledged_is_served_and_nothing_else(self):
        links = {(name, digest) for name, digests in self.links.items() for digest in digests}
        layers = Layer.objects.filter(repository__deleted_at=None)
        assert set(layers.values_list("repository__name", "blob__digest")) == links
        for name, digest in links:
            assert served(name, digest) == (None if digest in self.damaged else DIGESTS[digest])

    @invariant()
    def uploads_are_as_far_as_was_said_and_durably_so(self):
        for upload_id, known in self.open.items():
            upload = services.find(known.repository, upload_id, OPENER)
            assert upload.offset == len(known.acknowledged)
            if known.acknowledged:
                assert (self.disk.directory / upload.key).read_bytes()[: upload.offset] == known.acknowledged
                assert self.disk.holds(upload.key, upload.offset)

    @invariant()
    def blobs_are_durable_and_every_object_has_a_row(self):
        for blob in Blob.objects.filter(damaged_at=None):
            assert self.disk.holds(blob.key, blob.size)
            assert (self.disk.directory / blob.key).stat().st_size == blob.size
        checks = [*integrity.INDEX, integrity.objects_that_nobody_knows]
        assert [problem for check in checks for problem in check()] == []

    @invariant()
    def tags_are_where_they_were_put(self):
        for name in REPOSITORIES:
            tags = Tag.objects.filter(repository__name=name)
            assert dict(tags.values_list("name", "manifest__digest")) == self.tags[name]

    @invariant()
    def manifests_miss_only_what_was_deleted_by_name(self):
        for name in REPOSITORIES:
            waiting = set(self.tags[name].values())
            while waiting:
                manifest = Manifest.objects.filter(repository__name=name, digest=waiting.pop()).first()
                for digest in integrity.named_by(manifest) if manifest else ():
                    if Manifest.objects.filter(repository__name=name, digest=digest).exists():
                        waiting.add(digest)
                    else:
                        assert digest in self.links[name] or (name, digest) in self.removed

    def teardown(self):
        """Everything that is open expires, and every grace ends; then nothing is stored but what manifests name."""
        try:
            collect_everything()
            assert not Upload.objects.exists()
            assert [problem for check in integrity.COLLECTED for problem in check()] == []
            assert self.disk.stored() == set(Blob.objects.values_list("key", flat=True))
        finally:
            transaction.set_rollback(True)
            self.database.__exit__(None, None, None)
            self.disk.wipe()


def unnamed_and_due() -> set[tuple[str, str]]:
    named = Naming.objects.filter(repository=OuterRef("repository"), digest=OuterRef("blob__digest"))
    due = Layer.objects.filter(~Exists(named), Layer.waiting(), repository__deleted_at=None)
    return set(due.values_list("repository__name", "blob__digest"))


def linked(name: str, digest: str) -> bool:
    return Layer.objects.filter(repository__name=name, blob__digest=digest).exists()


def served(name: str, digest: str) -> bytes | None:
    try:
        blob = layers.index.find(name, Digest.parse(digest)).blob
    except BlobUnknown:
        return None
    with closing(layers.read(blob, 0, blob.size)) as reader:
        return reader.read()


@pytest.fixture
def machine(db, blob_directory, monkeypatch) -> type[Uploads]:
    fence = filesystem.fence
    monkeypatch.setattr(filesystem, "fence", lambda descriptor, key, _: fence(descriptor, key, 0))
    monkeypatch.setattr(receiving, "ended_when_superseded", lambda *_: nullcontext())
    monkeypatch.setattr(receiving, "RECORD", 0)  # and back at the end
    monkeypatch.setattr(finalizing, "finalize", look_quickly)
    fuse, disk = Fuse(), Disk(blob_directory, monkeypatch)
    for owner, name in LAST_STEPS:
        fuse.lies_at(monkeypatch, owner, name)
    names = Random()
    monkeypatch.setattr(services.uuid, "uuid4", lambda: uuid.UUID(int=names.getrandbits(128)))
    return type("Machine", (Uploads,), {"fuse": fuse, "disk": disk, "names": names})


def run(machine: type[Uploads], **how: Any) -> None:
    checks = list(HealthCheck)
    run_state_machine_as_test(machine, settings=settings(deadline=None, suppress_health_check=checks, **how))


def test_whatever_happens_in_whichever_order(machine):
    run(machine, max_examples=20, stateful_step_count=30, derandomize=True)


@pytest.mark.faults
def test_whatever_happens_in_whichever_order_many_times(machine):
    run(machine, max_examples=300, stateful_step_count=50)
