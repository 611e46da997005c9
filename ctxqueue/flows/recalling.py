"""Finding memories: what has changed is read, then filtered and ranked here, and each result counts as one use."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from ctxqueue.effects import Batch, Flow, GetMemories, TouchMemories, do, work
from ctxqueue.flows.embedding import complete
from ctxqueue.flows.keeping import read, seen_by
from ctxqueue.flows.nearing import nearest
from ctxqueue.remembered import Recalled, entry_of, owner_digest_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ctxqueue.effects import Candidates, StoredMemory
    from ctxqueue.flows.memory_terms import Found, MemoryTerms, Wanted
    from ctxqueue.models import ContextScope
    from ctxqueue.remembered import Reader
    from ctxqueue.rules.policy import Policy
    from ctxqueue.rules.remembering import Part


def recall(
    terms: MemoryTerms,
    reader: Reader,
    scope: str | ContextScope | None,
    wanted: Wanted,
    *,
    explain: bool = False,
    reveal: bool = False,
    touch_id: bytes | None = None,
) -> Flow[list[Recalled]]:
    """Return the memories that answer best, best first; raises EmbedderError, DimensionMismatch, ModelMismatch.

    A recall that is made again under the same ``touch_id`` counts as the same use.
    """
    parts = yield from terms.parts(reader, scope)
    near: dict[Part, Candidates] = {}
    for part in parts:
        among = yield from nearest(terms, part, wanted)
        if among is not None:
            near[part] = among
    now_us = yield from complete(terms, [part for part in parts if part not in near])
    now_us = max([now_us, *(among.now_us for among in near.values())])
    library = terms.library()
    found = yield from do(work(partial(library.search, parts, wanted, now_us, near)))
    uses: dict[str, tuple[int, int]] = {}
    touch_id = touch_id or os.urandom(8)
    by_part: dict[Part, list[str]] = {}
    for each in found:
        by_part.setdefault(each.part, []).append(each.row.memory_id)
    touches = tuple(TouchMemories(part.owner.digest, tuple(ids), touch_id) for part, ids in by_part.items())
    touched = (yield from do(Batch(touches))) if touches else ()
    for (part, ids), counted in zip(by_part.items(), touched, strict=True):
        for memory_id, used in zip(ids, counted, strict=True):
            uses[memory_id] = used
            library.used(part.owner, memory_id, used[0])
    # One without a use is gone meanwhile.
    conceals = reader.sees_all and not reveal
    return [
        _recalled(each, uses[each.row.memory_id], explain=explain, conceals=conceals)
        for each in found
        if uses[each.row.memory_id][0]
    ]


def _recalled(found: Found, uses: tuple[int, int], *, explain: bool, conceals: bool) -> Recalled:
    row = found.row
    entry = entry_of(
        *(row.memory_id, row.kind, found.body, row.created_us),
        expires_us=row.expires_us,
        pinned=row.pinned,
        accesses=uses[0],
        accessed_us=uses[1],
        relevance=found.cosine,
        conceals=conceals,
    )
    return Recalled(entry, found.score, {**found.parts, "similarity": found.cosine} if explain else {})


def told(
    policy: Policy, reader: Reader, found: Sequence[tuple[str, float, float, Mapping[str, float]]]
) -> Flow[list[Recalled]]:
    """Return the memories that a recall elsewhere has found: ids, scores, cosines and parts.

    Left out is what has gone meanwhile, and what the reader may not see.
    """
    by_digest: dict[str, list[str]] = {}
    for memory_id, *_ in found:
        by_digest.setdefault(owner_digest_of(memory_id), []).append(memory_id)
    rows: dict[str, StoredMemory] = {}
    for digest, ids in by_digest.items():
        there, _now = yield from do(GetMemories(digest, tuple(ids)))
        rows |= there
    return [
        Recalled(replace(read(row, conceals=reader.sees_all), relevance_score=cosine), score, parts)
        for memory_id, score, cosine, parts in found
        if (row := rows.get(memory_id)) is not None and not row.superseded and seen_by(policy, reader, row)
    ]
