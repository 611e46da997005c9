"""The statements that write, and those that read what is indexed by something else than a workflow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, Integer, String, bindparam, case, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from ctxqueue.stores.sql.looking import NAMESPACE, here
from ctxqueue.stores.sql.schema import Name, calls, due, entries, outbox, parked, runs, waiters, workflows

if TYPE_CHECKING:
    from sqlalchemy import Delete, Select, Table, Update


def _several(name: str) -> Any:
    return bindparam(name, expanding=True, type_=Name)


class Statements:
    """For one dialect; built once."""

    def __init__(self, dialect: str) -> None:
        self._insert: Any = postgresql.insert if dialect == "postgresql" else sqlite.insert
        self.workflow = self._upsert(workflows)
        self.entry = self._upsert(entries)
        self.run = self._upsert(runs)
        self.call = self._upsert(calls)
        self.parked = self._upsert(parked)
        self.waiter = self._insert(waiters).on_conflict_do_nothing()
        self.due = self._upsert(due)
        self.item = self._upsert(outbox)
        self.due_sooner = self._insert(due)
        sooner = self.due_sooner.excluded.due_us
        self.due_sooner = self.due_sooner.on_conflict_do_update(
            index_elements=list(due.primary_key),
            set_={"due_us": case((sooner < due.c.due_us, sooner), else_=due.c.due_us)},
        )
        self.takeable = _takeable(lock=dialect == "postgresql")
        self.endings = {table: _ending(table, lock=dialect == "postgresql") for table in (runs, calls)}

    def _upsert(self, table: Table) -> Any:
        made = self._insert(table)
        rest = {column.name: made.excluded[column.name] for column in table.c if not column.primary_key}
        return made.on_conflict_do_update(index_elements=list(table.primary_key), set_=rest)


LOCK = select(workflows.c.workflow_id).where(here(workflows)).with_for_update()

REMOVE = delete(entries).where(here(entries), entries.c.address.in_(_several("addresses")))
EXPIRING = (
    select(entries.c.expires_us, entries.c.address, entries.c.version, entries.c.size)
    .where(here(entries), entries.c.expires_us.is_not(None))
    .order_by(entries.c.expires_us, entries.c.address)
    .limit(bindparam("rows", type_=Integer))
)
PRESENT = select(entries.c.address).where(
    here(entries),
    entries.c.address.in_(_several("addresses")),
    entries.c.expires_us.is_(None) | (entries.c.expires_us > bindparam("now_us", type_=BigInteger)),
)
FORGET_CALLS = delete(calls).where(here(calls), calls.c.owner == bindparam("run_id", type_=Name))

WAITING = (
    select(waiters.c.address, waiters.c.run_id)
    .where(here(waiters), waiters.c.address.in_(_several("addresses")))
    .order_by(waiters.c.address, waiters.c.run_id)
    .limit(bindparam("rows", type_=Integer))
)
PARKED = select(parked.c.run_id, parked.c.parked).where(here(parked), parked.c.run_id.in_(_several("runs")))
UNPARK = delete(parked).where(here(parked), parked.c.run_id.in_(_several("runs")))
UNREGISTER = delete(waiters).where(here(waiters), waiters.c.run_id.in_(_several("runs")))

DUE = (
    select(due.c.due_us, due.c.kind, due.c.workflow_id, due.c.detail)
    .where(due.c.namespace == NAMESPACE, due.c.due_us <= bindparam("until_us", type_=BigInteger))
    .order_by(due.c.due_us, due.c.kind, due.c.workflow_id, due.c.detail)
    .limit(bindparam("rows", type_=Integer))
)
CLEAR_DUE = delete(due).where(
    due.c.namespace == NAMESPACE,
    due.c.kind == bindparam("of_kind", type_=String),
    due.c.workflow_id == bindparam("of_workflow", type_=Name),
    due.c.detail == bindparam("of_detail", type_=Name),
)

HIDE: Update = (
    update(outbox)
    .where(outbox.c.namespace == NAMESPACE, outbox.c.item_id.in_(_several("items")))
    .values(from_us=bindparam("until_us", type_=BigInteger))
)
SETTLE: Delete = delete(outbox).where(outbox.c.namespace == NAMESPACE, outbox.c.item_id.in_(_several("items")))


def _takeable(*, lock: bool) -> Select[Any]:
    statement = (
        select(outbox.c.item_id, outbox.c.message)
        .where(
            outbox.c.namespace == NAMESPACE,
            outbox.c.app == bindparam("of_app", type_=Name),
            outbox.c.from_us <= bindparam("now_us", type_=BigInteger),
        )
        .order_by(outbox.c.from_us, outbox.c.item_id)
        .limit(bindparam("rows", type_=Integer))
    )
    return statement.with_for_update(skip_locked=True) if lock else statement


def _ending(table: Table, *, lock: bool) -> Select[Any]:
    key = [column for column in table.primary_key if column.name != "namespace"]
    statement = (
        select(*key)
        .where(table.c.namespace == NAMESPACE, table.c.ends_us <= bindparam("now_us", type_=BigInteger))
        .order_by(table.c.ends_us)
        .limit(bindparam("rows", type_=Integer))
    )
    return statement.with_for_update(skip_locked=True) if lock else statement


FORGET_RUN = delete(runs).where(here(runs), runs.c.run_id == bindparam("run_id", type_=Name))
FORGET_PLACE = delete(calls).where(
    here(calls), calls.c.owner == bindparam("of_owner", type_=Name), calls.c.call_id == bindparam("of_call", type_=Name)
)
