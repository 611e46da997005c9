"""An index of one owner's memories by their vectors, where a store has one: filled from what has changed, and asked.

It holds of each row what a search needs before it sees the row itself, and follows the rows: what is removed goes from
it in the same transaction. Terms, plain metadata and sessions are numbers, each a hash together with the owner.
"""

from __future__ import annotations

import msgspec

from ctxqueue.effects.base import Effect
from ctxqueue.effects.memories import StoredMemory


class LoadIndex(Effect[int | None], frozen=True):
    """Read the number of an owner's last change; None if there is no index of that model, or the owner has another."""

    owner: str
    model: str


class LoadUnindexed(Effect[tuple[tuple[StoredMemory, ...], bool]], frozen=True):
    """Read rows that have changed since the index was last written, in order, and whether there are more."""

    owner: str
    model: str
    limit: int


class IndexedMemory(msgspec.Struct, frozen=True):
    """What the index holds of one row."""

    memory_id: str
    number: int
    at_us: int
    terms: tuple[int, ...]
    facets: tuple[int, ...]
    session: int | None
    sequence: float | None
    vector: bytes
    """float32 of unit length; empty: none, so that it is found by its words alone."""


class IndexMemories(Effect[None], frozen=True):
    """Write rows of the index, each unless a later change of it is there, or its memory is gone."""

    owner: str
    model: str
    rows: tuple[IndexedMemory, ...]


class Sample(msgspec.Struct, frozen=True):
    """Some rows, chosen at random but the same each time, and how many there are in all."""

    rows: tuple[StoredMemory, ...]
    total: int


class SampleMemories(Effect[Sample], frozen=True):
    """Read some rows that stand for all of an owner's: what is rare among them, and how far scores are spread."""

    owner: str
    most: int


class Candidates(msgspec.Struct, frozen=True):
    """The rows that may be among the best."""

    rows: tuple[StoredMemory, ...]
    complete: bool
    """Whether they are all that pass the filters."""
    rows_with: tuple[int, ...]
    """By term of the query, how many rows have it."""
    now_us: int


class FindCandidates(Effect[Candidates], frozen=True):
    """Read the rows that may be among the best: all that pass the filters if they are ``few``.

    Else the ``most`` nearest to a vector, the ``most`` with the rarest terms, and who is next to them in a session.
    """

    owner: str
    model: str
    vector: bytes
    terms: tuple[int, ...]
    total: int
    """Rows of the owner, about."""
    kinds: tuple[str, ...]
    facets: tuple[int, ...]
    since_us: int | None
    until_us: int | None
    few: int
    most: int
