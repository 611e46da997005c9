"""The statements that write, and those that read what is indexed by something else than a workflow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, Integer, String, bindparam, case, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from ctxqueue.models import GLOBAL_WORKFLOW
from ctxqueue.rules.dependencies import OF_PREFIX
from ctxqueue.stores.sql.looking import HELD, NAMESPACE, here
from ctxqueue.stores.sql.schema import (
    Name,
    audit,
    calls,
    due,
    entries,
    guards,
    history,
    log,
    memories,
    memories_removed,
    memory_names,
    memory_owners,
    notices,
    outbox,
    parked,
    policies,
    ready,
    runs,
    triggers,
    updates,
    waiters,
    workflows,
)

if TYPE_CHECKING:
    from sqlalchemy import Column, Delete, Select, Table, Update


def _several(name: str) -> Any:
    return bindparam(name, expanding=True, type_=Name)


class Statements:
    """For one dialect; built once."""

    def __init__(self, dialect: str) -> None:
        self._insert: Any = postgresql.insert if dialect == "postgresql" else sqlite.insert
        self.workflow = self._upsert(workflows)
        self.entry = self._upsert(entries)
        self.log = self._upsert(log)
        self.value = self._upsert(history)
        self.guard = self._upsert(guards)
        self.run = self._upsert(runs)
        self.call = self._upsert(calls)
        self.parked = self._upsert(parked)
        self.ready = self._upsert(ready)
        self.trigger = self._upsert(triggers)
        self.notice = self._upsert(notices)
        self.waiter = self._insert(waiters).on_conflict_do_nothing()
        self.update = self._upsert(updates)
        self.due = self._upsert(due)
        self.item = self._upsert(outbox)
        self.memory_owner = self._upsert(memory_owners)
        self.memory_name = self._upsert(memory_names)
        self.memory = self._upsert(memories)
        self.memory_removed = self._upsert(memories_removed)
        self.audit = self._insert(audit).on_conflict_do_nothing()
        self.policy = self._upsert(policies)
        self.due_sooner = self._insert(due)
        sooner = self.due_sooner.excluded.due_us
        self.due_sooner = self.due_sooner.on_conflict_do_update(
            index_elements=list(due.primary_key),
            set_={"due_us": case((sooner < due.c.due_us, sooner), else_=due.c.due_us)},
        )
        self.tables: dict[Any, Any] = {
            self.entry: entries,
            self.log: log,
            self.value: history,
            self.run: runs,
            self.call: calls,
            self.due_sooner: due,
        }
        """The tables that the statements of a usual commit write."""
        self.takeable = _takeable(lock=dialect == "postgresql")
        self.endings = {table: _ending(table, lock=dialect == "postgresql") for table in (runs, calls)}

    def _upsert(self, table: Table) -> Any:
        made = self._insert(table)
        rest = {column.name: made.excluded[column.name] for column in table.c if not column.primary_key}
        return made.on_conflict_do_update(index_elements=list(table.primary_key), set_=rest)


_locked = select(workflows.c.incarnation).where(here(workflows)).with_for_update().subquery()
LOCK = select(func.set_config(HELD, _locked.c.incarnation, True))  # noqa: FBT003 - SQL's; until the transaction ends
"""Keeps a workflow's row from others, and notes of which incarnation it was. Nobody looks at its rows."""

CHANGING = tuple(
    column.name
    for column in workflows.c
    if not column.primary_key and column.name not in ("incarnation", "created_us", "metadata")
)
"""What changes of a workflow while it lives."""
SAVE = (
    update(workflows)
    .where(here(workflows))
    .values({name: bindparam(f"new_{name}", type_=workflows.c[name].type) for name in CHANGING})
)

REMOVE = delete(entries).where(here(entries), entries.c.address.in_(_several("addresses")))


def _removable(order: Column[Any]) -> Select[Any]:
    return (
        select(order, entries.c.address, entries.c.version, entries.c.size, entries.c.sensitive)
        .where(here(entries), order.is_not(None))
        .order_by(order, entries.c.address)
        .limit(bindparam("rows", type_=Integer))
    )


EXPIRING = _removable(entries.c.expires_us)
EVICTABLE = _removable(entries.c.evict_order)
EDGES = select(entries.c.address, entries.c.depends_on).where(here(entries), entries.c.depends_on.is_not(None))
PRESENT = select(entries.c.address, entries.c.sensitive).where(
    here(entries),
    entries.c.address.in_(_several("addresses")),
    entries.c.expires_us.is_(None) | (entries.c.expires_us > bindparam("now_us", type_=BigInteger)),
)
FORGET_CALLS = delete(calls).where(here(calls), calls.c.owner == bindparam("run_id", type_=Name))

LOG = (
    select(log.c.revision, log.c.record)
    .where(here(log), log.c.revision >= bindparam("from_revision", type_=BigInteger))
    .order_by(log.c.revision)
    .limit(bindparam("rows", type_=Integer))
)
OLDEST_LOGGED = select(log.c.revision).where(here(log)).order_by(log.c.revision).limit(1)
COUNT_LOG = select(func.count()).select_from(log).where(here(log))
TRIM_LOG = delete(log).where(here(log), log.c.revision <= bindparam("until_revision", type_=BigInteger))

