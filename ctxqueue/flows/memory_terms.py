"""What the flows of one memory manager have in common, and what they ask of the room that embeds and searches."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ctxqueue.clock import microseconds
from ctxqueue.effects import Flow, LoadOwners, RegisterOwner, do
from ctxqueue.remembered import KINDS, Owner, Reader, scoped
from ctxqueue.rules.policies import SHIPPED
from ctxqueue.rules.remembering import Part, part_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ctxqueue.effects import Candidates, IndexedMemory, MemoryPage, Sample, StoredMemory
    from ctxqueue.models import ContextScope
    from ctxqueue.remembered import Body, Said
    from ctxqueue.rules.policy import Policy

REGISTERED_SECONDS = 60.0
"""How long a process takes an owner that it has registered to be on the list."""
REGISTERED_AT_ONCE = 1_024
"""Owners of which that is noted; one more is registered again."""


class Wanted(NamedTuple):
    """What a recall or a list is about."""

    text: str = ""
    kinds: tuple[str, ...] = KINDS
    limit: int = 5
    where: Mapping[str, Any] = {}
    since_us: int | None = None
    until_us: int | None = None
    min_score: float | None = None


class Found(NamedTuple):
    """One memory that a search found."""

    part: Part
    row: StoredMemory
    body: Body
    score: float
    cosine: float
    parts: Mapping[str, float]


class Asked(NamedTuple):
    """What a store's index is asked for a query."""

    vector: bytes
    terms: tuple[int, ...]
    facets: tuple[int, ...]


class Shelf(Protocol):
    """One owner's memories in this process."""

    incarnation: str
    upto: int


class Library(Protocol):
    """Embeds, and searches what it has been told of. Thread-safe."""

    @property
    def model(self) -> str:
        """The embedder's name and dimension."""
        ...

    def encode(self, saids: Sequence[Said]) -> list[bytes]:
        """Return what rows keep of vectors; raises EmbedderError, DimensionMismatch."""
        ...

    def standing(self, part: Part) -> tuple[str, int]:
        """Return up to where a part of an owner's memories is known: incarnation and number."""
        ...

    def apply(self, part: Part, page: MemoryPage, after: int) -> None:
        """Take in what has changed."""
        ...

    def search(
        self, parts: Sequence[Part], wanted: Wanted, now_us: int, near: Mapping[Part, Candidates], /
    ) -> list[Found]:
        """Return the best, best first, of some parts only among candidates.

        Raises EmbedderError, DimensionMismatch, ModelMismatch.
        """
        ...

    def held(self, part: Part) -> int | None:
        """Return how many of its memories are kept here; None if they have not been read."""
        ...

    def narrows(self, where: Mapping[str, Any]) -> bool:
        """Whether a store's index can apply a filter on metadata."""
        ...

    def ground(self, owner: Owner, number: int) -> int | None:
        """Return about how many memories an owner has; None if a sample of them is to be read, perhaps anew."""
        ...

    def lay_ground(self, owner: Owner, number: int, sample: Sample) -> None:
        """Keep a sample that stands for all of an owner's memories."""
        ...

    def question(self, owner: Owner, wanted: Wanted) -> Asked:
        """Return what an index is asked; raises EmbedderError, DimensionMismatch."""
        ...

    def indexed(self, owner: Owner, rows: Sequence[StoredMemory]) -> tuple[IndexedMemory, ...]:
        """Return what the index holds of rows."""
        ...

    def waiting(self, part: Part, now_us: int, most: int) -> list[StoredMemory]:
        """Return some of its rows that have no vector yet, but not expired ones."""
        ...

    def near(self, part: Part, memory_id: str, above: float) -> list[StoredMemory]:
        """Return its other memories whose vectors are alike."""
        ...

    def used(self, owner: Owner, memory_id: str, accesses: int) -> None:
        """Note how often a memory was used."""
        ...


@dataclass(slots=True)
class MemoryTerms:
    """What every flow of one memory manager goes by."""

    library: Callable[[], Library]
    """Makes or returns it: what only reads by id, or publishes tasks, never loads it."""
    supersede_above: float | None = None
    worth_keeping: Callable[[str, str, Mapping[str, Any]], bool] | None = None
    policy: Policy = SHIPPED
    index_from: int | None = None
    """Memories of an owner above which the store's index is used; None: it can have none."""
    _registered: dict[str, float] = field(default_factory=dict)
    _owners: dict[str, Owner] = field(default_factory=dict)
    _owners_since_us: int = 0

    def registered(self, owner: Owner) -> Flow[None]:
        """See to it that an owner is on the list before it has a memory."""
        now = time.monotonic()
        if self._registered.get(owner.name, 0.0) <= now:
            yield from do(RegisterOwner(owner.name))
            if len(self._registered) >= REGISTERED_AT_ONCE:
                self._registered.clear()
            self._registered[owner.name] = now + REGISTERED_SECONDS

    def owners(self, reader: Reader, scope: str | ContextScope | None) -> Flow[list[Owner]]:
        """Return whose memories a reader may see."""
        if not reader.sees_all:
            return reader.visible(scope)
        look: LoadOwners | None = LoadOwners(self._owners_since_us)
        while look is not None:
            page = yield from do(look)
            look = page.following
            self._owners |= {name: Owner.parse(name) for name in page.names}
        # Those of the last minute are asked for again: whoever registers one says when, before others can see it.
        self._owners_since_us = max(0, page.now_us - microseconds(REGISTERED_SECONDS))
        return scoped(sorted(self._owners.values(), key=lambda owner: owner.name), scope)

    def parts(self, reader: Reader, scope: str | ContextScope | None) -> Flow[list[Part]]:
        """Return what a reader may see of whose memories."""
        owners = yield from self.owners(reader, scope)
        parts = [part_of(self.policy, reader, owner) for owner in owners]
        return [part for part in parts if part.plain or part.sensitive]

    def forget_owners(self) -> None:
        """Read the whole list next time."""
        self._owners, self._owners_since_us = {}, 0
