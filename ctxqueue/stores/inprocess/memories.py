"""Memories in this process's memory."""

from __future__ import annotations

from bisect import bisect_right
from copy import copy
from dataclasses import dataclass, field
from heapq import nsmallest
from typing import TYPE_CHECKING

from ctxqueue.stores.engine.remembering import Changed, MemoryOwner

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from ctxqueue import effects as fx


@dataclass(slots=True)
class Owned:
    """One owner's rows. ``changes`` has all of them by number, those that were removed too; some are outdated."""

    standing: MemoryOwner
    rows: dict[str, fx.StoredMemory] = field(default_factory=dict)
    buried: dict[str, int] = field(default_factory=dict)
    """Id -> number, oldest first."""
    changes: list[tuple[int, str]] = field(default_factory=list)

    def changed(self, memory_id: str, number: int) -> None:
        """Note a change; numbers rise."""
        self.changes.append((number, memory_id))
        if len(self.changes) > 2 * (len(self.rows) + len(self.buried)) + 100:
            self.changes = [each for each in self.changes if self.number_of(each[1]) == each[0]]

    def number_of(self, memory_id: str) -> int | None:
        """Return the number of the last change of a row, or of its removal."""
        row = self.rows.get(memory_id)
        return row.number if row is not None else self.buried.get(memory_id)


class Memories:
    """The part of a `State` that is about memories; whoever uses it holds the store's lock."""

    def __init__(self) -> None:
        super().__init__()
        self._owned: dict[str, Owned] = {}
        self._registered: dict[str, int] = {}

    def see_owner(self, owner: str) -> MemoryOwner | None:
        """Return where an owner stands: a copy, as the engine changes what it reads and then saves it."""
        owned = self._owned.get(owner)
        return copy(owned.standing) if owned else None

    hold_owner = see_owner

    def save_owner(self, owner: str, standing: MemoryOwner) -> None:
        """Write where an owner stands."""
        self._owned.setdefault(owner, Owned(standing)).standing = standing

    def memory_rows(self, owner: str, memory_ids: Collection[str]) -> Mapping[str, fx.StoredMemory]:
        """Return those of the rows that are there."""
        owned = self._owned.get(owner)
        return {each: owned.rows[each] for each in memory_ids if each in owned.rows} if owned else {}

    def memories_after(self, owner: str, number: int, limit: int, max_bytes: int) -> tuple[Sequence[Changed], bool]:
        """Return what has changed after a number, in order, and whether there is more."""
        owned = self._owned[owner]
        found: list[Changed] = []
        size = 0
        for place in range(bisect_right(owned.changes, (number, "\U0010ffff")), len(owned.changes)):
            changed, memory_id = owned.changes[place]
            if owned.number_of(memory_id) != changed:
                continue
            if found and (len(found) >= limit or size > max_bytes):
                return found, True
            row = owned.rows.get(memory_id)
            found.append(Changed(changed, memory_id, row))
            size += len(row.body) if row else 0
        return found, False

    def any_memory(self, owner: str, but: Collection[str]) -> bool:
        """Whether there is a row besides some."""
        return any(memory_id not in but for memory_id in self._owned[owner].rows)

    def save_memories(self, owner: str, rows: Iterable[fx.StoredMemory]) -> None:
        """Write rows."""
        owned = self._owned[owner]
        for row in rows:
            owned.buried.pop(row.memory_id, None)
            owned.rows[row.memory_id] = row
            owned.changed(row.memory_id, row.number)

    def save_uses(self, owner: str, rows: Iterable[fx.StoredMemory]) -> None:
        """Write how often rows were used; their numbers stay."""
        self._owned[owner].rows.update((row.memory_id, row) for row in rows)

    def bury_memories(self, owner: str, numbers: Mapping[str, int]) -> None:
        """Remove rows, and note under which numbers."""
        owned = self._owned[owner]
        for memory_id, number in numbers.items():
            del owned.rows[memory_id]
            owned.buried[memory_id] = number
            owned.changed(memory_id, number)

    def trim_buried(self, owner: str, most: int) -> int:
        """Forget the oldest removals but so many."""
        buried = self._owned[owner].buried
        forgotten = 0
        while len(buried) > most:
            forgotten = buried.pop(next(iter(buried)))
        return forgotten

    def drop_memories(self, owner: str) -> None:
        """Remove an owner."""
        del self._owned[owner]

    def retirable(self, effect: fx.LoadRetirable, now_us: int) -> tuple[Sequence[fx.StoredMemory], int, int]:
        """Return the rows that go first, how many there are of them, and how many rows of that kind."""
        owned = self._owned.get(effect.owner)
        rows = list(owned.rows.values()) if owned else []
        if effect.why == "expired":
            ours = rows
            found = sorted(
                (row for row in rows if row.expires_us and row.expires_us <= now_us),
                key=lambda row: (row.expires_us, row.memory_id),
            )
        else:
            ours = [row for row in rows if row.kind == effect.kind and not row.pinned]
            if effect.why == "aged":
                found = sorted(
                    (row for row in ours if row.created_us <= now_us - effect.max_age_us),
                    key=lambda row: (row.created_us, row.memory_id),
                )
            else:
                ranked = sorted(ours, key=lambda row: (row.accesses, row.created_us, row.memory_id))
                found = ranked[: max(0, len(ours) - effect.max_rows)]
        from_there = found if not effect.from_us else [row for row in found if row.expires_us >= effect.from_us]
        return from_there[effect.skip : effect.skip + effect.limit], len(found), len(ours)

    def register_owner(self, name: str, now_us: int) -> None:
        """Enter a name in the list."""
        self._registered[name] = now_us

    def owners_since(self, since_us: int, after: str, limit: int) -> Sequence[tuple[str, int]]:
        """Return names behind a place, and when each was registered, in the order of that."""
        there = ((at_us, name) for name, at_us in self._registered.items() if (at_us, name) > (since_us, after))
        return [(name, at_us) for at_us, name in nsmallest(limit, there)]

    def registered_us(self, name: str) -> int | None:
        """Return when a name was last registered."""
        return self._registered.get(name)

    def drop_owner(self, name: str) -> None:
        """Take a name off the list."""
        self._registered.pop(name, None)
