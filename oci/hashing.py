"""Which engine hashes here: the fastest one that passes an examination.

Machines of one registry may differ in this; all engines speak `State`, so an upload goes on wherever it arrives.
"""

import hashlib
import logging
from functools import cache
from importlib import import_module
from typing import Protocol

from oci.hash_state import Buffer, State

logger = logging.getLogger(__name__)


class Engine(Protocol):
    """One hash under way. Asking for `state` or `hexdigest` leaves it as it is."""

    def __init__(self, algorithm: str, state: State | None = None) -> None: ...
    def update(self, buffer: Buffer) -> None: ...
    @property
    def state(self) -> State: ...
    def hexdigest(self) -> str: ...


ENGINES = ("oci.libcrypto.Libcrypto", "oci.rustcrypto.Rehashes")  # the fastest first

# After FIRST, whole blocks and three bytes of the next one for either algorithm, the packed state must be this.
FIRST, SECOND = bytes(range(131)), bytes(range(256))
KNOWN_STATES = {
    "sha256": "0101593253adfb4cc018be611395485e47c15a5b271dfb8da14fe8f77fb4d05eacbc0000000000000083808182ff1fcca7",
    "sha512": "01028e03953cd57cd6879321270afa70c5827bb5b69be59a8f0130147e94f2aedf7bdc01c56c92343ca8bd837bb7f0208f5a"
    "23e155694516b6f147099d491a30b1510000000000000083808182166249dc",
}


@cache
def engine() -> type[Engine]:
    """The engine of this process. Raises RuntimeError where there is none, which no installation may be left in."""
    for path in ENGINES:
        module, _, name = path.rpartition(".")
        try:
            candidate: type[Engine] = getattr(import_module(module), name)
            examine(candidate)
        except (ImportError, OSError, AttributeError, ArithmeticError, RuntimeError, ValueError) as problem:
            logger.warning("%s cannot be used for hashing: %s", path, problem)
        else:
            return candidate
    raise RuntimeError("no way to hash: neither libcrypto nor the package rehashes can be used")


def examine(candidate: type[Engine]) -> None:
    """Raises ValueError unless states put down in mid-block are the known ones and can be taken up again."""
    for algorithm, known in KNOWN_STATES.items():
        first = candidate(algorithm)
        first.update(FIRST)
        second = candidate(algorithm, State.unpack(bytes.fromhex(known), algorithm))
        second.update(SECOND)
        expected = hashlib.new(algorithm, FIRST + SECOND).hexdigest()
        if first.state.pack().hex() != known or second.hexdigest() != expected:
            raise ValueError(f"its {algorithm} is not as documented")
