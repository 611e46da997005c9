"""What the in-process store holds of one workflow: dicts, and sorted lists where order matters."""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ctxqueue.stores.engine.entries import traits
from ctxqueue.stores.engine.held import Removable
from ctxqueue.stores.inprocess.inbox import StoredUpdates

if TYPE_CHECKING:
    from ctxqueue import effects as fx
    from ctxqueue.stores.engine.held import Parked, Trigger, Workflow


@dataclass(slots=True)
class Contents:
    """One workflow's. ``order`` has the addresses of ``records``, the others those that expire or may be evicted."""

    workflow: Workflow
    records: dict[str, bytes] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    expiries: list[tuple[int, str]] = field(default_factory=list)
    evictable: list[tuple[int, str]] = field(default_factory=list)
    log: dict[int, fx.LogRecord] = field(default_factory=dict)
    """By revision, in order."""
    history: dict[str, list[fx.Kept]] = field(default_factory=dict)
    """By address, newest first."""
    guards: dict[bytes, int] = field(default_factory=dict)
    """What released runs are about to read, and until when."""
    updates: StoredUpdates = field(default_factory=StoredUpdates)
    triggers: dict[str, Trigger] = field(default_factory=dict)
    notices: dict[str, list[bytes]] = field(default_factory=dict)
    """By agent, the oldest first."""
    parked: dict[str, Parked] = field(default_factory=dict)
    waiting: dict[str, list[str]] = field(default_factory=dict)
    """Address -> runs registered on it, sorted."""

    def drop(self, address: str) -> None:
        """Remove an entry, if there is one."""
        record = self.records.pop(address, None)
        if record is None:
            return
        del self.order[bisect_left(self.order, address)]
        had = traits(record)
        for index, key in ((self.expiries, had.expires_us), (self.evictable, had.evict_order)):
            if key is not None:
                del index[bisect_left(index, (key, address))]

    def put(self, address: str, record: bytes) -> None:
        """Write an entry over what stands there."""
        self.drop(address)
        self.records[address] = record
        insort(self.order, address)
        has = traits(record)
        for index, key in ((self.expiries, has.expires_us), (self.evictable, has.evict_order)):
            if key is not None:
                insort(index, (key, address))

    def removable(self, index: list[tuple[int, str]], limit: int) -> list[Removable]:
        """Return the first entries of an index."""
        found = []
        for order, address in index[:limit]:
            has = traits(self.records[address])
            found.append(Removable(order, address, has.version, has.size, has.sensitive))
        return found

    def stop_waiting(self, run: str) -> None:
        """Remove a parked run and its registrations, if it is there."""
        parked = self.parked.pop(run, None)
        for address in parked.witness if parked else ():
            runs = self.waiting[address]
            del runs[bisect_left(runs, run)]
            if not runs:
                del self.waiting[address]
