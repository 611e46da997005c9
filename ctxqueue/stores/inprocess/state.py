"""What the in-process store holds: workflows, parked runs, attempts with their journals."""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ctxqueue import effects as fx
from ctxqueue.records import decode_header

if TYPE_CHECKING:
    from ctxqueue.rules.dependencies import Tree

Outcome = tuple[bytes, fx.Committed]
"""The digest of a call's input, and what was answered."""


@dataclass(slots=True)
class Parked:
    """A run that waits."""

    item_id: str
    message: bytes
    deadline_us: int
    condition: Tree


@dataclass(slots=True)
class RunRecord:
    """A run's attempt and journal."""

    state: str = ""
    position: fx.Position = field(default_factory=lambda: fx.Position(0, 0))
    epoch: int = 0
    claim_id: bytes = b""
    lease_us: int = 0
    deadline_us: int | None = None
    parked_us: int | None = None
    outcome: bytes = b""
    standby: tuple[str, bytes] | None = None
    calls: dict[str, Outcome] = field(default_factory=dict)
    newest: int = 0
    """Of a lane: its newest call."""
    ends_us: int = 0


@dataclass(slots=True)
class Workflow:
    """One workflow. ``records`` and ``stamps`` have the same addresses, ``order`` has them sorted."""

    incarnation: str
    created_us: int
    metadata: bytes
    clock_us: int
    revision: int = 0
    commit_id: bytes = bytes(8)
    floor: int = 0
    size: int = 0
    records: dict[str, bytes] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    parked: dict[str, Parked] = field(default_factory=dict)

    def head(self, now_us: int) -> fx.Head:
        """Return where it stands."""
        return fx.Head(self.incarnation, self.revision, self.commit_id, self.created_us, self.metadata, now_us)

    def fresh(self, address: str, now_us: int) -> bytes | None:
        """Return the record at an address, unless it has expired."""
        record = self.records.get(address)
        if record is None:
            return None
        expires_us = decode_header(record).expires_us
        return record if not expires_us or expires_us > now_us else None

    def remove(self, address: str) -> None:
        """Drop an entry; its version is not used again."""
        record = self.records.pop(address)
        self.floor = max(self.floor, decode_header(record).stamp.version)
        self.size -= len(record)
        del self.order[bisect_left(self.order, address)]

    def store(self, address: str, record: bytes) -> None:
        """Write an entry."""
        old = self.records.get(address)
        if old is None:
            insort(self.order, address)
        self.size += len(record) - len(old or b"")
        self.records[address] = record
