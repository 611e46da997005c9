"""The engine's `State` over one transaction."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from ctxqueue import effects as fx
from ctxqueue.records import decode_header
from ctxqueue.stores.engine.entries import traits
from ctxqueue.stores.engine.held import NOTHING, Due, Held, Removable, Wanted
from ctxqueue.stores.sql import looking, packing, writing
from ctxqueue.stores.sql.audit import SqlAudit
from ctxqueue.stores.sql.gathering import guard_of
from ctxqueue.stores.sql.inbox import SqlInbox
from ctxqueue.stores.sql.nearest import SqlNearest
from ctxqueue.stores.sql.parking import SqlParking
from ctxqueue.stores.sql.pipelining import together
from ctxqueue.stores.sql.schema import calls, runs

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from sqlalchemy import Connection

    from ctxqueue.stores.engine.held import Entry, Journaled, Run, Workflow
    from ctxqueue.stores.sql.writing import Statements

NAMES_A_STATEMENT = 5_000
LOG_RECORDS_A_STATEMENT = 100
MOST = 2**31 - 2
"""What stands for everything: PostgreSQL's integers end there."""


class SqlState(SqlParking, SqlInbox, SqlNearest, SqlAudit):
    """A `State` over a connection that has no transaction yet; `commit` ends it."""

    def __init__(self, connection: Connection, namespace: str, statements: Statements) -> None:
        super().__init__(connection, namespace, statements)
        self._stale_runs: set[str] = set()
        self._guards: dict[str, tuple[Any, ...]] = {}
        """How the workflows that are held stood."""

    # Looking -----------------------------------------------------------------------------------------------------

    def _look(self, workflow_id: str, wanted: Wanted, *, held: bool = False) -> looking.Seen:
        look = looking.Look(
            bool(wanted.addresses),
            bool(wanted.present),
            bool(wanted.run),
            wanted.ready,
            wanted.call is not None,
            held=held,
        )
        parameters: dict[str, Any] = {"workflow_id": workflow_id}
        if wanted.addresses:
            parameters["addresses"] = list(wanted.addresses)
        if wanted.present:
            parameters["present"] = list(wanted.present)
        if wanted.run:
            parameters["run_id"] = wanted.run
        if wanted.call is not None:
            parameters["owner"], parameters["call_id"] = wanted.call
        rows = self._rows(looking.statement(self._dialect, look), **parameters)
        return looking.Seen(workflow_id, rows, time.time_ns() // 1_000)

    def see(self, workflow_id: str, addresses: Sequence[str], call: Entry | None = None) -> Held:
        """Return workflow, records and what a call was answered, of one revision, without holding them."""
        return self._look(workflow_id, Wanted(addresses, call=call)).held

    def page(self, effect: fx.LoadPage) -> tuple[Held, bool]:
        """Return the records of a page, in order, and whether there is more behind them."""
        rows = self._rows(
            looking.page(self._dialect, goes_on=bool(effect.after)),
            workflow_id=effect.workflow_id,
            first=effect.after or effect.prefix,
            end=effect.prefix.encode() + b"\xff",
            rows=min(effect.limit, MOST) + 1,
            bytes=min(effect.max_bytes, MOST),
        )
        seen = looking.Seen(effect.workflow_id, rows, time.time_ns() // 1_000)
        seen.held.records = dict(sorted(seen.held.records.items())[: effect.limit])
        return seen.held, seen.reached > len(seen.held.records)

    def hold(self, workflow_id: str, wanted: Wanted = NOTHING) -> Held:
        """Keep everybody else from a workflow, also from one that is not there, and look at it."""
        several = self._dialect == "postgresql"
        self._lock(workflow_id)
        seen = self._look(workflow_id, wanted, held=several)
        if several and not seen.locked:
            # There was no row to lock, even if there is one by now: somebody made the workflow after we had tried.
            # Whoever makes it holds this lock; so what is there now has a row, and what is not does not come.
            self._connection.execute(select(func.pg_advisory_xact_lock(_lock_of(self._namespace, workflow_id))))
            self._lock(workflow_id)
            seen = self._look(workflow_id, wanted, held=True)
        if seen.held.workflow is not None:
            self._guards[workflow_id] = guard_of(seen.held.workflow)
        if seen.stale_run:
            self._stale_runs.add(wanted.run)
        return seen.held

    def _lock(self, workflow_id: str) -> None:
        # SQLite's writer has the whole database already.
        if self._dialect == "postgresql":
            with together(self._connection):  # with the BEGIN
                self._connection.execute(writing.LOCK, self._here({"workflow_id": workflow_id}))

    def expiring(self, workflow_id: str, limit: int) -> Sequence[Removable]:
        """Return the entries that expire first."""
        return [Removable(*row) for row in self._rows(writing.EXPIRING, workflow_id=workflow_id, rows=limit)]

    def evictable(self, workflow_id: str, limit: int) -> Sequence[Removable]:
        """Return the entries that go first when room runs out."""
        return [Removable(*row) for row in self._rows(writing.EVICTABLE, workflow_id=workflow_id, rows=limit)]

    def edges(self, workflow_id: str) -> Mapping[str, tuple[str, ...]]:
        """Return the keys that addresses depend on."""
        rows = self._rows(writing.EDGES, workflow_id=workflow_id)
        return {address: packing.keys(packed) for address, packed in rows}

    def log(self, workflow_id: str, from_revision: int, limit: int, max_bytes: int) -> Sequence[fx.LogRecord]:
        """Return log records from a revision on, in order, at least one if there is one."""
        found: list[fx.LogRecord] = []
        size = 0
        while len(found) < limit and (not found or size <= max_bytes):
            most = min(LOG_RECORDS_A_STATEMENT, limit - len(found))
            rows = self._rows(writing.LOG, workflow_id=workflow_id, from_revision=from_revision, rows=most)
            for revision, packed in rows:
                if found and size > max_bytes:
                    return found
                found.append(packing.log(revision, packed))
                size += len(packed)
            if len(rows) < most:
                return found
            from_revision = found[-1].revision + 1
        return found

    def oldest_logged(self, workflow_id: str) -> int | None:
        """Return the oldest revision that the log has."""
        rows = self._rows(writing.OLDEST_LOGGED, workflow_id=workflow_id)
        return rows[0].revision if rows else None

    def count_log(self, workflow_id: str) -> int:
        """Return how many records the log has."""
        return int(self._rows(writing.COUNT_LOG, workflow_id=workflow_id)[0][0])

    def history(self, workflow_id: str, address: str, skip: int, max_bytes: int) -> tuple[Sequence[fx.Kept], bool]:
        """Return values kept of an address, newest first, at least one if there is one, and whether there are more."""
        place = {"workflow_id": workflow_id, "at_address": address}
        sizes = self._rows(writing.HISTORY_SIZES, **place)[skip:]
        taken, size = 0, 0
        while taken < len(sizes) and (not taken or size <= max_bytes):
            size += sizes[taken].size
            taken += 1
        if not taken:
            return [], False
        reach = {"newest": sizes[0].version, "oldest": sizes[taken - 1].version}
        return [fx.Kept(*row) for row in self._rows(writing.HISTORY, **place, **reach)], taken < len(sizes)

    def history_addresses(self, workflow_id: str, after: str, limit: int) -> Sequence[str]:
        """Return the addresses of which values are kept, in order."""
        rows = self._rows(writing.HISTORY_ADDRESSES, workflow_id=workflow_id, after=after, rows=limit)
        return [address for (address,) in rows]

    def gone(self, workflow_id: str, gone_by: int, limit: int) -> Sequence[str]:
        """Return addresses without an entry of which values are kept, none from after a revision."""
        rows = self._rows(writing.GONE, workflow_id=workflow_id, gone_by=gone_by, rows=limit)
        return [address for (address,) in rows]

    def catalogue(self, after: str, limit: int) -> Sequence[str]:
        """Return the ids of workflows, in order."""
        return [workflow_id for (workflow_id,) in self._rows(writing.CATALOGUE, after=after, rows=limit)]

    def present(self, workflow_id: str, addresses: Collection[str], now_us: int) -> Mapping[str, bool]:
        """Return those of the addresses that hold a fresh entry, each with whether that is sensitive."""
        found: dict[str, bool] = {}
        for some in _portions(addresses):
            rows = self._rows(writing.PRESENT, workflow_id=workflow_id, addresses=some, now_us=now_us)
            found.update((address, bool(sensitive)) for address, sensitive in rows)
        return found

    # Workflows and entries -----------------------------------------------------------------------------------------

    def save(self, workflow: Workflow) -> None:
        """Write where a workflow stands; a new one, too."""
        place = {"workflow_id": workflow.workflow_id}
        if workflow.workflow_id in self._guards:
            changing = {f"new_{name}": getattr(workflow, name) for name in writing.CHANGING}
            self._change(writing.SAVE, {**place, **changing})
        else:
            row = {column.name: getattr(workflow, column.name) for column in looking.HEAD}
            self._put(self._statements.workflow, [{**place, **row}])

    def store(self, workflow_id: str, records: Mapping[str, bytes]) -> None:
        """Write entries."""
        rows = []
        for address, record in records.items():
            has = traits(record)
            rows.append(
                {
                    **has._asdict(),
                    "workflow_id": workflow_id,
                    "address": address,
                    "depends_on": packing.pack(has.depends_on) if has.depends_on else None,
                    "record": record,
                }
            )
        self._put(self._statements.entry, rows)

    def remove(self, workflow_id: str, addresses: Collection[str]) -> None:
        """Remove entries."""
        self._change(writing.REMOVE, {"workflow_id": workflow_id, "addresses": list(addresses)})

    def write_log(self, workflow_id: str, record: fx.LogRecord, most: int) -> None:
        """Write a log record, and drop those before the last ``most``."""
        row = {"workflow_id": workflow_id, "revision": record.revision, "record": packing.pack_log(record)}
        self._put(self._statements.log, [row])
        if record.revision > most and not record.revision % max(1, most // 10):  # a tenth more may stand there
            self._change(writing.TRIM_LOG, {"workflow_id": workflow_id, "until_revision": record.revision - most})

    def keep(self, workflow_id: str, values: Mapping[str, fx.Kept], most: int) -> None:
        """Keep values as history, and drop of each address those before the last ``most``."""
        rows = [_kept_row(workflow_id, address, value) for address, value in values.items()]
        self._put(self._statements.value, rows)
        # An address that is at its tenth version has nine others at most.
        full = [row["address"] for row in rows if row["version"] > most]
        self._change(
            writing.TRIM_HISTORY,
            *({"workflow_id": workflow_id, "at_address": address, "most": most} for address in full),
        )

    def rewrite(self, workflow_id: str, address: str, values: Sequence[fx.Kept]) -> None:
        """Write values kept of an address, each over the one of its version."""
        self._put(self._statements.value, [_kept_row(workflow_id, address, value) for value in values])

    def forget_values(self, workflow_id: str, address: str, versions: Collection[int] | None = None) -> None:
        """Drop values kept of an address: of some versions, or all."""
        place = {"workflow_id": workflow_id, "at_address": address}
        if versions is None:
            self._change(writing.FORGET_VALUES, place)
        else:
            self._change(writing.FORGET_VERSIONS, {**place, "versions": list(versions)})

    def drop(self, workflow_id: str) -> None:
        """Remove a workflow, its entries and log; not its runs and their journals, which end by themselves."""
        for statement in (*writing.DROP, writing.FORGET_JUDGING):
            self._change(statement, {"workflow_id": workflow_id})

    # Runs and what they waited for ---------------------------------------------------------------------------------

    def save_run(self, workflow_id: str, run_id: str, run: Run) -> None:
        """Write a run's attempt."""
        if run_id in self._stale_runs:
            self._change(writing.FORGET_CALLS, {"workflow_id": workflow_id, "run_id": run_id})
        row = {"workflow_id": workflow_id, "run_id": run_id, "ends_us": run.ends_us, "run": packing.pack(run)}
        self._put(self._statements.run, [row])

    def journal(self, workflow_id: str, place: Entry, journaled: Journaled, ends_us: int) -> None:
        """Remember an answer; until its run is forgotten, or if it has a place of its own until ``ends_us``."""
        row = {
            "workflow_id": workflow_id,
            "owner": place.owner,
            "call_id": place.call_id,
            "number": journaled.number,
            "ends_us": None if place.call_id else ends_us,
            "answer": packing.pack(journaled.answer),
        }
        self._put(self._statements.call, [row])

    # What is due, and the outbox -------------------------------------------------------------------------------------

    def due(self, until_us: int, limit: int) -> Sequence[tuple[int, Due]]:
        """Return what is due, the oldest first."""
        return [(at, Due(*name)) for at, *name in self._rows(writing.DUE, until_us=until_us, rows=limit)]

    def overdue(self, now_us: int) -> tuple[int, int]:
        """Return how much is due, and when the first of it was."""
        ((count, first),) = self._rows(writing.OVERDUE, until_us=now_us)
        return count, first

    def outgoing(self) -> tuple[int, int]:
        """Return how many items the outbox has, and from when on the first may be taken."""
        ((count, first),) = self._rows(writing.OUTGOING)
        return count, first

    def set_due(self, due: Mapping[Due, int], *, sooner: bool = False) -> None:
        """Write when things are due; ``sooner``: unless they are due before that."""
        statement = self._statements.due_sooner if sooner else self._statements.due
        self._put(statement, ({**name._asdict(), "due_us": at} for name, at in due.items()))

    def clear_due(self, due: Iterable[Due]) -> None:
        """Let things be due no more."""
        rows = ({"of_kind": name.kind, "of_workflow": name.workflow_id, "of_detail": name.detail} for name in due)
        self._change(writing.CLEAR_DUE, *rows)

    def send(self, items: Iterable[fx.Outgoing], from_us: int) -> None:
        """Put messages in the outbox, to be taken from then on. An item's id begins with its app."""
        rows = (
            {
                "item_id": item.item_id,
                "app": item.item_id.partition("\0")[0],
                "from_us": from_us,
                "message": item.message,
            }
            for item in items
        )
        self._put(self._statements.item, rows)

    def take(self, app: str, limit: int, until_us: int) -> Sequence[fx.Outgoing]:
        """Return items of an app that may be taken now, the oldest first, and hide them until then."""
        rows = self._rows(self._statements.takeable, of_app=app, now_us=self.now(), rows=limit)
        taken = [fx.Outgoing(item_id, message) for item_id, message in rows]
        if taken:
            self._change(writing.HIDE, {"items": [item.item_id for item in taken], "until_us": until_us})
        return taken

    def settle(self, item_ids: Collection[str]) -> None:
        """Remove items."""
        self._change(writing.SETTLE, {"items": sorted(item_ids)})

    def forget(self, limit: int) -> None:
        """Drop runs, journals, lanes and operations whose time is over."""
        now = self.now()
        for workflow_id, run_id in self._rows(self._statements.endings[runs], now_us=now, rows=limit):
            row = {"workflow_id": workflow_id, "run_id": run_id}
            self._change(writing.FORGET_RUN, row)
            self._change(writing.FORGET_CALLS, row)
        places = self._rows(self._statements.endings[calls], now_us=now, rows=limit)
        rows = ({"workflow_id": workflow, "of_owner": owner, "of_call": call} for workflow, owner, call in places)
        self._change(writing.FORGET_PLACE, *rows)


def _portions(names: Collection[str]) -> Iterator[list[str]]:
    listed = list(names)
    for first in range(0, len(listed), NAMES_A_STATEMENT):
        yield listed[first : first + NAMES_A_STATEMENT]


def _lock_of(namespace: str, workflow_id: str) -> int:
    digest = hashlib.blake2b(f"{namespace}\0{workflow_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, signed=True)


def _kept_row(workflow_id: str, address: str, value: fx.Kept) -> dict[str, Any]:
    return {
        "workflow_id": workflow_id,
        "address": address,
        "version": decode_header(value.record).stamp.version,
        "until": value.until,
        "size": len(value.record),
        "record": value.record,
    }
