"""The part of a transaction's state that is about memories, and its statements."""

from __future__ import annotations

import hashlib
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, Boolean, Integer, String, bindparam, delete, func, select, update

from ctxqueue import effects as fx
from ctxqueue.stores.engine.remembering import Changed, MemoryOwner
from ctxqueue.stores.sql.looking import NAMESPACE
from ctxqueue.stores.sql.schema import Name, memories, memories_removed, memory_names, memory_owners
from ctxqueue.stores.sql.transaction import Transaction

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from sqlalchemy import ColumnElement, Select, Table

OWNER = bindparam("in_owner", type_=Name)
FIELDS = tuple(memories.c[name] for name in fx.StoredMemory.__struct_fields__)
_ids = bindparam("memory_ids", expanding=True, type_=Name)
_after = bindparam("after", type_=BigInteger)
_rows_wanted = bindparam("rows", type_=Integer)
_skipped = bindparam("skipped", type_=Integer)
_since = bindparam("since", type_=BigInteger)


def theirs(table: Table) -> ColumnElement[bool]:
    """Return the condition that a row is the owner's."""
    return (table.c.namespace == NAMESPACE) & (table.c.owner == OWNER)


STANDING = select(
    memory_owners.c.incarnation,
    memory_owners.c.model,
    memory_owners.c.clock_us,
    memory_owners.c.number,
    memory_owners.c.floor,
).where(theirs(memory_owners))
ROWS = select(*FIELDS).where(theirs(memories), memories.c.memory_id.in_(_ids))
SIZES = (
    select(memories.c.number, memories.c.memory_id, func.length(memories.c.body))
    .where(theirs(memories), memories.c.number > _after)
    .order_by(memories.c.number)
    .limit(_rows_wanted)
)
REMOVED = (
    select(memories_removed.c.number, memories_removed.c.memory_id)
    .where(theirs(memories_removed), memories_removed.c.number > _after)
    .order_by(memories_removed.c.number)
    .limit(_rows_wanted)
)
AFTER = (
    select(*FIELDS).where(theirs(memories), memories.c.number > _after).order_by(memories.c.number).limit(_rows_wanted)
)
SAMPLE = (
    select(*FIELDS).where(theirs(memories), ~memories.c.superseded).order_by(memories.c.memory_id).limit(_rows_wanted)
)
"""Ids are hashes: the first ones in their order are as good as chosen at random."""
OTHERS = select(memories.c.memory_id).where(theirs(memories), memories.c.memory_id.not_in(_ids)).limit(1)
USE = (
    update(memories)
    .where(theirs(memories), memories.c.memory_id == bindparam("of_memory", type_=Name))
    .values(
        accesses=bindparam("new_accesses", type_=BigInteger),
        accessed_us=bindparam("new_accessed_us", type_=BigInteger),
        touch_id=bindparam("new_touch_id", type_=memories.c.touch_id.type),
    )
)
REMOVE = delete(memories).where(theirs(memories), memories.c.memory_id.in_(_ids))
UNBURY = delete(memories_removed).where(theirs(memories_removed), memories_removed.c.memory_id.in_(_ids))
SURPLUS_BURIED = (
    select(memories_removed.c.number)
    .where(theirs(memories_removed))
    .order_by(memories_removed.c.number.desc())
    .limit(1)
    .offset(_skipped)
)
TRIM_BURIED = delete(memories_removed).where(
    theirs(memories_removed), memories_removed.c.number <= bindparam("until", type_=BigInteger)
)
DROP = tuple(delete(table).where(theirs(table)) for table in (memories, memories_removed, memory_owners))

_kind = (memories.c.kind == bindparam("of_kind", type_=String)) & (
    memories.c.pinned == bindparam("of_pinned", type_=Boolean)
)
_expired = memories.c.expires_us <= bindparam("until", type_=BigInteger)
_aged = _kind & (memories.c.created_us <= bindparam("until", type_=BigInteger))


def _first(where: ColumnElement[bool], *order: ColumnElement[Any]) -> Select[Any]:
    return (
        select(*FIELDS)
        .where(theirs(memories), where)
        .order_by(*order, memories.c.memory_id)
        .limit(_rows_wanted)
        .offset(_skipped)
    )


def _count(*where: ColumnElement[bool]) -> Select[Any]:
    return select(func.count()).select_from(memories).where(theirs(memories), *where)


