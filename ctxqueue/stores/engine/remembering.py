"""What a store is asked of memories within one transaction, as the engine asks for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from ctxqueue import effects as fx


@dataclass(slots=True)
class MemoryOwner:
    """Where an owner's memories stand."""

    incarnation: str
    model: str
    clock_us: int
    number: int = 0
    """Of the last change."""
    floor: int = 0
    """Removals up to this number are no longer known."""


class Changed(NamedTuple):
    """A row that was written, or (None) removed, under a number."""

    number: int
    memory_id: str
    row: fx.StoredMemory | None


class MemoryRows(Protocol):
    """The part of a `State` that is about memories."""

    def now(self) -> int:
        """Return the store's clock."""
        ...

    def see_owner(self, owner: str) -> MemoryOwner | None:
        """Return where an owner stands, without holding it."""
        ...

    def hold_owner(self, owner: str) -> MemoryOwner | None:
        """Keep everybody else from an owner's memories, also from one that has none yet, and look at it."""
        ...

    def save_owner(self, owner: str, standing: MemoryOwner) -> None:
        """Write where an owner stands; a new one, too."""
        ...

    def memory_rows(self, owner: str, memory_ids: Collection[str]) -> Mapping[str, fx.StoredMemory]:
        """Return those of the rows that are there, expired ones too."""
        ...

    def memories_after(self, owner: str, number: int, limit: int, max_bytes: int) -> tuple[Sequence[Changed], bool]:
        """Return what has changed after a number, in order, and whether there is more."""
        ...

    def any_memory(self, owner: str, but: Collection[str]) -> bool:
        """Whether there is a row besides some."""
        ...

    def save_memories(self, owner: str, rows: Iterable[fx.StoredMemory]) -> None:
        """Write rows; what was noted of an earlier removal of theirs is forgotten."""
        ...

    def save_uses(self, owner: str, rows: Iterable[fx.StoredMemory]) -> None:
        """Write of rows only how often they were used."""
        ...

    def bury_memories(self, owner: str, numbers: Mapping[str, int]) -> None:
        """Remove rows, and note under which numbers."""
        ...

    def trim_buried(self, owner: str, most: int) -> int:
        """Forget the oldest removals but so many; return the number of the newest that was forgotten, 0 for none."""
        ...

    def drop_memories(self, owner: str) -> None:
        """Remove an owner that has no row left, and what is known of removals."""
        ...

    def retirable(self, effect: fx.LoadRetirable, now_us: int) -> tuple[Sequence[fx.StoredMemory], int, int]:
        """Return the rows that go first, how many there are of them in all, and how many rows of that kind."""
        ...

    def register_owner(self, name: str, now_us: int) -> None:
        """Enter a name in the list, or note that it is in use."""
        ...

    def owners_since(self, since_us: int, after: str, limit: int) -> Sequence[tuple[str, int]]:
        """Return names behind a place, and when each was registered, in the order of that."""
        ...

    def registered_us(self, name: str) -> int | None:
        """Return when a name was last registered."""
        ...

    def drop_owner(self, name: str) -> None:
        """Take a name off the list."""
        ...
