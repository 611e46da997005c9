"""Memories are stored, read, amended, used and removed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from msgspec.structs import replace

from ctxqueue import effects as fx
from ctxqueue.effects.memories import MOST_BURIED
from ctxqueue.stores.engine.remembering import MemoryOwner

if TYPE_CHECKING:
    from ctxqueue.stores.engine.remembering import MemoryRows


def _is_fresh(row: fx.StoredMemory, now_us: int) -> bool:
    return not row.expires_us or row.expires_us > now_us


def store(state: MemoryRows, effect: fx.StoreMemories) -> fx.MemoriesStored:
    """Store rows that are not there."""
    owner = state.hold_owner(effect.owner)
    now = max(state.now(), owner.clock_us if owner else 0)
    claims = owner is not None and effect.model not in ("", owner.model)
    if owner is None:
        owner = MemoryOwner(effect.incarnation, effect.model, now)
    elif claims:
        if owner.model and not effect.adopt:
            return fx.MemoriesStored((), (), now, owner.model)
        owner.model = effect.model
    standing = state.memory_rows(effect.owner, [memory.memory_id for memory in effect.memories])
    made: list[bool] = []
    born: list[int] = []
    rows: dict[str, fx.StoredMemory] = {}
    for memory in effect.memories:
        there = rows.get(memory.memory_id) or standing.get(memory.memory_id)
        if there is not None and not there.superseded and _is_fresh(there, now):
            made.append(False)
            born.append(there.born)
            continue
        owner.number += 1
        expires = now + memory.ttl_us if memory.ttl_us else 0
        rows[memory.memory_id] = fx.StoredMemory(
            *(memory.memory_id, memory.kind, memory.body, owner.number, owner.number, now, expires, memory.pinned)
        )
        made.append(True)
        born.append(owner.number)
    if rows or effect.adopt or claims:
        owner.clock_us = now
        state.save_owner(effect.owner, owner)
        state.save_memories(effect.owner, rows.values())
    return fx.MemoriesStored(tuple(made), tuple(born), now)


def load(state: MemoryRows, effect: fx.LoadMemories) -> fx.MemoryPage:
    """Read what has changed."""
    owner = state.see_owner(effect.owner)
    now = state.now()
    if owner is None:
        return fx.MemoryPage("", bool(effect.incarnation), (), (), 0, more=False, now_us=now)
    anew = effect.incarnation != owner.incarnation or effect.after < owner.floor or effect.after > owner.number
    after = 0 if anew else effect.after
    changed, more = state.memories_after(effect.owner, after, effect.limit, effect.max_bytes)
    rows = tuple(each.row for each in changed if each.row is not None)
    gone = tuple(each.memory_id for each in changed if each.row is None)
    upto = changed[-1].number if more else owner.number
    return fx.MemoryPage(owner.incarnation, anew, rows, gone, upto, more, max(now, owner.clock_us))


def get(state: MemoryRows, effect: fx.GetMemories) -> tuple[dict[str, fx.StoredMemory], int]:
    """Read rows by their ids."""
    now = state.now()
    rows = state.memory_rows(effect.owner, effect.memory_ids)
    return {memory_id: row for memory_id, row in rows.items() if _is_fresh(row, now)}, now


def amend(state: MemoryRows, effect: fx.AmendMemory) -> Literal["done", "moved", "gone", "not_live"]:
    """Write a row's body and flags anew."""
    owner = state.hold_owner(effect.owner)
    if owner is None:
        return "gone"
    now = max(state.now(), owner.clock_us)
    wanted = [effect.memory_id, *([effect.successor] if effect.successor else [])]
    rows = state.memory_rows(effect.owner, wanted)
    row = rows.get(effect.memory_id)
    if row is None or not _is_fresh(row, now):
        return "gone"
    if row.number != effect.expected:
        return "moved"
    if effect.successor:
        successor = rows.get(effect.successor)
        if successor is None or successor.superseded or not _is_fresh(successor, now):
            return "not_live"
    owner.number += 1
    owner.clock_us = now
    state.save_owner(effect.owner, owner)
    amended = replace(row, body=effect.body, pinned=effect.pinned, superseded=effect.superseded, number=owner.number)
    state.save_memories(effect.owner, [amended])
    return "done"


def drop(state: MemoryRows, effect: fx.DropMemories) -> int:
    """Remove rows."""
    owner = state.hold_owner(effect.owner)
    if owner is None:
        return 0
    rows = state.memory_rows(effect.owner, [doomed.memory_id for doomed in effect.doomed])
    numbers = {}
    for doomed in effect.doomed:
        row = rows.get(doomed.memory_id)
        as_seen = row and (not doomed.number or (row.number, row.accesses) == (doomed.number, doomed.accesses))
        if as_seen and doomed.memory_id not in numbers:
            owner.number += 1
            numbers[doomed.memory_id] = owner.number
    if not numbers:
        return 0
    if not state.any_memory(effect.owner, numbers):
        state.drop_memories(effect.owner)
        return len(numbers)
    forgotten = state.trim_buried(effect.owner, MOST_BURIED - len(numbers))
    owner.floor = max(owner.floor, forgotten)
    state.save_owner(effect.owner, owner)
    state.bury_memories(effect.owner, numbers)
    return len(numbers)


def touch(state: MemoryRows, effect: fx.TouchMemories) -> tuple[tuple[int, int], ...]:
    """Count one use of each row."""
    if state.hold_owner(effect.owner) is None:
        return ((0, 0),) * len(effect.memory_ids)
    now = state.now()
    rows = state.memory_rows(effect.owner, effect.memory_ids)
    used = {
        memory_id: replace(row, accesses=row.accesses + 1, accessed_us=now, touch_id=effect.touch_id)
        for memory_id, row in rows.items()
        if row.touch_id != effect.touch_id
    }
    state.save_uses(effect.owner, used.values())
    seen = {**rows, **used}
    return tuple(
        (seen[memory_id].accesses, seen[memory_id].accessed_us) if memory_id in seen else (0, 0)
        for memory_id in effect.memory_ids
    )


def load_retirable(state: MemoryRows, effect: fx.LoadRetirable) -> fx.Retirable:
    """Look for rows that retention may take."""
    now = state.now()
    rows, count, total = state.retirable(effect, now)
    return fx.Retirable(tuple(rows), count, total, now)


def register(state: MemoryRows, effect: fx.RegisterOwner) -> None:
    """Enter an owner in the list."""
    state.register_owner(effect.name, state.now())


def load_owners(state: MemoryRows, effect: fx.LoadOwners) -> fx.OwnerPage:
    """Read the owners registered since an instant."""
    now = state.now()
    found = state.owners_since(effect.since_us, effect.after, effect.limit + 1)
    page = found[: effect.limit]
    names = tuple(name for name, _ in page)
    return fx.OwnerPage(names, page[-1][1] if page else 0, len(found) > len(page), now)


def drop_owner(state: MemoryRows, effect: fx.DropOwner) -> bool:
    """Take an owner's name off the list."""
    registered = state.registered_us(effect.name)
    if registered is None or registered > state.now() - effect.idle_us:
        return False
    state.drop_owner(effect.name)
    return True
