"""JSON from strangers: what two parsers could read differently, and what costs too much to read, is refused."""

import json
import math
from collections.abc import Iterable
from itertools import chain
from typing import Any

DEPTH = 32  # objects and arrays within one another; a manifest needs five
BRACKETS = 100_000  # opening ones, also within strings; each may cost a hundred bytes of memory
INTEGER_LENGTH = 20  # characters; -2**63 has them all
FLOAT_LENGTH = 64  # characters
TOO_DEEP = f"nested deeper than {DEPTH} levels"


def load(content: bytes) -> Any:
    """The value of UTF-8 JSON (RFC 8259, and I-JSON's rules on names and strings), in time linear in its length.

    Raises ValueError for anything else, among it: a name that occurs twice in an object, numbers that are not finite
    or longer than any field needs, too much nesting, and NUL or lone surrogates in a string: no database stores those.
    """
    if content.count(b"{") + content.count(b"[") > BRACKETS:
        raise ValueError(f"more than {BRACKETS} objects and arrays")
    try:
        value = json.loads(
            content.decode(),
            object_pairs_hook=object_of,
            parse_int=integer,
            parse_float=real,
            parse_constant=not_a_number,
        )
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    examine(value)
    return value


def object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name occurs twice in an object")
    return members


def integer(text: str) -> int:
    if len(text) > INTEGER_LENGTH:
        raise ValueError(f"an integer of {len(text)} digits")
    return int(text)


def real(text: str) -> float:
    if len(text) > FLOAT_LENGTH or not math.isfinite(value := float(text)):
        raise ValueError("a number out of range")
    return value


def not_a_number(text: str) -> float:
    raise ValueError(f"{text} is not a JSON number")


def examine(value: Any) -> None:
    """Raises ValueError for deep nesting and for strings no database stores. Goes by levels, so it never recurses."""
    containers: list[Any] = [[value]]
    for _ in range(DEPTH + 1):
        items = list(chain.from_iterable(map(contents, containers)))
        refuse_unstorable("".join(item for item in items if isinstance(item, str)))
        containers = [item for item in items if isinstance(item, (dict, list))]
        if not containers:
            return
    raise ValueError(TOO_DEEP)


def contents(container: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return chain(container, container.values()) if isinstance(container, dict) else container


def refuse_unstorable(text: str) -> None:
    if "\0" in text:
        raise ValueError("a NUL character in a string")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("half of a surrogate pair in a string") from None
