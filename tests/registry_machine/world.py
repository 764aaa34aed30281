"""What was acknowledged, in plain Python, and for how long it was promised: the registry has to hold this and no more.

Hours are those of the machine's own clock, which jumps.
"""

from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Self

from layers.models import Blob, Layer
from manifests.models import Manifest, Tag
from repositories.models import Repository
from tests.registry_machine.pool import CONTENTS, Content

GRACE = 24.0  # hours

Shape = dict[str, Any]


@dataclass
class Held:
    """By one repository."""

    layers: dict[str, float] = field(default_factory=dict)  # until when each stays, whether it is named or not
    manifests: dict[str, float | None] = field(default_factory=dict)  # the same, of those whose index went
    tags: dict[str, str] = field(default_factory=dict)
    removed: set[str] = field(default_factory=set)  # by name, while something named it

    def naming(self, digest: str) -> list[str]:
        """The manifests that name it."""
        return [each for each in self.manifests if digest in CONTENTS[each].blobs | CONTENTS[each].children]

    def lacking(self) -> set[str]:
        """What its manifests name, and it has not."""
        named = {digest for each in self.manifests for digest in CONTENTS[each].blobs | CONTENTS[each].children}
        return named - self.layers.keys() - self.manifests.keys()


@dataclass
class World:
    held: dict[str, Held]
    clock: float = 0.0  # hours
    damaged: set[str] = field(default_factory=set)

    def after(self) -> Self:
        """A copy, on which what may have been done is done."""
        return deepcopy(self)

    # --- What is done -------------------------------------------------------------------------------------------------

    def link(self, name: str, digest: str, sound: bool = False) -> Self:
        self.held[name].layers[digest] = self.clock + GRACE
        self.held[name].removed.discard(digest)
        if sound:
            self.damaged.discard(digest)
        return self

    def unlink(self, name: str, digest: str) -> Self:
        del self.held[name].layers[digest]
        if self.held[name].naming(digest):
            self.held[name].removed.add(digest)
        return self

    def push(self, name: str, content: Content, tags: list[str]) -> Self:
        held = self.held[name]
        held.manifests[content.digest] = None
        held.removed.discard(content.digest)
        held.tags.update(dict.fromkeys(tags, content.digest))
        return self

    def delete(self, name: str, digest: str) -> Self:
        """A manifest, its tags; what it named has a grace."""
        held = self.held[name]
        del held.manifests[digest]
        held.tags = {tag: each for tag, each in held.tags.items() if each != digest}
        for layer in CONTENTS[digest].blobs & held.layers.keys():
            held.layers[layer] = self.clock + GRACE
        for child in CONTENTS[digest].children & held.manifests.keys():
            held.manifests[child] = self.clock + GRACE
        if held.naming(digest):
            held.removed.add(digest)
        held.removed &= held.lacking()
        return self

    def untag(self, name: str, tag: str) -> Self:
        del self.held[name].tags[tag]
        return self

    def empty(self, name: str) -> Self:
        self.held[name] = Held()
        return self

    # --- What may happen by itself ------------------------------------------------------------------------------------

    def collectable(self, name: str) -> tuple[set[str], set[str]]:
        """Layers and manifests that nothing needs, and whose grace is over."""
        held = self.held[name]
        layers = {digest for digest, until in held.layers.items() if until <= self.clock and not held.naming(digest)}
        manifests = {digest for digest, until in held.manifests.items() if until is not None and until <= self.clock}
        needed = {*held.tags.values(), *(digest for digest in manifests if held.naming(digest))}
        return layers, manifests - needed

    def shape(self) -> Shape:
        """What can be seen of it, to be compared with `observed`."""
        every = {name: (set(held.layers), set(held.manifests), held.tags) for name, held in self.held.items()}
        return {"damaged": self.damaged, **every}


def observed(names: tuple[str, ...]) -> Shape:
    """The same of the database."""
    shape: Shape = {"damaged": set(Blob.objects.exclude(damaged_at=None).values_list("digest", flat=True))}
    for name in names:
        here = Repository.objects.filter(name=name)
        shape[name] = (
            set(Layer.objects.filter(repository__in=here).values_list("blob__digest", flat=True)),
            set(Manifest.objects.filter(repository__in=here).values_list("digest", flat=True)),
            dict(Tag.objects.filter(repository__in=here).values_list("name", "manifest__digest")),
        )
    return shape
