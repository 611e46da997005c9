"""Which memories of a shelf are searched: what passes the filters, before anything is ranked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ctxqueue.memories.shelf import is_plain
from ctxqueue.remembered import KINDS

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from numpy.typing import NDArray

    from ctxqueue.memories.shelf import Shelf


@dataclass(frozen=True)
class Query:
    """What is looked for, and among which memories."""

    text: str
    vector: bytes
    now_us: int
    limit: int = 5
    kinds: tuple[str, ...] = KINDS
    where: Mapping[str, Any] = field(default_factory=dict)
    since_us: int | None = None
    until_us: int | None = None
    min_score: float | None = None
    """Of the cosine."""


class Pool(NamedTuple):
    """A shelf's candidates: all its slots (None), or some."""

    shelf: Shelf
    slots: NDArray[np.int64] | None
    within: NDArray[np.int64] | None = None
    """The slots of the named set that they are some of; None: the set has no name."""
    places: NDArray[np.int64] | None = None
    """Where in that set they are; None: all of it."""
    name: Hashable = None

    @property
    def size(self) -> int:
        """How many there are."""
        return len(self.shelf.rows) if self.slots is None else len(self.slots)

    def column(self, name: str) -> NDArray[Any]:
        """Return one column of theirs."""
        values = self.shelf.column(name)
        return values if self.slots is None else values[self.slots]

    def at(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the slots of some of them."""
        return places if self.slots is None else self.slots[places]

    def places_of(self, slots: Sequence[int]) -> NDArray[np.int64]:
        """Return where some slots are, those that are candidates at all; ``slots`` rise."""
        wanted = np.array(slots, dtype=np.int64)
        if self.slots is None:
            return wanted
        places = np.searchsorted(self.slots, wanted)
        there = places < len(self.slots)
        places, wanted = places[there], wanted[there]
        found: NDArray[np.int64] = places[self.slots[places] == wanted]
        return found


def candidates(shelf: Shelf, query: Query) -> Pool:
    """Return what passes the filters."""
    within = _by_metadata(shelf, query.where)
    mask: NDArray[np.bool_] | None = None

    def also(condition: NDArray[np.bool_]) -> None:
        nonlocal mask
        mask = condition if mask is None else mask & condition

    pool = Pool(shelf, within, within, None, _name_of(query.where))
    if shelf.alive < len(shelf.rows):
        also(pool.column("live"))
    if shelf.expiring:
        expires = pool.column("expires_us")
        also((expires == 0) | (expires > query.now_us))
    if set(query.kinds) != set(KINDS):
        also(np.isin(pool.column("kind"), [KINDS.index(kind) for kind in query.kinds]))
    if query.since_us is not None:
        also(pool.column("at_us") >= query.since_us)
    if query.until_us is not None:
        also(pool.column("at_us") < query.until_us)
    if mask is None or mask.all():
        return pool
    places = np.flatnonzero(mask)
    return pool._replace(slots=places if within is None else within[places], places=places)


def _name_of(where: Mapping[str, Any]) -> Hashable:
    """Return a name for what a filter on plain metadata selects; None if there is none."""
    if not where or not all(is_plain(value) for value in where.values()):
        return None
    return tuple(sorted((key, type(value).__name__, value) for key, value in where.items()))


def _by_metadata(shelf: Shelf, where: Mapping[str, Any]) -> NDArray[np.int64] | None:
    if not where:
        return None
    plain = [(key, value) for key, value in where.items() if is_plain(value)]
    slots: set[int] | None = None
    for facet in plain:
        having = shelf.having(facet)
        slots = set(having) if slots is None else slots.intersection(having)
    others = {key: value for key, value in where.items() if not is_plain(value)}
    if others:
        looked_at = range(len(shelf.rows)) if slots is None else slots
        slots = {slot for slot in looked_at if _has(shelf.metadata_of(slot), others)}
    return np.array(sorted(slots or ()), dtype=np.int64)


def _has(metadata: Mapping[str, Any], items: Mapping[str, Any]) -> bool:
    return all(key in metadata and metadata[key] == value for key, value in items.items())
