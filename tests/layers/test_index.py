"""The layer index: where a layer is, for those who may know."""

import json
import re
import subprocess
import sys
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import Q
from django.utils.timezone import now

from access import policy
from access.credentials import Credential
from layers import index
from layers.models import Blob, Layer
from oci.addresses import parse_address
from oci.digests import Digest
from oci.scopes import Scope
from oci.tarsum import TarSum
from repositories.models import Repository
from tests.server import ROOT

DIGEST, DIFF_ID = Digest.of(b"compressed"), Digest.of(b"uncompressed")
OTHERWISE = Digest.of(b"compressed otherwise")
TARSUM = TarSum(1, 64 * "5")
EVERYWHERE = Q()

pytestmark = [pytest.mark.django_db, pytest.mark.damages_storage]  # these blobs never had bytes


def blob(digest: Digest, diff_id: str = "", tarsum: str = "") -> Blob:
    return Blob.objects.create(
        digest=str(digest), size=7, key=f"ab/{digest.hex}", diff_id=diff_id, tarsum=tarsum, due_at=now()
    )


def link(blob: Blob, name: str, visibility: str = "private") -> Layer:
    repository = Repository.objects.get_or_create(name=name, defaults={"visibility": visibility})[0]
    return Layer.objects.create(repository=repository, blob=blob, due_at=now())


@pytest.fixture
def known() -> Blob:
    """A layer in three repositories, and beside it another compression of the same tar."""
    known = blob(DIGEST, str(DIFF_ID), str(TARSUM))
    for name, visibility in [("team/b", "private"), ("team/a", "public"), ("team/c", "private")]:
        link(known, name, visibility)
    return known


@pytest.fixture
def otherwise(known: Blob) -> Blob:
    otherwise = blob(OTHERWISE, str(DIFF_ID), str(TARSUM))
    link(otherwise, "team/b")
    return otherwise


def names(address: Digest | TarSum, readable: Q = EVERYWHERE) -> list[str]:
    return [layer.repository.name for layer in index.where(address, readable)]


def test_a_layer_is_found_in_every_repository_that_has_it_in_order_of_their_names(known, otherwise):
    assert names(DIGEST) == ["team/a", "team/b", "team/c"]
    assert names(OTHERWISE) == ["team/b"]


@pytest.mark.parametrize("address", [DIFF_ID, TARSUM])
def test_by_diffid_or_tarsum_however_it_is_compressed(address, known, otherwise):
    found = [(layer.repository.name, layer.blob.digest) for layer in index.where(address, EVERYWHERE)]
    assert found == [
        ("team/a", str(DIGEST)),
        ("team/b", str(DIGEST)),
        ("team/b", str(OTHERWISE)),
        ("team/c", str(DIGEST)),
    ]


def test_names_are_in_order_of_their_bytes():
    known = blob(DIGEST)
    for name in ("b", "a_b", "a-b", "a", "a/b", "a.b", "a0"):
        link(known, name)
    assert names(DIGEST) == sorted(["b", "a_b", "a-b", "a", "a/b", "a.b", "a0"])


@pytest.mark.parametrize("address", [Digest.of(b"else"), Digest.of(b"compressed", "sha512"), TarSum(1, 64 * "0")])
def test_what_nobody_has_is_nowhere(address, known):
    link(blob(Digest.of(b"not looked into")), "team/d")
    assert names(address) == []


@pytest.mark.parametrize("address", [DIGEST, DIFF_ID, TARSUM])
def test_what_is_damaged_is_nowhere(address, known):
    Blob.objects.update(damaged_at=now())
    assert names(address) == []


@pytest.mark.parametrize("address", [DIGEST, DIFF_ID, TARSUM])
def test_who_asks_is_told_of_the_repositories_that_they_may_read(address, known, bob, carol):
    pull = Scope("repository", "team/c", frozenset({"pull"}))
    assert names(address, policy.readable(None)) == ["team/a"]
    assert names(address, policy.readable(Credential(carol.subject, user=carol))) == ["team/a"]
    assert names(address, policy.readable(Credential(bob.subject, user=bob))) == ["team/a", "team/b", "team/c"]
    assert names(address, policy.readable(Credential("user:1", scopes=(pull,)))) == ["team/a", "team/c"]


def test_what_a_repository_has_is_found_by_digest_or_tarsum_but_not_by_diffid(known, otherwise):
    assert index.find("team/a", DIGEST).blob == index.find("team/a", TARSUM).blob == known
    assert not index.linked("team/a", DIFF_ID).exists()
    assert not index.linked("team/a", OTHERWISE).exists()


def test_of_two_with_a_tarsum_the_one_that_came_to_this_repository_first_is_meant(known, otherwise):
    assert index.find("team/b", TARSUM).blob == known
    Layer.objects.filter(repository__name="team/b", blob=known).delete()
    link(known, "team/b")
    assert index.find("team/b", TARSUM).blob == otherwise


# --- What it costs ----------------------------------------------------------------------------------------------------


