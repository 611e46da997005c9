"""What a worker is asked for waits in the store, so that its message only names it: queries and results are private.

It waits as a row of an owner that no reader has: under no name that an agent or user could have, and on no list. It
goes once it is answered; one that nobody answers expires, and retention removes it.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ctxqueue import codec
from ctxqueue.effects import (
    Doomed,
    DropMemories,
    Flow,
    GetMemories,
    LoadMemories,
    LoadRetirable,
    NewMemory,
    StoreMemories,
    do,
)
from ctxqueue.errors import StaleOperation, ValueTooLarge
from ctxqueue.flows.remembering import MAX_CONTENT
from ctxqueue.remembered import NO_MODEL, REQUESTS, ROW_VERSION, Body, Said, body_of, owner_digest_of, pack_body

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_REQUEST: Final = 4 * MAX_CONTENT
ROWS_A_BATCH: Final = 25


class Waiting(NamedTuple):
    """Something that was asked for and not answered yet."""

    request_id: str
    task: str
    asked_us: int


def ask(
    task: str, payload: Mapping[str, Any], life_us: int, agent_id: str | None = None, user_id: str | None = None
) -> Flow[str]:
    """Store what a task is asked for, and return its id; raises InvalidInput for what cannot be stored.

    Whose it is, is told beside it: erasing what is an agent's or about a user removes it too.
    """
    said = Said("", agent_id or "", user_id or "", codec.pack(dict(payload)), key=task)
    if len(said.metadata) > MAX_REQUEST:
        raise ValueTooLarge(f"what is asked of {task} takes {len(said.metadata)} bytes: at most {MAX_REQUEST}")
    number = uuid.uuid4()
    owner = REQUESTS[number.int % len(REQUESTS)]
    request_id = f"{owner.digest}-{number.hex}"
    body = pack_body(Body(ROW_VERSION, owner.name, said, 0.0, NO_MODEL, b""))
    row = NewMemory(request_id, "episodic", body, ttl_us=life_us)
    yield from do(StoreMemories(owner.digest, uuid.uuid4().hex, (row,), NO_MODEL))
    return request_id


def asked(request_id: str) -> Flow[dict[str, Any]]:
    """Return what was asked for; raises StaleOperation once it was answered or has expired."""
    rows, _now = yield from do(GetMemories(owner_digest_of(request_id), (request_id,)))
    row = rows.get(request_id)
    if row is None:
        raise StaleOperation(f"what {request_id} asked for was answered already, or has expired")
    payload: dict[str, Any] = codec.unpack(body_of(row.body).said.metadata)
    return payload


def answered(request_id: str) -> Flow[None]:
    """Remove what was asked for."""
    yield from do(DropMemories(owner_digest_of(request_id), (Doomed(request_id),)))


def overdue(task: str, older_us: int) -> Flow[list[str]]:
    """Return the ids of what a task was asked for so long ago that its message may be lost."""
    found = []
    for owner in REQUESTS:
        incarnation, after, more = "", 0, True
        while more:
            page = yield from do(LoadMemories(owner.digest, incarnation, after, ROWS_A_BATCH))
            incarnation, after, more = page.incarnation, page.upto, page.more
            found += [
                row.memory_id
                for row in page.rows
                if body_of(row.body).said.key == task
                and row.created_us <= page.now_us - older_us
                and (not row.expires_us or row.expires_us > page.now_us)
            ]
    return found


def swept() -> Flow[None]:
    """Remove what has expired before anybody answered."""
    for owner in REQUESTS:
        while True:
            wanted = LoadRetirable(owner.digest, "episodic", "expired", 0, 0, 0, ROWS_A_BATCH)
            found = yield from do(wanted)
            if not found.rows:
                break
            doomed = tuple(Doomed(row.memory_id, row.number, row.accesses) for row in found.rows)
            if not (yield from do(DropMemories(owner.digest, doomed))):
                break  # others are at it
