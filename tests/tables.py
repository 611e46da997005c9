"""What may stand in a SQL database after a test: rows that fit together, and end by themselves or with a workflow."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import delete, func, select

from ctxqueue.records import decode_header
from ctxqueue.rules.dependencies import AFAR
from ctxqueue.stores.engine import inbox
from ctxqueue.stores.engine.entries import traits
from ctxqueue.stores.sql import connecting, packing
from ctxqueue.stores.sql.schema import (
    calls,
    due,
    entries,
    guards,
    history,
    log,
    memories,
    memories_removed,
    memory_owners,
    metadata,
    notices,
    parked,
    ready,
    runs,
    triggers,
    updates,
    waiters,
    workflows,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine


@lru_cache(maxsize=8)
def _engine(url: str) -> Engine:
    """Return an engine; one that is disposed of keeps what it has compiled, and serves again."""
    return connecting.blocking_engine(connecting.checked_url(url))


def emptied(url: str) -> None:
    """Remove every row of ours."""
    engine = _engine(url)
    with engine.begin() as connection:
        for table in metadata.sorted_tables:
            connection.execute(delete(table))
    engine.dispose()


def objections(url: str) -> list[str]:
    """Return what should not be there, or does not fit together."""
    engine = _engine(url)
    with engine.connect() as connection:
        found = [text for check in CHECKS for text in check(connection)]
    engine.dispose()
    return found


def _of_workflows(connection: Connection) -> Iterator[str]:
    there = {(row.namespace, row.workflow_id): row for row in connection.execute(select(workflows))}
    held: dict[tuple[str, str], list[Any]] = {place: [] for place in there}
    for row in connection.execute(select(entries)):
        if (row.namespace, row.workflow_id) not in there:
            yield f"an entry of {row.workflow_id!r}, which is not there"
            continue
        held[row.namespace, row.workflow_id].append(row)
        header, has = decode_header(row.record), traits(row.record)
        columns = (row.version, row.size, row.expires_us, row.evict_order, row.sensitive)
        if columns != has[:5] or packing.keys(row.depends_on or b"\x90") != has.depends_on:
            yield f"{row.address!r}: its columns are not those of the record"
        if header.revision > there[row.namespace, row.workflow_id].revision:
            yield f"{row.address!r} is of a later revision than its workflow"
    first_due = {
        (row.namespace, row.workflow_id): row.due_us for row in connection.execute(select(due)) if row.kind == "expiry"
    }
    waiting = {
        (namespace, workflow): count
        for namespace, workflow, count in connection.execute(
            select(parked.c.namespace, parked.c.workflow_id, func.count()).group_by(
                parked.c.namespace, parked.c.workflow_id
            )
        )
    }
    for place, workflow in there.items():
        counted = (len(held[place]), sum(row.size for row in held[place]), waiting.get(place, 0))
        if counted != (workflow.entries, workflow.size, workflow.parked):
            yield f"{place}: entries, bytes and parked runs are {counted}, not as its row says"
        expiries = [row.expires_us for row in held[place] if row.expires_us]
        if expiries and first_due.get(place, float("inf")) > min(expiries):
            yield f"{place}: its first expiry is not due in time"


def _of_parked(connection: Connection) -> Iterator[str]:
    registered = {tuple(row) for row in connection.execute(select(waiters)) if not row.run_id.startswith(AFAR)}
    witnesses = set()
    deadlines = {
        (row.namespace, row.workflow_id, row.detail): row.due_us
        for row in connection.execute(select(due).where(due.c.kind == "deadline"))
    }
    judged = {
        (row.namespace, row.workflow_id, row.detail)
        for row in connection.execute(select(due).where(due.c.kind == "judge"))
    }
    on_record = {(row.namespace, row.workflow_id, row.trigger_id) for row in connection.execute(select(triggers))}
    for row in connection.execute(select(parked)):
        kept = packing.parked(row.parked)
        witnesses |= {(row.namespace, row.workflow_id, address, row.run_id) for address in kept.witness}
        place = (row.namespace, row.workflow_id, row.run_id)
        if deadlines.get(place, 0) != kept.deadline_us:
            yield f"the deadline of {row.run_id!r} is not due"
        if kept.judge and not kept.witness and len(kept.condition) > 1 and place not in judged:
            yield f"{row.run_id!r} was told of a write and is not to be judged"
        if (kept.late_message or kept.repeats) and place not in on_record:
            yield f"trigger {row.run_id!r} is armed and not on record"
    if registered != witnesses:
        yield f"waiters {registered - witnesses} belong to no run; {witnesses - registered} are not registered"


def _of_ready(connection: Connection) -> Iterator[str]:
    kept = {(row.namespace, row.workflow_id, row.run_id) for row in connection.execute(select(ready))}
    rows = connection.execute(select(due).where(due.c.kind == "ready"))
    again = {(row.namespace, row.workflow_id, row.detail) for row in rows}
    if kept != again:
        yield f"messages of {kept - again} are never sent again; {again - kept} have none"


def _of_histories(connection: Connection) -> Iterator[str]:
    there = {(row.namespace, row.workflow_id): row.revision for row in connection.execute(select(workflows))}
    for table in (log, history, guards, entries, parked, waiters, triggers, notices, updates):
        for place in connection.execute(select(table.c.namespace, table.c.workflow_id).distinct()):
            if tuple(place) not in there:
                yield f"{table.name} has rows of {place}, which is not there"
    for row in connection.execute(select(history)):
        if (row.version, row.size) != (decode_header(row.record).stamp.version, len(row.record)):
            yield f"a kept value of {row.address!r}: its columns are not those of the record"
    newest = connection.execute(
        select(log.c.namespace, log.c.workflow_id, func.max(log.c.revision)).group_by(
            log.c.namespace, log.c.workflow_id
        )
    )
    for namespace, workflow, revision in newest:
        if there.get((namespace, workflow)) != revision:
            yield f"the log of {workflow!r} ends at {revision}"


def _of_due(connection: Connection) -> Iterator[str]:
    there = set(connection.execute(select(workflows.c.workflow_id)).scalars())
    for row in connection.execute(select(due)):
        if row.kind not in {
            "expiry",
            "deadline",
            "standby",
            "ready",
            "fan_out",
            "judge",
            "idle",
            "end",
            "inbox",
            "updates",
        }:
            yield f"{row.kind} is due, which nobody knows"
        elif row.kind not in {"standby", "ready"} and row.workflow_id not in there:
            yield f"{row.kind} is due in {row.workflow_id!r}, which is not there"


def _of_calls(connection: Connection) -> Iterator[str]:
    known = {(row.namespace, row.workflow_id, row.run_id): row for row in connection.execute(select(runs))}
    counted = dict.fromkeys(known, 0)
    for row in connection.execute(select(calls)):
        place = (row.namespace, row.workflow_id, row.owner)
        if row.ends_us is None and place not in known:
            yield f"a call of {row.owner!r} that would never be forgotten"
        elif row.ends_us is None:
            counted[place] += 1
    for place, row in known.items():
        if packing.run(row.run).calls != counted[place]:
            yield f"{place}: its journal has {counted[place]} calls, not as its record says"


def _of_inboxes(connection: Connection) -> Iterator[str]:
    due_us = {(row.namespace, row.workflow_id, row.kind): row.due_us for row in connection.execute(select(due))}
    held: dict[tuple[str, str], list[Any]] = {}
    for row in connection.execute(select(updates)):
        held.setdefault((row.namespace, row.workflow_id), []).append(row)
        if [row.place, row.remind_us, row.about].count(None) != 2:
            yield f"{row.update_id!r} is not one of queued, to be sent again, and dead"
    for row in connection.execute(select(workflows)):
        place = (row.namespace, row.workflow_id)
        stored = held.get(place, [])
        box = inbox.of(cast("Any", row))
        queued = [update.place for update in stored if update.place is not None]
        if (box.stored, box.queued) != (len(stored), len(queued)):
            yield f"{place}: its inbox holds {len(stored)} updates, {len(queued)} queued, not as its row says"
        if queued and (*place, "inbox") not in due_us:
            yield f"{place}: updates wait for a drain that nobody announces"
        reminders = [update.remind_us for update in stored if update.remind_us is not None]
        if reminders and due_us.get((*place, "updates"), float("inf")) > min(reminders):
            yield f"{place}: the first stored update is not due in time"


def _of_memories(connection: Connection) -> Iterator[str]:
    there = {(row.namespace, row.owner): row for row in connection.execute(select(memory_owners))}
    rows = list(connection.execute(select(memories)))
    removed = list(connection.execute(select(memories_removed)))
    for row in (*rows, *removed):
        owner = there.get((row.namespace, row.owner))
        if owner is None:
            yield f"memory {row.memory_id!r} of an owner who is not there"
        elif row.number > owner.number:
            yield f"memory {row.memory_id!r} is numbered above its owner's newest change"
    numbers = [(row.namespace, row.owner, row.number) for row in (*rows, *removed)]
    if len(numbers) != len(set(numbers)):
        yield "two changes of an owner have one number"
    if {(row.owner, row.memory_id) for row in rows} & {(row.owner, row.memory_id) for row in removed}:
        yield "a memory is there and removed"
    for namespace, owner in there.keys() - {(row.namespace, row.owner) for row in rows}:
        yield f"owner {owner!r} of {namespace} has no memory"


CHECKS = (
    _of_memories,
    _of_inboxes,
    _of_workflows,
    _of_parked,
    _of_ready,
    _of_histories,
    _of_due,
    _of_calls,
)
