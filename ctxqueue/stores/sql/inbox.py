"""The part of a transaction's state that is about stored updates, and its statements."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, Integer, bindparam, delete, func, select

from ctxqueue.stores.engine.held import Answer, StoredUpdate
from ctxqueue.stores.sql import packing
from ctxqueue.stores.sql.looking import here
from ctxqueue.stores.sql.schema import Name, calls, updates
from ctxqueue.stores.sql.transaction import Transaction

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from sqlalchemy import Select


COLUMNS = tuple(updates.c[name] for name in StoredUpdate.__struct_fields__)
_rows_wanted = bindparam("rows", type_=Integer)


def _names(name: str) -> Any:
    return bindparam(name, expanding=True, type_=Name)


def _first(column: str) -> Select[Any]:
    order = updates.c[column]
    return (
        select(*COLUMNS)
        .where(here(updates), order.is_not(None))
        .order_by(order, updates.c.update_id)
        .limit(_rows_wanted)
    )


STORED = select(*COLUMNS).where(here(updates), updates.c.update_id.in_(_names("update_ids")))
SIZES = (
    select(func.length(updates.c.payload))
    .where(here(updates), updates.c.place.is_not(None))
    .order_by(updates.c.place)
    .limit(_rows_wanted)
)
QUEUED = _first("place")
SOME = (
    select(*COLUMNS)
    .where(here(updates), updates.c.update_id > bindparam("after", type_=Name))
    .order_by(updates.c.update_id)
    .limit(_rows_wanted)
)
REMINDERS = _first("remind_us")
DEAD = (
    select(updates.c.update_id, updates.c.about)
    .where(here(updates), updates.c.about.is_not(None), updates.c.update_id > bindparam("after", type_=Name))
    .order_by(updates.c.update_id)
    .limit(_rows_wanted)
)
COUNT_DEAD = select(func.count()).select_from(updates).where(here(updates), updates.c.about.is_not(None))
REMOVE = delete(updates).where(here(updates), updates.c.update_id.in_(_names("update_ids")))
ANSWERS = select(calls.c.owner, calls.c.answer).where(
    here(calls),
    calls.c.owner.in_(_names("owners")),
    calls.c.call_id == "",
    calls.c.ends_us > bindparam("now_us", type_=BigInteger),
)
FORGET_ANSWER = delete(calls).where(
    here(calls), calls.c.owner == bindparam("of_owner", type_=Name), calls.c.call_id == ""
)


class SqlInbox(Transaction):
    """What a `SqlState` does with stored updates."""

    def updates(self, workflow_id: str, update_ids: Collection[str]) -> Mapping[str, StoredUpdate]:
        """Return those of the updates that are stored."""
        if not update_ids:
            return {}
        rows = self._rows(STORED, workflow_id=workflow_id, update_ids=list(update_ids))
        return {row.update_id: StoredUpdate(*row) for row in rows}

    def some_updates(self, workflow_id: str, after: str, limit: int) -> Sequence[StoredUpdate]:
        """Return stored updates in the order of their ids, those behind one."""
        return [StoredUpdate(*row) for row in self._rows(SOME, workflow_id=workflow_id, after=after, rows=limit)]

    def first_queued(self, workflow_id: str, limit: int, max_bytes: int) -> Sequence[StoredUpdate]:
        """Return the updates at the first places, at least one if there is one."""
        taken, size = 0, 0
        for (length,) in self._rows(SIZES, workflow_id=workflow_id, rows=limit):
            size += length
            if taken and size > max_bytes:
                break
            taken += 1
        return [StoredUpdate(*row) for row in self._rows(QUEUED, workflow_id=workflow_id, rows=taken)]

    def first_reminders(self, workflow_id: str, limit: int) -> Sequence[StoredUpdate]:
        """Return the updates of which the message is due again soonest."""
        return [StoredUpdate(*row) for row in self._rows(REMINDERS, workflow_id=workflow_id, rows=limit)]

    def dead(self, workflow_id: str, after: str, limit: int) -> Sequence[tuple[str, bytes]]:
        """Return dead letters in the order of their ids."""
        rows = self._rows(DEAD, workflow_id=workflow_id, after=after, rows=limit)
        return [(update_id, about) for update_id, about in rows]

    def count_dead(self, workflow_id: str) -> int:
        """Return how many dead letters there are."""
        return int(self._rows(COUNT_DEAD, workflow_id=workflow_id)[0][0])

    def save_update(self, workflow_id: str, update: StoredUpdate) -> None:
        """Write an update."""
        row = {name: getattr(update, name) for name in StoredUpdate.__struct_fields__}
        self._put(self._statements.update, [{"workflow_id": workflow_id, **row}])

    def remove_updates(self, workflow_id: str, update_ids: Collection[str]) -> None:
        """Remove updates."""
        self._change(REMOVE, {"workflow_id": workflow_id, "update_ids": list(update_ids)})

    def journaled(self, workflow_id: str, owners: Collection[str], now_us: int) -> Mapping[str, Answer]:
        """Return the answers of named operations."""
        rows = self._rows(ANSWERS, workflow_id=workflow_id, owners=list(owners), now_us=now_us)
        return {owner: packing.answer(packed) for owner, packed in rows}

    def forget_answer(self, workflow_id: str, owner: str) -> None:
        """Drop the answer of a named operation."""
        self._change(FORGET_ANSWER, {"workflow_id": workflow_id, "of_owner": owner})
