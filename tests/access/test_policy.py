"""Who may do what: every row of the table in `access/policy.py`."""

import pytest
from django.contrib.auth.models import AnonymousUser, Group, Permission

from access import policy
from access.credentials import Credential
from access.models import User
from oci.scopes import Scope
from repositories.models import Repository
from tests.access.conftest import permitted

ALL = {"pull", "push", "delete"}


def actions(user, name="team/private", wanted="*") -> set[str]:
    """What is granted of the actions wanted, for a user read afresh: rights are kept on the object."""
    user = user if isinstance(user, AnonymousUser) else User.objects.get(pk=user.pk)
    return set(policy.granted(user, Scope.parse(f"repository:{name}:{wanted}")).actions)


def test_a_superuser_may_do_all_also_where_nothing_is(alice):
    assert actions(alice, "not/there") == ALL
    assert actions(alice, "not/there", "delete") == {"delete"}


@pytest.mark.parametrize(
    ("codenames", "allowed"),
    [
        ([], set()),
        (["pull_content"], {"pull"}),
        (["push_content"], {"pull", "push"}),
        (["delete_content"], {"delete"}),
        (["pull_content", "delete_content"], {"pull", "delete"}),
        (["add_repository", "change_repository", "view_repository", "delete_repository"], set()),
    ],
)
def test_permissions_hold_everywhere_whether_given_to_a_user_or_to_a_group(db, private, codenames, allowed):
    user = permitted("dora", *codenames)
    assert actions(user) == actions(user, "not/there") == allowed
    member = permitted("emil")
    group = Group.objects.create(name="pushers")
    group.permissions.set(Permission.objects.filter(codename__in=codenames))
    member.groups.add(group)
    assert actions(member) == allowed


def test_staff_status_alone_grants_nothing(charlie, private):
    User.objects.filter(pk=charlie.pk).update(is_staff=True)
    assert actions(charlie) == set()


def test_everybody_may_pull_what_is_public_and_nothing_else(anonymous, charlie, public, private):
    assert actions(anonymous, public.name) == actions(charlie, public.name) == {"pull"}
    assert actions(anonymous, private.name) == actions(charlie, private.name) == set()
    assert actions(anonymous, "not/there") == actions(charlie, "not/there") == set()


@pytest.mark.parametrize("superuser", [True, False])
def test_a_disabled_user_may_do_nothing_not_even_pull_what_is_public(bob, public, superuser):
    User.objects.filter(pk=bob.pk).update(is_active=False, is_superuser=superuser)
    assert actions(bob, public.name) == set()


def test_no_more_is_granted_than_was_asked_for(bob, private):
    assert actions(bob, wanted="push,delete,dance") == {"push"}
    assert actions(bob, wanted="") == set()


@pytest.mark.parametrize(
    "scope",
    [
        "registry:catalog:pull",
        "registry:other:*",
        "repository(plugin):team/app:pull",
        "cluster:team/app:*",
        "repository:localhost:5000/team/app:dance",
        "nonsense",
        "",
    ],
)
def test_types_and_actions_that_nobody_knows_are_granted_to_nobody(alice, scope):
    assert policy.granted(alice, Scope.parse(scope)).actions == set()


def test_whoever_may_pull_everywhere_may_list_everything(alice, bob, charlie, anonymous):
    catalog = Scope.parse("registry:catalog:*")
    assert policy.granted(alice, catalog) == policy.granted(bob, catalog) == catalog
    assert not policy.granted(charlie, catalog).actions
    assert not policy.granted(anonymous, catalog).actions


@pytest.mark.parametrize("who", ["alice", "bob", "charlie", "anonymous"])
@pytest.mark.parametrize("name", ["team/public", "not/there"])
def test_a_decision_makes_at_most_two_queries(request, public, django_assert_max_num_queries, who, name):
    user = request.getfixturevalue(who)
    with django_assert_max_num_queries(2):
        policy.granted(user, Scope.parse(f"repository:{name}:pull,push"))


def readable(credential) -> set[str]:
    return set(Repository.objects.filter(policy.readable(credential)).values_list("name", flat=True))


def test_readable_is_what_the_credential_itself_allows_and_what_is_public(alice, bob, charlie, public, private):
    both = {public.name, private.name}
    assert readable(None) == readable(Credential("")) == {public.name}
    assert readable(Credential(alice.subject, user=alice)) == readable(Credential(bob.subject, user=bob)) == both
    assert readable(Credential(charlie.subject, user=charlie)) == {public.name}


def test_a_token_reads_only_where_its_scopes_say_whoever_holds_it(alice, public, private):
    def holding(*scopes):
        return Credential(alice.subject, tuple(Scope.parse(scope) for scope in scopes))

    assert readable(holding()) == {public.name}
    assert readable(holding("repository:team/private:push")) == {public.name}
    assert readable(holding("repository:team/private:pull")) == {public.name, private.name}
    assert readable(holding("registry:catalog:*")) == {public.name, private.name}
