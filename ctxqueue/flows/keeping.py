"""Memories by their ids: read, listed, forgotten, and what is known of them changed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec.structs import replace

from ctxqueue import codec
from ctxqueue.effects import AmendMemory, Doomed, DropMemories, Flow, GetMemories, LoadMemories, do
from ctxqueue.errors import EntryNotFound, InvalidInput, StoreUnavailable
from ctxqueue.flows.marks import mark_of
from ctxqueue.identity import operation_here
from ctxqueue.models import Page
from ctxqueue.remembered import Owner, body_of, entry_of, has_mark, marked, owner_digest_of, pack_body
from ctxqueue.rules.remembering import hold, part_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from ctxqueue.effects import StoredMemory
    from ctxqueue.flows.memory_terms import MemoryTerms, Wanted
    from ctxqueue.models import ContextScope
    from ctxqueue.remembered import Body, MemoryEntry, Reader
    from ctxqueue.rules.policy import Action, Policy

MOST_TRIES = 100
ROWS_A_LOOK = 50
"""Of a list, at least: some of them may be nothing for its reader."""


class Flags(NamedTuple):
    """What of a memory may change, with its body."""

    body: Body
    pinned: bool
    superseded: bool


def read(row: StoredMemory, *, conceals: bool = False) -> MemoryEntry:
    """Return the memory that a row holds; ``conceals``: without its words if they are sensitive."""
    return entry_of(
        *(row.memory_id, row.kind, body_of(row.body), row.created_us),
        expires_us=row.expires_us,
        pinned=row.pinned,
        accesses=row.accesses,
        accessed_us=row.accessed_us,
        conceals=conceals,
    )


def get(policy: Policy, reader: Reader, memory_id: str, *, reveal: bool = False) -> Flow[MemoryEntry | None]:
    """Return a memory that the reader may see; None if there is none."""
    row = yield from _row(policy, reader, memory_id)
    return None if row is None else read(row, conceals=reader.sees_all and not reveal)


def seen_by(policy: Policy, reader: Reader, row: StoredMemory) -> bool:
    """Whether a reader may see a memory: it is among its owners', and the policy lets it."""
    body = body_of(row.body)
    owner = Owner.parse(body.owner)
    return reader.may_see(owner) and part_of(policy, reader, owner).holds(row.kind, body)


def _row(policy: Policy, reader: Reader, memory_id: str, action: Action | None = None) -> Flow[StoredMemory | None]:
    """Return a memory that the reader may see; raises AccessDenied if it may not do with it what it wants."""
    rows, _ = yield from do(GetMemories(owner_digest_of(memory_id), (memory_id,)))
    row = rows.get(memory_id)
    if row is None or not seen_by(policy, reader, row):
        return None
    if action is not None:
        body = body_of(row.body)
        hold(policy, reader, Owner.parse(body.owner), row.kind, action, sensitive=body.why != "")
    return row


def forget(policy: Policy, reader: Reader, memory_id: str) -> Flow[bool]:
    """Remove a memory; False if there is none that the reader may see. Raises AccessDenied."""
    row = yield from _row(policy, reader, memory_id, "delete")
    if row is None:
        return False
    yield from do(DropMemories(owner_digest_of(memory_id), (Doomed(memory_id),)))
    return True


def pin(policy: Policy, reader: Reader, memory_id: str, *, pinned: bool) -> Flow[MemoryEntry]:
    """Exempt a memory from retention, or no more; raises EntryNotFound, AccessDenied."""
    return _amended(policy, reader, memory_id, lambda flags: flags._replace(pinned=pinned), mark_of(None))


def reinforce(policy: Policy, reader: Reader, memory_id: str, amount: float) -> Flow[MemoryEntry]:
    """Let a memory matter more, or with a negative amount less; raises EntryNotFound, InvalidInput, AccessDenied."""
    if isinstance(amount, bool) or not isinstance(amount, int | float) or not math.isfinite(amount):
        raise InvalidInput(f"amount is {amount!r:.80}: give a number")

    def raised(flags: Flags) -> Flags:
        importance = min(1.0, max(0.0, flags.body.importance + amount))
        return flags._replace(body=replace(flags.body, importance=importance))

    return _amended(policy, reader, memory_id, raised, mark_of(operation_here("reinforce", "", memory_id)))


def supersede(policy: Policy, reader: Reader, old: str, new: str) -> Flow[None]:
    """Let a memory take another's place: the old one is kept, and recalled no more.

    Raises EntryNotFound if one of them is not there, or the new one was superseded itself; InvalidInput for memories
    of different owners; AccessDenied.
    """
    if old == new or owner_digest_of(old) != owner_digest_of(new):
        raise InvalidInput("a memory takes the place of another one of the same owner")
    for each in (old, new):
        if (yield from _row(policy, reader, each, "write")) is None:
            raise EntryNotFound(f"there is no memory {each!r} that may be seen here")
    row = yield from _row(policy, reader, old)
    if row is None:
        raise EntryNotFound(f"there is no memory {old!r} that may be seen here")
    answer = yield from superseded_by(Owner.parse(body_of(row.body).owner), old, new)
    if not answer:
        raise EntryNotFound(f"there is no memory {new!r} that could take a place: forgotten, expired or superseded")


