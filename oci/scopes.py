"""Access in the token protocol's words: `repository:library/nginx:pull,push`."""

from dataclasses import dataclass
from typing import Self

SCOPE_LENGTH = 1024


@dataclass(frozen=True, slots=True)
class Scope:
    """What may be done (`actions`) to one thing (`type` and `name`).

    An action is only a word here: `*` covers `*` and nothing else, so no text of a client's widens what it holds.
    """

    type: str
    name: str
    actions: frozenset[str]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read one scope of the `scope` parameter; what is not one is a scope that asks for nothing. Never raises.

        A name may hold a colon (`host:5000/team/app`), so the type ends at the first one and the name at the last.
        """
        if len(text) > SCOPE_LENGTH or not text.isascii() or not text.isprintable() or " " in text:
            return cls("", "", frozenset())
        type_, _, rest = text.partition(":")
        name, _, actions = rest.rpartition(":")
        if not type_ or not name:
            return cls("", "", frozenset())
        return cls(type_, name, frozenset(actions.split(",")) - {""})

    def __str__(self) -> str:
        return f"{self.type}:{self.name}:{','.join(sorted(self.actions))}"

    def covers(self, other: Self) -> bool:
        """Whether who holds this scope may do all that `other` asks for."""
        return (self.type, self.name) == (other.type, other.name) and self.actions >= other.actions
