import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oci.scopes import Scope

NOTHING = Scope("", "", frozenset())
WORDS = st.from_regex(r"[a-z0-9.-]+", fullmatch=True)


@pytest.mark.parametrize(
    ("text", "scope"),
    [
        ("repository:library/nginx:pull", Scope("repository", "library/nginx", frozenset({"pull"}))),
        ("repository:a:pull,push", Scope("repository", "a", frozenset({"pull", "push"}))),
        ("repository:a:push,pull,pull", Scope("repository", "a", frozenset({"pull", "push"}))),
        ("repository:host:5000/a/b:pull", Scope("repository", "host:5000/a/b", frozenset({"pull"}))),
        ("registry:catalog:*", Scope("registry", "catalog", frozenset("*"))),
        ("repository(plugin):a:pull", Scope("repository(plugin)", "a", frozenset({"pull"}))),
        ("unknown:thing:fly", Scope("unknown", "thing", frozenset({"fly"}))),
        ("repository:a:", Scope("repository", "a", frozenset())),
        ("repository:a:,,pull,", Scope("repository", "a", frozenset({"pull"}))),
    ],
)
def test_a_scope_is_read(text, scope):
    assert Scope.parse(text) == scope


@pytest.mark.parametrize(
    "text",
    ["", ":", "::", ":::", "a", "a:", "a:b", ":a:pull", "a::pull", "a:b:pull\n", "a:\0:pull", "é:b:pull", "a b:c:d"],
)
def test_what_is_no_scope_asks_for_nothing(text):
    assert Scope.parse(text) == NOTHING


def test_an_endless_scope_is_not_read():
    started = time.process_time()
    assert Scope.parse("repository:a:" + "pull," * 2_000_000) == NOTHING
    assert Scope.parse("repository:" + ":" * 5_000_000) == NOTHING
    assert time.process_time() - started < 0.1


@given(st.text())
def test_no_text_at_all_makes_it_raise(text):
    scope = Scope.parse(text)
    assert Scope.parse(str(scope)) == scope
    assert len(scope.actions) <= 1024


@given(WORDS, st.lists(WORDS, min_size=1).map(":".join), st.frozensets(WORDS, min_size=1, max_size=5))
def test_a_scope_survives_being_written_and_read(type_, name, actions):
    scope = Scope(type_, name, actions)
    if len(str(scope)) <= 1024:
        assert Scope.parse(str(scope)) == scope


def test_a_scope_is_written_the_same_whatever_the_order_it_was_asked_in():
    assert str(Scope.parse("repository:a:push,pull")) == "repository:a:pull,push"


@pytest.mark.parametrize(
    ("held", "asked", "covered"),
    [
        ("repository:a:pull,push", "repository:a:pull", True),
        ("repository:a:pull", "repository:a:pull", True),
        ("repository:a:pull", "repository:a:pull,push", False),
        ("repository:a:pull", "repository:b:pull", False),
        ("repository:a:pull", "repository:a/b:pull", False),
        ("registry:a:pull", "repository:a:pull", False),
        ("repository:a:*", "repository:a:pull", False),
        ("repository:*:pull", "repository:a:pull", False),
        ("repository:a:", "repository:a:pull", False),
        ("nonsense", "repository:a:pull", False),
    ],
)
def test_a_scope_covers_only_the_same_thing_and_no_more_actions(held, asked, covered):
    assert Scope.parse(held).covers(Scope.parse(asked)) is covered
