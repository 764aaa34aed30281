"""GET …/tags/list and GET /v2/_catalog: byte order, pages, and names only of what holds something."""

from urllib.parse import parse_qs, quote, urlsplit

import pytest

from manifests.models import Manifest, Tag
from repositories.models import Repository
from tests.registry import Registry, refusal

BYTE_ORDER = ["0", "A", "B", "Z", "_", "a", "a-b", "a.b", "aB", "a_b", "ab", "z"]


@pytest.fixture
def tagged(registry):
    """A repository with many tags, made where the order of rows is another than that of names."""
    registry.push_image("team/app", "z")
    manifest = Manifest.objects.get()
    others = [
        Tag(repository=manifest.repository, manifest=manifest, name=name)
        for name in reversed(BYTE_ORDER)
        if name != "z"
    ]
    Tag.objects.bulk_create(others)
    return "/v2/team/app/tags/list"


@pytest.fixture
def repositories(registry):
    for name in ("z", "team/b", "team/a", "team-x/a", "a", "team.y/a", "team"):
        registry.push_blob(name, b"something")
    return "/v2/_catalog"


ALL_NAMES = ["a", "team", "team-x/a", "team.y/a", "team/a", "team/b", "z"]


def walk(client, path, key, n):
    """All pages by following Link, and how many there were."""
    found, pages, target = [], 0, f"{path}?n={n}"
    while target:
        answer = client.ask("GET", target)
        assert answer.status_code == 200
        assert len(answer.json()[key]) <= n
        found += answer.json()[key]
        pages += 1
        target = next_page(answer)
    return found, pages


def next_page(answer):
    if "Link" not in answer.headers:
        return ""
    target, _, relation = answer["Link"].partition(">; ")
    assert target.startswith("</v2/")
    assert relation == 'rel="next"'
    return target.removeprefix("<")


# --- Tags -------------------------------------------------------------------------------------------------------------


def test_tags_are_listed_in_byte_order(puller, tagged):
    answer = puller.ask("GET", tagged)
    assert answer.json() == {"name": "team/app", "tags": BYTE_ORDER}
    assert answer["Content-Type"] == "application/json"
    assert "Link" not in answer.headers


def test_head_of_a_list_has_its_length_and_no_body(puller, tagged):
    head = puller.ask("HEAD", tagged)
    assert (head.status_code, head.content) == (200, b"")
    assert head["Content-Length"] == str(len(puller.ask("GET", tagged).content))