_address = history.c.address == bindparam("at_address", type_=Name)
HISTORY_SIZES = (
    select(history.c.version, history.c.size).where(here(history), _address).order_by(history.c.version.desc())
)
HISTORY = (
    select(history.c.until, history.c.record)
    .where(
        here(history),
        _address,
        history.c.version <= bindparam("newest", type_=BigInteger),
        history.c.version >= bindparam("oldest", type_=BigInteger),
    )
    .order_by(history.c.version.desc())
)
HISTORY_ADDRESSES = (
    select(history.c.address)
    .where(here(history), history.c.address > bindparam("after", type_=Name))
    .distinct()
    .order_by(history.c.address)
    .limit(bindparam("rows", type_=Integer))
)
GONE = (
    select(history.c.address)
    .where(
        here(history),
        ~select(entries.c.address).where(here(entries), entries.c.address == history.c.address).exists(),
    )
    .group_by(history.c.address)
    .having(func.max(history.c.until) <= bindparam("gone_by", type_=BigInteger))
    .limit(bindparam("rows", type_=Integer))
)
TRIM_HISTORY = delete(history).where(
    here(history),
    _address,
    history.c.version
    <= select(history.c.version)
    .where(here(history), _address)
    .order_by(history.c.version.desc())
    .limit(1)
    .offset(bindparam("most", type_=Integer))
    .scalar_subquery(),
)
FORGET_VALUES = delete(history).where(here(history), _address)
FORGET_VERSIONS = FORGET_VALUES.where(history.c.version.in_(bindparam("versions", expanding=True, type_=BigInteger)))

CATALOGUE = (
    select(workflows.c.workflow_id)
    .where(
        workflows.c.namespace == NAMESPACE,
        workflows.c.workflow_id > bindparam("after", type_=Name),
        workflows.c.workflow_id != GLOBAL_WORKFLOW,
    )
    .order_by(workflows.c.workflow_id)
    .limit(bindparam("rows", type_=Integer))
)
DROP = tuple(
    delete(table).where(here(table))
    for table in (entries, log, history, guards, parked, waiters, triggers, notices, updates, workflows)
)
FORGET_JUDGING = delete(due).where(here(due), due.c.kind == "judge")

READY = select(ready.c.run_id, ready.c.ready).where(here(ready), ready.c.run_id.in_(_several("runs")))
ANY_READY = select(ready.c.run_id).where(here(ready)).limit(1)
DROP_READY = delete(ready).where(here(ready), ready.c.run_id == bindparam("of_run", type_=Name))

GUARDED = (
    select(guards.c.condition)
    .distinct()
    .where(here(guards), guards.c.until_us > bindparam("now_us", type_=BigInteger))
    .limit(bindparam("rows", type_=Integer))
)
FORGET_GUARDS = delete(guards).where(here(guards), guards.c.until_us <= bindparam("now_us", type_=BigInteger))

WAITING = (
    select(waiters.c.address, waiters.c.run_id)
    .where(here(waiters), waiters.c.address.in_(_several("addresses")))
    .order_by(waiters.c.address, waiters.c.run_id)
    .limit(bindparam("rows", type_=Integer))
)
REGISTERED = select(waiters.c.address).where(here(waiters), waiters.c.run_id == bindparam("of_run", type_=Name))
PREFIXES = (
    select(waiters.c.address)
    .where(here(waiters), waiters.c.address >= OF_PREFIX, waiters.c.address < chr(ord(OF_PREFIX) + 1))
    .distinct()
)
TRIGGER = select(triggers.c.trigger).where(here(triggers), triggers.c.trigger_id == bindparam("trigger", type_=Name))
TRIGGERS = (
    select(triggers.c.trigger_id, triggers.c.trigger)
    .where(here(triggers), triggers.c.trigger_id > bindparam("after", type_=Name))
    .order_by(triggers.c.trigger_id)
    .limit(bindparam("rows", type_=Integer))
)
NOTICES = select(notices.c.notices).where(here(notices), notices.c.agent_id == bindparam("of_agent", type_=Name))
COUNT_PARKED = (
    select(func.count())
    .select_from(parked)
    .where(
        here(parked),
        parked.c.run_id >= bindparam("begins", type_=Name),
        parked.c.run_id < bindparam("end", type_=Name),
    )
)
COUNT_TRIGGERS = select(func.count()).select_from(triggers).where(here(triggers))
DROP_TRIGGER = delete(triggers).where(here(triggers), triggers.c.trigger_id == bindparam("of_trigger", type_=Name))
TRIM_TRIGGERS = delete(triggers).where(
    here(triggers),
    triggers.c.trigger_id.in_(
        select(triggers.c.trigger_id)
        .where(here(triggers), triggers.c.ended_us.is_not(None))
        .order_by(triggers.c.ended_us.desc(), triggers.c.trigger_id.desc())
        .offset(bindparam("most", type_=Integer))
        .scalar_subquery()
    ),
)
PARKED = select(parked.c.run_id, parked.c.parked).where(here(parked), parked.c.run_id.in_(_several("runs")))
SOME_PARKED = (
    select(parked.c.run_id, parked.c.parked)
    .where(here(parked), parked.c.run_id > bindparam("after", type_=Name))
    .order_by(parked.c.run_id)
    .limit(bindparam("rows", type_=Integer))
)
UNPARK = delete(parked).where(here(parked), parked.c.run_id.in_(_several("runs")))
UNREGISTER = delete(waiters).where(here(waiters), waiters.c.run_id.in_(_several("runs")))

DUE = (
    select(due.c.due_us, due.c.kind, due.c.workflow_id, due.c.detail)
    .where(due.c.namespace == NAMESPACE, due.c.due_us <= bindparam("until_us", type_=BigInteger))
    .order_by(due.c.due_us, due.c.kind, due.c.workflow_id, due.c.detail)
    .limit(bindparam("rows", type_=Integer))
)
OVERDUE = select(func.count(), func.coalesce(func.min(due.c.due_us), 0)).where(
    due.c.namespace == NAMESPACE, due.c.due_us <= bindparam("until_us", type_=BigInteger)
)
OUTGOING = select(func.count(), func.coalesce(func.min(outbox.c.from_us), 0)).where(outbox.c.namespace == NAMESPACE)
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
