"""What is remembered: rows of one owner's memories, and what a store does with them.

An owner is named by its digest (`remembered.Owner`), a memory by an id within it. A row's body is packed by whoever
writes it; beside it stands what a store sorts by. Each change of a row, and its end, takes the owner's next number,
so that a reader who knows one number is brought up to date from there.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from ctxqueue.effects.base import PAGE_BYTES, Effect

MemoryKind = Literal["semantic", "episodic", "procedural"]
Retirement = Literal["expired", "aged", "surplus"]
OWNERS_A_PAGE = 1_000


class NewMemory(msgspec.Struct, frozen=True):
    """A row to be stored."""

    memory_id: str
    kind: MemoryKind
    body: bytes
    pinned: bool = False
    ttl_us: int | None = None


class StoredMemory(msgspec.Struct, frozen=True):
    """A row as it stands in a store."""

    memory_id: str
    kind: MemoryKind
    body: bytes
    number: int
    """Of its last change."""
    born: int
    """Of its first."""
    created_us: int
    expires_us: int = 0
    """0: never."""
    pinned: bool = False
    superseded: bool = False
    accesses: int = 0
    accessed_us: int = 0
    """0: never."""
    touch_id: bytes = b""
    """Of its last use."""


class MemoriesStored(msgspec.Struct, frozen=True):
    """By row: whether it was made (else a live one of this id stands there), and the number it was born with."""

    made: tuple[bool, ...]
    born: tuple[int, ...]
    now_us: int
    model: str = ""
    """Of the owner's memories, if it is another one: then nothing was stored."""


class StoreMemories(Effect[MemoriesStored], frozen=True):
    """Store rows, each unless a live one of its id is there; one that has expired or was superseded is written over.

    ``incarnation`` and ``model`` become the owner's if it has no memories yet; with ``adopt`` the model does anyway,
    and else nothing is stored under another one. Rows without a vector yet have the model "", which is no other one.
    """

    owner: str
    incarnation: str
    memories: tuple[NewMemory, ...]
    model: str
    adopt: bool = False


class MemoryPage(msgspec.Struct, frozen=True):
    """What has changed after a number, in order. ``upto`` is where the next page goes on."""

    incarnation: str
    """Empty: the owner has no memories."""
    anew: bool
    """What was read before is to be dropped: this begins at the beginning."""
    rows: tuple[StoredMemory, ...]
    gone: tuple[str, ...]
    upto: int
    more: bool
    now_us: int


class LoadMemories(Effect[MemoryPage], frozen=True):
    """Read the rows that were written or removed after ``after``, a number of that incarnation."""

    owner: str
    incarnation: str
    after: int
    limit: int
    max_bytes: int = PAGE_BYTES


class GetMemories(Effect[tuple[dict[str, StoredMemory], int]], frozen=True):
    """Read rows by their ids. Reply: those that are there and have not expired, and the store's clock."""

    owner: str
    memory_ids: tuple[str, ...]


class AmendMemory(Effect[Literal["done", "moved", "gone", "not_live"]], frozen=True):
    """Write a row's body and flags anew.

    Refused if its last change is not ``expected`` (moved), it is not there (gone), or ``successor`` is given and is
    not there or was superseded itself (not_live).
    """

    owner: str
    memory_id: str
    kind: MemoryKind
    expected: int
    body: bytes
    pinned: bool
    superseded: bool
    successor: str = ""


class Doomed(msgspec.Struct, frozen=True):
    """A row to be removed: whatever happened to it (number 0), or only as it was seen."""

    memory_id: str
    number: int = 0
    accesses: int = 0


class DropMemories(Effect[int], frozen=True):
    """Remove rows. Reply: how many. Those with another number than given, or used since, stay: see `Doomed`."""

    owner: str
    doomed: tuple[Doomed, ...]


class TouchMemories(Effect[tuple[tuple[int, int], ...]], frozen=True):
    """Count one use of each row. Reply: its uses and the last one's instant, both 0 for one that is not there.

    A touch that arrives twice, by its id, counts once.
    """

    owner: str
    memory_ids: tuple[str, ...]
    touch_id: bytes


class Retirable(msgspec.Struct, frozen=True):
    """Rows that retention may take, those that go first in front, and how many there are of them in all."""

    rows: tuple[StoredMemory, ...]
    count: int
    total: int
    """Rows of this kind that are not pinned; of all kinds where expired ones are asked for."""
    now_us: int


class LoadRetirable(Effect[Retirable], frozen=True):
    """Look for rows that have expired (``kind`` is of no matter), are older than a kind's age, or over its number.

    ``skip`` passes over the first ones, of expired ones those that expired from ``from_us`` on: whoever goes through
    many names the last one's instant, and how many of that one were seen. Pinned rows are never aged nor surplus.
    """

    owner: str
    kind: MemoryKind
    why: Retirement
    max_age_us: int
    max_rows: int
    skip: int
    limit: int
    max_bytes: int = PAGE_BYTES
    from_us: int = 0


class RegisterOwner(Effect[None], frozen=True):
    """Enter an owner, by its full name, in the namespace's list, or note that it is in use."""

    name: str


class OwnerPage(msgspec.Struct, frozen=True):
    """Names of owners, those registered longest ago first."""

    names: tuple[str, ...]
    at_us: int
    """When the last of them was registered; 0 for none."""
    more: bool
    now_us: int

    @property
    def following(self) -> LoadOwners | None:
        """What reads the next page; None after the last one."""
        return LoadOwners(self.at_us, self.names[-1]) if self.more else None


class LoadOwners(Effect[OwnerPage], frozen=True):
    """Read the names of owners registered since an instant, of those at that very instant the ones behind a name.

    Whoever goes from page to page finds all of them; one that is registered anew meanwhile is there twice.
    """

    since_us: int = 0
    after: str = ""
    limit: int = OWNERS_A_PAGE


class DropOwner(Effect[bool], frozen=True):
    """Take an owner's name off the list, unless it was registered less than ``idle_us`` ago."""

    name: str
    idle_us: int


MOST_BURIED = 10_000
"""Removals that are kept for readers to hear of; a reader who is further behind begins anew."""