@pytest.mark.parametrize("n", range(1, len(BYTE_ORDER) + 2))
def test_pages_of_tags_follow_one_another_without_gap_or_repetition(n, puller, tagged):
    found, pages = walk(puller, tagged, "tags", n)
    assert found == BYTE_ORDER
    assert pages == -(-len(BYTE_ORDER) // n)  # so the last full page has no Link


def test_a_link_keeps_the_page_size_and_names_the_last_tag(puller, tagged):
    target = urlsplit(next_page(puller.ask("GET", f"{tagged}?n=3")))
    assert target.path == tagged
    assert parse_qs(target.query) == {"n": ["3"], "last": ["B"]}


@pytest.mark.parametrize("last", ["", "B", "C", "a-", "aA", "zz", "~" * 1024, "\U0001f40b", "not a tag!", "%", "'"])
def test_a_list_goes_on_after_a_name_that_need_not_exist(last, puller, tagged):
    rest = [name for name in BYTE_ORDER if name > last]
    assert puller.ask("GET", f"{tagged}?last={quote(last)}").json()["tags"] == rest


def test_a_tag_that_was_deleted_still_marks_a_place(owner, puller, tagged):
    owner.ask("DELETE", "/v2/team/app/manifests/B")
    assert puller.ask("GET", f"{tagged}?n=2&last=B").json()["tags"] == ["Z", "_"]


# --- The catalog ------------------------------------------------------------------------------------------------------


def test_repositories_are_listed_in_byte_order(owner, repositories):
    assert owner.ask("GET", repositories).json() == {"repositories": ALL_NAMES}


@pytest.mark.parametrize("n", [1, 2, 3, 7, 8])
def test_pages_of_the_catalog_follow_one_another(n, owner, repositories):
    found, pages = walk(owner, repositories, "repositories", n)
    assert found == ALL_NAMES
    assert pages == -(-len(ALL_NAMES) // n)


def test_the_catalog_holds_only_what_holds_something(registry, owner, repositories):
    registry.open_upload("empty/upload")
    registry.put_manifest("empty/refused", "v1", b"{}")
    Repository.objects.create(name="empty/made")
    assert owner.ask("GET", repositories).json() == {"repositories": ALL_NAMES}


def test_a_repository_that_was_emptied_leaves_the_catalog(registry, owner):
    digest = registry.push_blob("team/app", b"x")
    owner.ask("DELETE", f"/v2/team/app/blobs/{digest}")
    assert owner.ask("GET", "/v2/_catalog").json() == {"repositories": []}


def test_the_catalog_of_somebody_who_may_pull_everywhere_is_whole(puller, repositories):
    assert puller.ask("GET", repositories).json() == {"repositories": ALL_NAMES}


@pytest.mark.parametrize("by", ["bearer", "basic"])
def test_the_catalog_of_anybody_else_is_what_is_public(by, carol, anonymous, repositories):
    Repository.objects.filter(name__in=["team/a", "z"]).update(visibility="public")
    client = Registry(carol.username, by)
    assert client.ask("GET", repositories).json() == {"repositories": ["team/a", "z"]}
    assert anonymous.ask("GET", repositories).json() == {"repositories": ["team/a", "z"]}
    assert walk(client, repositories, "repositories", 1) == (["team/a", "z"], 2)


def test_a_token_without_the_catalogs_scope_lists_what_is_public(registry, repositories):
    Repository.objects.filter(name="team/a").update(visibility="public")
    registry.open_upload("team/b")  # its token is for pushing there
    assert registry.ask("GET", repositories).json() == {"repositories": ["team/a"]}


# --- Both: what is asked for ------------------------------------------------------------------------------------------


@pytest.fixture(params=["tags", "repositories"])
def listing(request, owner):
    path = request.getfixturevalue({"tags": "tagged", "repositories": "repositories"}[request.param])
    return path, request.param


def test_a_page_of_nothing_is_empty_and_has_no_next(owner, listing):
    path, key = listing
    for query in ("?n=0", "?n=0&last=a", "?n=00"):
        answer = owner.ask("GET", path + query)
        assert (answer.status_code, answer.json()[key]) == (200, [])
        assert "Link" not in answer.headers


@pytest.mark.parametrize("n", ["-1", "x", "", "1.5", "1e3", "0x10", "+1", "%D9%A1", "%C2%B2", "9" * 5000, "%00"])
def test_a_page_size_that_is_no_number_is_refused(n, owner, listing):
    assert refusal(owner.ask("GET", f"{listing[0]}?n={n}"))[0] == 400


def test_a_huge_page_size_is_as_good_as_all(owner, listing):
    path, key = listing
    everything = owner.ask("GET", path).json()[key]
    assert owner.ask("GET", f"{path}?n=9999999999999").json()[key] == everything


@pytest.mark.parametrize("last", ["%00", "a%00b", "a" * 5000])
def test_a_last_name_that_no_database_takes_is_refused(last, owner, listing):
    assert refusal(owner.ask("GET", f"{listing[0]}?last={last}"))[0] == 400


def test_of_repeated_parameters_one_counts(owner, listing):
    assert owner.ask("GET", f"{listing[0]}?n=3&n=1&last=x&last=a").status_code == 200


def test_a_page_costs_the_same_whatever_comes_after_it(owner, listing, at_most):
    path, _ = listing
    owner.ask("GET", path)
    with at_most(2):
        owner.ask("GET", f"{path}?n=1")


# --- Repositories without tags, and none ------------------------------------------------------------------------------


def test_a_repository_that_holds_something_but_no_tag_lists_none(registry, puller):
    registry.push_blob("team/app", b"x")
    assert puller.ask("GET", "/v2/team/app/tags/list").json() == {"name": "team/app", "tags": []}
    registry.push_image("team/untagged")
    assert puller.ask("GET", "/v2/team/untagged/tags/list").json()["tags"] == []


def test_an_unknown_repository_has_no_list_of_tags(puller):
    assert refusal(puller.ask("GET", "/v2/team/none/tags/list")) == (404, "NAME_UNKNOWN")
    Repository.objects.create(name="team/none")
    assert refusal(puller.ask("GET", "/v2/team/none/tags/list")) == (404, "NAME_UNKNOWN")
