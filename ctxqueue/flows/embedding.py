"""Vectors for rows that were stored without: by a task of theirs, else by the next process that recalls.

A producer stores what is to be remembered, and needs no model for that; the message to the workers only names it. If
the broker loses that one, whoever recalls finds the row waiting, and makes its vector.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from ctxqueue.effects import Flow, GetMemories, StoreMemories, do
from ctxqueue.errors import ModelMismatch
from ctxqueue.flows.reembedding import embedded
from ctxqueue.flows.refreshing import all_refreshed, refreshed
from ctxqueue.flows.superseding import supersede_alike
from ctxqueue.remembered import NO_MODEL, Owner, body_of, owner_digest_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ctxqueue.effects import StoredMemory
    from ctxqueue.flows.memory_terms import MemoryTerms
    from ctxqueue.rules.remembering import Part

MOST_AT_ONCE = 256
"""Rows that wait for their vectors, of which a recall makes so many before it answers."""


def embed(terms: MemoryTerms, memory_ids: Sequence[str]) -> Flow[int]:
    """Make vectors for those of the memories that wait for theirs; return how many have one now.

    Raises EmbedderError, DimensionMismatch, ModelMismatch.
    """
    count = 0
    by_digest: dict[str, list[str]] = {}
    for memory_id in memory_ids:
        by_digest.setdefault(owner_digest_of(memory_id), []).append(memory_id)
    for digest, ids in by_digest.items():
        rows, _now = yield from do(GetMemories(digest, tuple(dict.fromkeys(ids))))
        waiting = [row for row in rows.values() if body_of(row.body).model == NO_MODEL]
        if not waiting:
            continue
        owner = Owner.parse(body_of(waiting[0].body).owner)
        if other := (yield from _others_model(terms, owner)):
            raise ModelMismatch(
                f"the memories of {owner.agent or owner.user or 'everybody'} have vectors of {other}, this process"
                f" embeds with {terms.library().model}: these wait on. Call reembed(embedder), or use that model"
            )
        count += yield from made(terms, owner, waiting)
    return count


def complete(terms: MemoryTerms, parts: Sequence[Part]) -> Flow[int]:
    """Bring what is known of some parts up to date, and embed what waits of them; return the store's clock."""
    now_us = yield from all_refreshed(terms, parts)
    for part in parts:
        waiting = terms.library().waiting(part, now_us, MOST_AT_ONCE)
        # Under another model they wait for a process that has it, or for `reembed`.
        if waiting and not (yield from _others_model(terms, part.owner)):
            yield from made(terms, part.owner, waiting)
            now_us = yield from refreshed(terms, part)
    return now_us


def _others_model(terms: MemoryTerms, owner: Owner) -> Flow[str]:
    """Make ours the owner's model if it has none; else return its own, if that is another one."""
    reply = yield from do(StoreMemories(owner.digest, uuid.uuid4().hex, (), terms.library().model))
    return reply.model


def made(terms: MemoryTerms, owner: Owner, rows: Sequence[StoredMemory]) -> Flow[int]:
    """Make the vectors of rows that wait, whose owner's model is ours; return how many have one now."""
    count = yield from embedded(terms.library(), owner, rows)
    yield from supersede_alike(terms, owner, [row.memory_id for row in rows])
    return count