@pytest.fixture
def many() -> str:
    """Enough rows for a scan to be dearer than an index; returns the name of a repository that has 2,000 layers."""
    repositories = [Repository(name=f"many/{number}") for number in range(200)]
    Repository.objects.bulk_create(repositories)
    blobs = [
        Blob(
            digest=str(Digest.of(b"b%d" % number)),
            size=1,
            key=f"b{number}",
            due_at=now(),
            diff_id=str(Digest.of(b"d%d" % number)),
            tarsum=f"tarsum.v1+{Digest.of(b't%d' % number)}",
        )
        for number in range(4000)
    ]
    Blob.objects.bulk_create(blobs)
    links = {(repositories[number % 200].pk, blobs[number * 7 % 4000].pk) for number in range(6000)}
    links |= {(repositories[0].pk, blobs[number].pk) for number in range(2000)}
    Layer.objects.bulk_create([Layer(repository_id=one, blob_id=other, due_at=now()) for one, other in links])
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    return repositories[0].name


ADDRESSES = {"digest": Digest.of(b"b1"), "diffID": Digest.of(b"d1"), "TarSum": f"tarsum.v1+{Digest.of(b't1')}"}
SEEN = {"all": Q(), "public": policy.PUBLIC, "some": policy.PUBLIC | Q(name__in=["many/1", "many/2"])}


def scanned(query) -> set[str]:
    """The tables that the database means to read row by row."""
    if connection.vendor == "sqlite":
        return set(re.findall(r"\bSCAN (\w+)", query.explain()))
    tables = {"layers_layer", "layers_blob", "repositories_repository"}
    (plan,) = json.loads(query.explain(format="json"))
    steps, found = [plan["Plan"]], set()
    while steps:
        step = steps.pop()
        found |= {step["Relation Name"]} if step["Node Type"] == "Seq Scan" else set()
        steps += step.get("Plans", [])
    return found & tables


@pytest.mark.parametrize("seen", SEEN)
@pytest.mark.parametrize("address", ADDRESSES)
def test_where_goes_by_an_index_at_every_step(address, seen, many, django_assert_num_queries):
    query = index.where(parse_address(str(ADDRESSES[address])), SEEN[seen])
    assert scanned(query) - {"repositories_repository" if connection.vendor == "postgresql" else ""} == set()
    with django_assert_num_queries(1):
        found = [(layer.repository.name, layer.blob.digest) for layer in query]
    assert seen != "all" or found


@pytest.mark.parametrize("address", ["digest", "TarSum"])
def test_a_layer_of_a_large_repository_is_found_by_an_index_at_every_step(address, many):
    query = index.linked(many, parse_address(str(ADDRESSES[address])))
    assert query.first()
    assert scanned(query[:1]) == set()
    if connection.vendor == "sqlite":
        assert "repository_id=? AND blob_id=?" in query[:1].explain()


def test_that_a_scan_would_be_noticed(many):
    assert scanned(Layer.objects.filter(blob__size=1)) != set()


# --- manage.py layers find --------------------------------------------------------------------------------------------


def said(address: str) -> str:
    out = StringIO()
    call_command("layers", "find", address, stdout=out)
    return out.getvalue()


def test_the_command_prints_where_a_layer_is(known, otherwise):
    for address in (DIFF_ID, TARSUM):
        rows = [line.split() for line in said(str(address)).splitlines()]
        assert [row[:4] for row in rows] == [
            ["team/a", str(DIGEST), "7", str(DIFF_ID)],
            ["team/b", str(DIGEST), "7", str(DIFF_ID)],
            ["team/b", str(OTHERWISE), "7", str(DIFF_ID)],
            ["team/c", str(DIGEST), "7", str(DIFF_ID)],
        ]
        since = Layer.objects.order_by("repository__name").first().linked_at
        assert " ".join(rows[0][4:]) == since.isoformat(" ", "seconds")


def test_the_command_says_where_nothing_is_known():
    link(blob(DIGEST), "team/a")
    assert said(str(DIGEST)).split()[3] == "-"


@pytest.mark.parametrize("address", [str(Digest.of(b"else")), "tarsum.v1+sha256:" + 64 * "0"])
def test_the_command_says_that_nobody_has_it(address, known):
    with pytest.raises(CommandError, match="No repository has a layer"):
        said(address)


@pytest.mark.parametrize(
    "address", ["latest", "", "sha256:abc", "md5:" + 32 * "0", "tarsum.v9+sha256:" + 64 * "0", "\0"]
)
def test_the_command_says_what_is_no_address(address):
    with pytest.raises(CommandError, match="neither a digest nor a TarSum"):
        said(address)


def test_without_a_registry_it_says_where_it_looked(tmp_path):
    ran = subprocess.run(
        [sys.executable, "manage.py", "layers", "find", str(DIGEST)],
        cwd=ROOT, env={"REGISTRY_DATA": str(tmp_path), "PATH": ""}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 1
    assert f"No registry in {tmp_path}" in ran.stderr
    assert "Traceback" not in ran.stderr