def superseded_by(owner: Owner, old: str, new: str) -> Flow[bool]:
    """Do so, whoever sees them; False if either is not there, or the new one was superseded itself."""
    for _ in range(MOST_TRIES):
        rows, _now = yield from do(GetMemories(owner.digest, (old,)))
        row = rows.get(old)
        if row is None:
            return False
        body = body_of(row.body)
        if row.superseded and body.superseded_by == new:
            return True
        written = pack_body(replace(body, superseded_by=new, change=marked(body, mark_of(None))))
        effect = AmendMemory(
            *(owner.digest, old, row.kind, row.number, written, row.pinned), superseded=True, successor=new
        )
        answer = yield from do(effect)
        if answer == "done":
            return True
        if answer != "moved":
            return False
    raise _too_busy(old)


def _amended(
    policy: Policy, reader: Reader, memory_id: str, change: Callable[[Flags], Flags], mark: bytes
) -> Flow[MemoryEntry]:
    """Change what is known of a memory, over whatever others change at the same time; once for each ``mark``."""
    for _ in range(MOST_TRIES):
        row = yield from _row(policy, reader, memory_id, "write")
        if row is None:
            raise EntryNotFound(f"there is no memory {memory_id!r} that may be seen here")
        body = body_of(row.body)
        if has_mark(body, mark):
            return read(row, conceals=reader.sees_all)  # it was written: the answer was lost, or a task runs again
        now = change(Flags(body, row.pinned, row.superseded))
        written = pack_body(replace(now.body, change=marked(body, mark)))
        effect = AmendMemory(
            *(owner_digest_of(memory_id), memory_id, row.kind, row.number, written, now.pinned),
            superseded=now.superseded,
        )
        if (yield from do(effect)) == "done":
            changed = replace(row, body=written, pinned=now.pinned, superseded=now.superseded)
            return read(changed, conceals=reader.sees_all)
    raise _too_busy(memory_id)


def _too_busy(memory_id: str) -> StoreUnavailable:
    return StoreUnavailable(f"memory {memory_id!r} was changed by others each of {MOST_TRIES} times: try again later")


def list_memories(
    terms: MemoryTerms,
    reader: Reader,
    scope: str | ContextScope | None,
    wanted: Wanted,
    cursor: str | None,
    *,
    reveal: bool = False,
) -> Flow[Page[MemoryEntry]]:
    """Return memories by owner, and of each in the order they were last changed."""
    parts = yield from terms.parts(reader, scope)
    digest, incarnation, after = _place(cursor)
    if digest:
        place = next((place for place, part in enumerate(parts) if part.owner.digest == digest), None)
        if place is None:
            raise InvalidInput("this cursor is of another list")
        parts = parts[place:]
    conceals = reader.sees_all and not reveal
    found: list[tuple[MemoryEntry, str]] = []
    """With where the list goes on behind each."""
    for part in parts:
        more = True
        while more and len(found) <= wanted.limit:  # one more: that there is a next page says that there is something
            most = max(wanted.limit + 1 - len(found), ROWS_A_LOOK)
            page = yield from do(LoadMemories(part.owner.digest, incarnation, after, most))
            incarnation, after, more = page.incarnation, page.upto, page.more
            found += [
                (read(row, conceals=conceals), f"{part.owner.digest}.{incarnation}.{row.number}")
                for row in page.rows
                if part.holds(row.kind, body_of(row.body)) and _is_wanted(row, wanted, page.now_us)
            ]
        incarnation, after = "", 0
    shown = tuple(entry for entry, _ in found[: wanted.limit])
    return Page(shown, found[wanted.limit - 1][1] if len(found) > wanted.limit else None)


def _place(cursor: str | None) -> tuple[str, str, int]:
    if cursor is None:
        return "", "", 0
    digest, _, rest = cursor.partition(".") if isinstance(cursor, str) else ("", "", "")
    incarnation, _, after = rest.partition(".")
    if not digest or not after.isdigit():
        raise InvalidInput(f"{cursor!r:.80} is no cursor of a list of memories")
    return digest, incarnation, int(after)


def _is_wanted(row: StoredMemory, wanted: Wanted, now_us: int) -> bool:
    if row.superseded or row.kind not in wanted.kinds or (row.expires_us and row.expires_us <= now_us):
        return False
    said = body_of(row.body).said
    at_us = row.created_us if said.at_us is None else said.at_us
    if wanted.since_us is not None and at_us < wanted.since_us:
        return False
    if wanted.until_us is not None and at_us >= wanted.until_us:
        return False
    metadata: dict[str, Any] = codec.unpack(said.metadata) if said.metadata else {}
    return all(key in metadata and metadata[key] == value for key, value in wanted.where.items())
