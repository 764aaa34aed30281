"""Deleting a repository: its name is free at once, and what it held goes in the background."""

from collections.abc import Callable

from django.db import transaction
from django.db.models import CharField, F, Value
from django.db.models.functions import Cast, Concat
from django.dispatch import Signal
from django.utils.timezone import now

from oci.errors import NameUnknown
from repositories.models import Repository
from work.loop import duty

BATCH = 200  # rows that go in one transaction, or are looked up together

deleted = Signal()  # sent with the name, inside the transaction

Clear = Callable[[Repository], None]
_hooks: list[Clear] = []


def clears(hook: Clear) -> Clear:
    """Registers what takes away all that one app keeps of a deleted repository, in short transactions. Like a duty it
    may run twice, and be killed anywhere; it raises where something cannot go now."""
    _hooks.append(hook)
    return hook


def delete(name: str) -> None:
    """Nobody can see the repository any more, and tokens for its name that were issued so far are void; whoever takes
    the name again begins with nothing. A push that is under way has either come before, and goes too, or is refused.

    Raises NameUnknown.
    """
    unspeakable = Concat(Value("deleted "), Cast("pk", CharField()))  # no name has a space
    moment = now()
    living = Repository.objects.filter(name=name)
    with transaction.atomic():
        if not living.update(name=unspeakable, former_name=F("name"), deleted_at=moment, due_at=moment):
            raise NameUnknown(name)
        deleted.send(Repository, name=name)


def would(repository: Repository) -> str:
    return f"take away all that {repository.former_name} held, which was deleted at {repository.deleted_at:%F %T}"


@duty(Repository, would)
def clear(repository: Repository) -> None:
    """All that a deleted repository held goes, then its row. What cannot go now keeps nothing else."""
    if repository.deleted_at is None:
        raise ValueError(f"{repository} is not deleted")
    problems: list[Exception] = []
    for hook in reversed(_hooks):  # an app that refers to others registers after them, and lets go first
        try:
            hook(repository)
        except Exception as problem:  # noqa: BLE001 - raised when all had their turn
            problems.append(problem)
    if problems:
        raise problems[0] if len(problems) == 1 else ExceptionGroup("; ".join(map(repr, problems)), problems)
    Repository.every.filter(pk=repository.pk).delete()
