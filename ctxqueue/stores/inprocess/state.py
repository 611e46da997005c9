"""What the in-process store holds: dicts, and sorted lists where order matters."""

from __future__ import annotations

import time
from bisect import bisect_left, bisect_right
from heapq import nsmallest
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec

from ctxqueue import effects as fx
from ctxqueue.models import GLOBAL_WORKFLOW
from ctxqueue.records import decode_header, is_sensitive
from ctxqueue.stores.engine.entries import is_fresh, traits
from ctxqueue.stores.engine.held import (
    NOTHING,
    Answer,
    Due,
    Entry,
    Held,
    Journaled,
    Removable,
    Run,
    StoredUpdate,
    Wanted,
    Workflow,
)
from ctxqueue.stores.inprocess.audit import AuditLog
from ctxqueue.stores.inprocess.contents import Contents
from ctxqueue.stores.inprocess.memories import Memories
from ctxqueue.stores.inprocess.parking import ParkedRuns

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence


_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(list[Any]).decode


def machine_clock() -> int:
    """Return this machine's time in microseconds."""
    return time.time_ns() // 1_000


def moved(workflow_id: str) -> str:
    """Return the name by which they are woken who follow a workflow."""
    return f"moved:{workflow_id}"


class MemoryState(ParkedRuns, Memories, AuditLog):
    """A `State` over this process's memory; whoever uses it holds the store's lock."""

    def __init__(self, clock: Callable[[], int]) -> None:
        super().__init__()
        self._clock = clock
        self._runs: dict[tuple[str, str], Run] = {}
        self._calls: dict[tuple[str, str], dict[str, Journaled]] = {}
        self._places: dict[tuple[str, str], tuple[Journaled, int]] = {}
        """Lanes and named operations, with when they are forgotten."""
        self._due: dict[Due, int] = {}
        self._outbox: dict[str, tuple[int, bytes]] = {}

    # Looking -----------------------------------------------------------------------------------------------------

    def now(self) -> int:
        """Return the clock's time."""
        return self._clock()

    def see(self, workflow_id: str, addresses: Sequence[str], call: Entry | None = None) -> Held:
        """Return workflow, records and what a call was answered."""
        return self.hold(workflow_id, Wanted(addresses, call=call))

    def page(self, effect: fx.LoadPage) -> tuple[Held, bool]:
        """Return the records of a page, and whether there is more behind them."""
        held = self.hold(effect.workflow_id)
        contents = self._workflows.get(effect.workflow_id)
        if contents is None:
            return held, False
        order = contents.order
        start = bisect_right(order, effect.after) if effect.after else bisect_left(order, effect.prefix)
        records: dict[str, bytes] = {}
        size = 0
        for place in range(start, len(order)):
            address = order[place]
            if not address.startswith(effect.prefix):
                break
            if records and (len(records) >= effect.limit or size > effect.max_bytes):
                held.records = records
                return held, True
            records[address] = contents.records[address]
            size += len(records[address])
        held.records = records
        return held, False

    def hold(self, workflow_id: str, wanted: Wanted = NOTHING) -> Held:
        """Look at a workflow; the store's lock is what holds it."""
        contents = self._workflows.get(workflow_id)
        now = self.now()
        held = Held(None, now)
        if contents is not None:
            held.workflow = contents.workflow
            held.now_us = now = max(now, contents.workflow.clock_us)
            held.records = {
                address: contents.records[address] for address in wanted.addresses if address in contents.records
            }
            held.present = self.present(workflow_id, wanted.present, now)
        if wanted.run:
            held.run = self._live_run(workflow_id, wanted.run, now)
        if wanted.ready:
            held.ready = self._ready.get(workflow_id, {}).get(wanted.run)
        if wanted.call is not None:
            held.journaled = self._journaled(workflow_id, wanted.call, now)
        return held

    def _live_run(self, workflow_id: str, run_id: str, now_us: int) -> Run:
        run = self._runs.get((workflow_id, run_id))
        if run is not None and run.ends_us > now_us:
            return run
        self._runs.pop((workflow_id, run_id), None)
        self._calls.pop((workflow_id, run_id), None)
        return Run()

    def _journaled(self, workflow_id: str, place: Entry, now_us: int) -> Journaled | None:
        if place.call_id:
            return self._calls.get((workflow_id, place.owner), {}).get(place.call_id)
        journaled, ends_us = self._places.get((workflow_id, place.owner), (None, 0))
        return journaled if ends_us > now_us else None

    def expiring(self, workflow_id: str, limit: int) -> Sequence[Removable]:
        """Return the entries that expire first."""
        contents = self._workflows[workflow_id]
        return contents.removable(contents.expiries, limit)

    def evictable(self, workflow_id: str, limit: int) -> Sequence[Removable]:
        """Return the entries that go first when room runs out."""
        contents = self._workflows[workflow_id]
        return contents.removable(contents.evictable, limit)

    def edges(self, workflow_id: str) -> Mapping[str, tuple[str, ...]]:
        """Return the keys that addresses depend on."""
        records = self._workflows[workflow_id].records
        return {address: keys for address, record in records.items() if (keys := traits(record).depends_on)}

    def log(self, workflow_id: str, from_revision: int, limit: int, max_bytes: int) -> Sequence[fx.LogRecord]:
        """Return log records from a revision on, in order."""
        found: list[fx.LogRecord] = []
        size = 0
        log = self._workflows[workflow_id].log
        for revision in range(max(from_revision, min(log, default=0)), max(log, default=-1) + 1):
            if found and (len(found) >= limit or size > max_bytes):
                break
            found.append(log[revision])
            size += sum(len(change.address) for change in log[revision].changes)
        return found

    def oldest_logged(self, workflow_id: str) -> int | None:
        """Return the oldest revision that the log has."""
        return next(iter(self._workflows[workflow_id].log), None)

    def count_log(self, workflow_id: str) -> int:
        """Return how many records the log has."""
        return len(self._workflows[workflow_id].log)

    def history(self, workflow_id: str, address: str, skip: int, max_bytes: int) -> tuple[Sequence[fx.Kept], bool]:
        """Return values kept of an address, newest first, and whether there are more."""
        kept = self._workflows[workflow_id].history.get(address, [])[skip:]
        size = 0
        for taken, value in enumerate(kept):
            if taken and size > max_bytes:
                return kept[:taken], True
            size += len(value.record)
        return kept, False

    def history_addresses(self, workflow_id: str, after: str, limit: int) -> Sequence[str]:
        """Return the addresses of which values are kept, in order."""
        contents = self._workflows.get(workflow_id)
        return sorted(address for address in contents.history if address > after)[:limit] if contents else []

    def gone(self, workflow_id: str, gone_by: int, limit: int) -> Sequence[str]:
        """Return addresses without an entry of which values are kept, none from after a revision."""
        contents = self._workflows.get(workflow_id)
        if contents is None:
            return []
        gone = (
            (address, kept[0].until) for address, kept in contents.history.items() if address not in contents.records
        )
        return list(islice((address for address, until in gone if until <= gone_by), limit))

    def catalogue(self, after: str, limit: int) -> Sequence[str]:
        """Return the ids of workflows, in order."""
        ids = (workflow_id for workflow_id in self._workflows if workflow_id != GLOBAL_WORKFLOW)
        return nsmallest(limit, (workflow_id for workflow_id in ids if workflow_id > after))

    def present(self, workflow_id: str, addresses: Collection[str], now_us: int) -> Mapping[str, bool]:
        """Return those of the addresses that hold a fresh entry, each with whether that is sensitive."""
        records = self._workflows[workflow_id].records
        there = (address for address in addresses if address in records and is_fresh(records[address], now_us))
        return {address: is_sensitive(records[address]) for address in there}

    # Workflows and entries -----------------------------------------------------------------------------------------

    def save(self, workflow: Workflow) -> None:
        """Keep a new workflow; one that was there has been changed in place."""
        self._workflows.setdefault(workflow.workflow_id, Contents(workflow))
        self.callings.call(moved(workflow.workflow_id))

    def store(self, workflow_id: str, records: Mapping[str, bytes]) -> None:
        """Write entries."""
        contents = self._workflows[workflow_id]
        for address, record in records.items():
            contents.put(address, record)

    def remove(self, workflow_id: str, addresses: Collection[str]) -> None:
        """Remove entries."""
        contents = self._workflows[workflow_id]
        for address in addresses:
            contents.drop(address)

    def write_log(self, workflow_id: str, record: fx.LogRecord, most: int) -> None:
        """Write a log record, and drop those before the last ``most``."""
        log = self._workflows[workflow_id].log
        log[record.revision] = record
        while len(log) > most:
            del log[next(iter(log))]

    def keep(self, workflow_id: str, values: Mapping[str, fx.Kept], most: int) -> None:
        """Keep values as history, and drop of each address those before the last ``most``."""
        history = self._workflows[workflow_id].history
        for address, value in values.items():
            history[address] = [value, *history.get(address, ())][:most]

    def rewrite(self, workflow_id: str, address: str, values: Sequence[fx.Kept]) -> None:
        """Write values kept of an address, each over the one of its version."""
        history = self._workflows[workflow_id].history
        anew = {value.until: value for value in values}
        history[address] = [anew.get(value.until, value) for value in history.get(address, ())]

    def forget_values(self, workflow_id: str, address: str, versions: Collection[int] | None = None) -> None:
        """Drop values kept of an address: of some versions, or all."""
        history = self._workflows[workflow_id].history
        kept = history.pop(address, ()) if versions is None else history.get(address, ())
        left = [value for value in kept if versions and decode_header(value.record).stamp.version not in versions]
        if left:
            history[address] = left
        else:
            history.pop(address, None)

    def drop(self, workflow_id: str) -> None:
        """Remove a workflow, its entries and log."""
        self._workflows.pop(workflow_id, None)
        self.callings.call(moved(workflow_id))
        judging = [name for name in self._due if name.kind == "judge" and name.workflow_id == workflow_id]
        self.clear_due(judging)  # of runs of other workflows

    # Runs and what they waited for ---------------------------------------------------------------------------------

    def save_run(self, workflow_id: str, run_id: str, run: Run) -> None:
        """Keep a run's attempt."""
        self._runs[workflow_id, run_id] = run

    def journal(self, workflow_id: str, place: Entry, journaled: Journaled, ends_us: int) -> None:
        """Remember an answer."""
        if place.call_id:
            self._calls.setdefault((workflow_id, place.owner), {})[place.call_id] = journaled
        else:
            self._places[workflow_id, place.owner] = (journaled, ends_us)

    # The inbox -------------------------------------------------------------------------------------------------------

    def updates(self, workflow_id: str, update_ids: Collection[str]) -> Mapping[str, StoredUpdate]:
        """Return those of the updates that are stored."""
        contents = self._workflows.get(workflow_id)
        return contents.updates.found(update_ids) if contents else {}

    def some_updates(self, workflow_id: str, after: str, limit: int) -> Sequence[StoredUpdate]:
        """Return stored updates in the order of their ids, those behind one."""
        return self._workflows[workflow_id].updates.some(after, limit)

    def first_queued(self, workflow_id: str, limit: int, max_bytes: int) -> Sequence[StoredUpdate]:
        """Return the updates at the first places, at least one if there is one."""
        return self._workflows[workflow_id].updates.first_queued(limit, max_bytes)

    def first_reminders(self, workflow_id: str, limit: int) -> Sequence[StoredUpdate]:
        """Return the updates of which the message is due again soonest."""
        return self._workflows[workflow_id].updates.first_reminders(limit)

    def dead(self, workflow_id: str, after: str, limit: int) -> Sequence[tuple[str, bytes]]:
        """Return dead letters in the order of their ids."""
        return self._workflows[workflow_id].updates.dead(after, limit)

    def count_dead(self, workflow_id: str) -> int:
        """Return how many dead letters there are."""
        return self._workflows[workflow_id].updates.count_dead()

    def save_update(self, workflow_id: str, update: StoredUpdate) -> None:
        """Write an update."""
        self._workflows[workflow_id].updates.save(update)

    def remove_updates(self, workflow_id: str, update_ids: Collection[str]) -> None:
        """Remove updates."""
        self._workflows[workflow_id].updates.remove(update_ids)

    def journaled(self, workflow_id: str, owners: Collection[str], now_us: int) -> Mapping[str, Answer]:
        """Return the answers of named operations."""
        found = {owner: self._journaled(workflow_id, Entry(owner, ""), now_us) for owner in owners}
        return {owner: journaled.answer for owner, journaled in found.items() if journaled is not None}

    def forget_answer(self, workflow_id: str, owner: str) -> None:
        """Drop the answer of a named operation."""
        self._places.pop((workflow_id, owner), None)

    # What is due, and the outbox -------------------------------------------------------------------------------------

    def due(self, until_us: int, limit: int) -> Sequence[tuple[int, Due]]:
        """Return what is due, the oldest first."""
        return nsmallest(limit, ((at, due) for due, at in self._due.items() if at <= until_us))

    def overdue(self, now_us: int) -> tuple[int, int]:
        """Return how much is due, and when the first of it was."""
        due = [at for at in self._due.values() if at <= now_us]
        return len(due), min(due, default=0)

    def outgoing(self) -> tuple[int, int]:
        """Return how many items the outbox has, and from when on the first may be taken."""
        return len(self._outbox), min((from_us for from_us, _ in self._outbox.values()), default=0)

    def set_due(self, due: Mapping[Due, int], *, sooner: bool = False) -> None:
        """Write when things are due."""
        for name, at in due.items():
            self._due[name] = min(at, self._due.get(name, at)) if sooner else at

    def clear_due(self, due: Iterable[Due]) -> None:
        """Let things be due no more."""
        for name in due:
            self._due.pop(name, None)

    def send(self, items: Iterable[fx.Outgoing], from_us: int) -> None:
        """Put messages in the outbox."""
        for item in items:
            self._outbox[item.item_id] = (from_us, item.message)

    def take(self, app: str, limit: int, until_us: int) -> Sequence[fx.Outgoing]:
        """Return items of an app, the oldest first, and hide them until then."""
        now = self.now()
        ours = (
            (from_us, item)
            for item, (from_us, _) in self._outbox.items()
            if from_us <= now and item.startswith(f"{app}\0")
        )
        taken = [fx.Outgoing(item, self._outbox[item][1]) for _, item in nsmallest(limit, ours)]
        self.send(taken, until_us)
        return taken

    def settle(self, item_ids: Collection[str]) -> None:
        """Remove items."""
        for item in item_ids:
            self._outbox.pop(item, None)

    def forget(self, limit: int) -> None:
        """Drop runs, journals, lanes and operations whose time is over."""
        now = self.now()
        for ended in [run for run, record in self._runs.items() if record.ends_us <= now][:limit]:
            del self._runs[ended]
            self._calls.pop(ended, None)
        for ended in [place for place, (_, ends_us) in self._places.items() if ends_us <= now][:limit]:
            del self._places[ended]
