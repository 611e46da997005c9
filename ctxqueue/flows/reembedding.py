"""Moving a namespace's memories to another model, row by row; one that is cut off is called again and goes on.

A row keeps its former vector beside the new one: processes that still embed by the former model go on recalling what
was moved, but can store nothing new, nor recall an owner's memories once a row was stored by the new one. Those that
embed by the new one recall an owner's memories once all of these are moved.
"""

from __future__ import annotations

import os
import uuid
from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace

from ctxqueue.effects import AmendMemory, Flow, GetMemories, LoadMemories, LoadOwners, StoreMemories, do, work
from ctxqueue.remembered import MARK, Owner, body_of, marked, pack_body

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ctxqueue.effects import StoredMemory
    from ctxqueue.flows.memory_terms import Library

ROWS_A_BATCH = 64
TRIES = 100


def reembed(library: Library) -> Flow[int]:
    """Give every memory a vector of the library's model; return how many were moved. Raises EmbedderError."""
    moved = 0
    look: LoadOwners | None = LoadOwners()
    while look is not None:
        owners = yield from do(look)
        look = owners.following
        for owner in map(Owner.parse, owners.names):
            moved += yield from _of_owner(library, owner)
    return moved


def _of_owner(library: Library, owner: Owner) -> Flow[int]:
    moved = 0
    page = yield from do(LoadMemories(owner.digest, "", 0, 1))
    if not page.incarnation:
        return moved
    # From here on nobody stores a row of the former model, so that one pass finds all of them.
    yield from do(StoreMemories(owner.digest, uuid.uuid4().hex, (), library.model, adopt=True))
    incarnation, after, more = "", 0, True
    while more:
        page = yield from do(LoadMemories(owner.digest, incarnation, after, ROWS_A_BATCH))
        incarnation, after, more = page.incarnation, page.upto, page.more
        lacking = [row for row in page.rows if body_of(row.body).model != library.model]
        if lacking:
            moved += yield from embedded(library, owner, lacking)
    return moved


def embedded(library: Library, owner: Owner, rows: Sequence[StoredMemory]) -> Flow[int]:
    """Give rows vectors of the library's model, and return how many now have one; the owner's model is that already."""
    vectors = yield from do(work(partial(library.encode, [body_of(row.body).said for row in rows])))
    moved = 0
    for row, vector in zip(rows, vectors, strict=True):
        moved += yield from _written(library, owner, row, vector)
    return moved


def _written(library: Library, owner: Owner, row: StoredMemory, vector: bytes) -> Flow[bool]:
    """Write one row's vector over whatever others change of it at the same time."""
    standing: StoredMemory | None = row
    said = body_of(row.body).said
    for _ in range(TRIES):
        if standing is None:
            return False
        body = body_of(standing.body)
        if body.model == library.model:
            return True
        if body.said != said:
            return False  # a skill that has moved on: the next page has it
        former = (body.model, body.vector)
        written = replace(
            body, model=library.model, vector=vector, previous=former, change=marked(body, os.urandom(MARK))
        )
        effect = AmendMemory(
            *(owner.digest, standing.memory_id, standing.kind, standing.number, pack_body(written), standing.pinned),
            superseded=standing.superseded,
        )
        answer = yield from do(effect)
        if answer in ("done", "gone"):
            return answer == "done"
        rows, _now = yield from do(GetMemories(owner.digest, (row.memory_id,)))
        standing = rows.get(row.memory_id)
    return False