FIRST = {
    "expired": _first(
        _expired & (memories.c.expires_us >= bindparam("from_us", type_=BigInteger)), memories.c.expires_us
    ),
    "aged": _first(_aged, memories.c.created_us),
    "surplus": _first(_kind, memories.c.accesses, memories.c.created_us),
}
COUNT_EXPIRED, COUNT_AGED, COUNT_KIND, COUNT_ALL = _count(_expired), _count(_aged), _count(_kind), _count()

NAMES_SINCE = (
    select(memory_names.c.name, memory_names.c.registered_us)
    .where(memory_names.c.namespace == NAMESPACE, memory_names.c.registered_us >= _since)
    .where((memory_names.c.registered_us > _since) | (memory_names.c.name > bindparam("after_name", type_=Name)))
    .order_by(memory_names.c.registered_us, memory_names.c.name)
    .limit(_rows_wanted)
)
_one_name = (memory_names.c.namespace == NAMESPACE) & (memory_names.c.name == bindparam("of_name", type_=Name))
REGISTERED = select(memory_names.c.registered_us).where(_one_name)
DROP_NAME = delete(memory_names).where(_one_name)


class SqlMemories(Transaction):
    """Owners and their rows."""

    def see_owner(self, owner: str) -> MemoryOwner | None:
        """Return where an owner stands, without holding it."""
        rows = self._rows(STANDING, in_owner=owner)
        return MemoryOwner(*rows[0]) if rows else None

    def hold_owner(self, owner: str) -> MemoryOwner | None:
        """Keep everybody else from an owner's memories, also from one that has none yet, and look at it."""
        # SQLite's writer has the whole database already. A lock on the name holds where there is no row yet.
        if self._dialect == "postgresql":
            digest = hashlib.blake2b(f"{self._namespace}\0memory\0{owner}".encode(), digest_size=8).digest()
            lock = int.from_bytes(digest, signed=True)
            self._connection.execute(select(func.pg_advisory_xact_lock(lock)))
        return self.see_owner(owner)

    def save_owner(self, owner: str, standing: MemoryOwner) -> None:
        """Write where an owner stands; a new one, too."""
        row = {name: getattr(standing, name) for name in MemoryOwner.__dataclass_fields__}
        self._put(self._statements.memory_owner, [{"owner": owner, **row}])

    def memory_rows(self, owner: str, memory_ids: Collection[str]) -> Mapping[str, fx.StoredMemory]:
        """Return those of the rows that are there, expired ones too."""
        if not memory_ids:
            return {}
        rows = self._rows(ROWS, in_owner=owner, memory_ids=list(memory_ids))
        return {row.memory_id: _stored(row) for row in rows}

    def memories_after(self, owner: str, number: int, limit: int, max_bytes: int) -> tuple[Sequence[Changed], bool]:
        """Return what has changed after a number, in order, and whether there is more."""
        reach = {"in_owner": owner, "after": number, "rows": limit + 1}
        written = [(at, memory_id, size) for at, memory_id, size in self._rows(SIZES, **reach)]
        removed = [(at, memory_id, None) for at, memory_id in self._rows(REMOVED, **reach)]
        changes = sorted([*written, *removed], key=lambda change: change[0])
        taken, size = 0, 0
        while taken < min(len(changes), limit) and (not taken or size <= max_bytes):
            size += changes[taken][2] or 0
            taken += 1
        here = changes[:taken]
        rows = self.memory_rows(owner, [memory_id for _, memory_id, size in here if size is not None])
        found = [Changed(at, memory_id, rows.get(memory_id)) for at, memory_id, _ in here]
        return found, taken < len(changes)

    def rows_after(self, owner: str, number: int, limit: int) -> Sequence[fx.StoredMemory]:
        """Return rows whose last change is after a number, in order."""
        return [_stored(row) for row in self._rows(AFTER, in_owner=owner, after=number, rows=limit)]

    def some_memories(self, owner: str, most: int) -> Sequence[fx.StoredMemory]:
        """Return some rows that stand for all: the same ones until others come or go."""
        return [_stored(row) for row in self._rows(SAMPLE, in_owner=owner, rows=most)]

    def count_memories(self, owner: str) -> int:
        """Return how many rows there are."""
        return self._counted(COUNT_ALL, {"in_owner": owner})

    def any_memory(self, owner: str, but: Collection[str]) -> bool:
        """Whether there is a row besides some."""
        return bool(self._rows(OTHERS, in_owner=owner, memory_ids=list(but)))

    def save_memories(self, owner: str, rows: Iterable[fx.StoredMemory]) -> None:
        """Write rows; what was noted of an earlier removal of theirs is forgotten."""
        written = list(rows)
        if not written:
            return
        self._change(UNBURY, {"in_owner": owner, "memory_ids": [row.memory_id for row in written]})
        self._put(self._statements.memory, [{"owner": owner, **_columns(row)} for row in written])

    def save_uses(self, owner: str, rows: Iterable[fx.StoredMemory]) -> None:
        """Write of rows only how often they were used."""
        self._change(
            USE,
            *(
                {
                    "in_owner": owner,
                    "of_memory": row.memory_id,
                    "new_accesses": row.accesses,
                    "new_accessed_us": row.accessed_us,
                    "new_touch_id": row.touch_id,
                }
                # In one order, whoever writes.
                for row in sorted(rows, key=attrgetter("memory_id"))
            ),
        )

    def bury_memories(self, owner: str, numbers: Mapping[str, int]) -> None:
        """Remove rows, and note under which numbers."""
        self._change(REMOVE, {"in_owner": owner, "memory_ids": list(numbers)})
        rows = [{"owner": owner, "memory_id": each, "number": number} for each, number in numbers.items()]
        self._put(self._statements.memory_removed, rows)

    def trim_buried(self, owner: str, most: int) -> int:
        """Forget the oldest removals but so many; return the number of the newest that was forgotten, 0 for none."""
        rows = self._rows(SURPLUS_BURIED, in_owner=owner, skipped=most)
        if not rows:
            return 0
        newest: int = rows[0].number
        self._change(TRIM_BURIED, {"in_owner": owner, "until": newest})
        return newest

    def drop_memories(self, owner: str) -> None:
        """Remove an owner that has no row left, and what is known of removals."""
        for statement in DROP:
            self._change(statement, {"in_owner": owner})

    def retirable(self, effect: fx.LoadRetirable, now_us: int) -> tuple[Sequence[fx.StoredMemory], int, int]:
        """Return the rows that go first, how many there are of them in all, and how many rows of that kind."""
        place: dict[str, Any] = {"in_owner": effect.owner}
        kind = {**place, "of_kind": effect.kind, "of_pinned": False}
        if effect.why == "expired":
            wanted = {**place, "until": now_us}
            count, total = self._counted(COUNT_EXPIRED, wanted), self._counted(COUNT_ALL, place)
        elif effect.why == "aged":
            wanted = {**kind, "until": now_us - effect.max_age_us}
            count, total = self._counted(COUNT_AGED, wanted), self._counted(COUNT_KIND, kind)
        else:
            wanted = kind
            total = self._counted(COUNT_KIND, kind)
            count = max(0, total - effect.max_rows)
        rows = min(effect.limit, max(0, count - effect.skip))
        if effect.why == "expired":
            wanted = {**wanted, "from_us": effect.from_us}
        found = self._rows(FIRST[effect.why], **wanted, rows=rows, skipped=effect.skip) if rows else []
        return [_stored(row) for row in found], count, total

    def _counted(self, statement: Select[Any], parameters: dict[str, Any]) -> int:
        return int(self._rows(statement, **parameters)[0][0])

    def register_owner(self, name: str, now_us: int) -> None:
        """Enter a name in the list, or note that it is in use."""
        self._put(self._statements.memory_name, [{"name": name, "registered_us": now_us}])

    def owners_since(self, since_us: int, after: str, limit: int) -> Sequence[tuple[str, int]]:
        """Return names behind a place, and when each was registered, in the order of that."""
        found = self._rows(NAMES_SINCE, since=since_us, after_name=after, rows=limit)
        return [(name, at_us) for name, at_us in found]

    def registered_us(self, name: str) -> int | None:
        """Return when a name was last registered."""
        rows = self._rows(REGISTERED, of_name=name)
        return rows[0].registered_us if rows else None

    def drop_owner(self, name: str) -> None:
        """Take a name off the list."""
        self._change(DROP_NAME, {"of_name": name})


def _stored(row: Any) -> fx.StoredMemory:
    fields = {name: getattr(row, name) for name in fx.StoredMemory.__struct_fields__}
    return fx.StoredMemory(**{**fields, "expires_us": row.expires_us or 0})


def _columns(row: fx.StoredMemory) -> dict[str, Any]:
    columns = {name: getattr(row, name) for name in fx.StoredMemory.__struct_fields__}
    return {**columns, "expires_us": row.expires_us or None}
