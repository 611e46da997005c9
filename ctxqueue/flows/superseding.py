"""A new memory takes the place of older ones that say nearly the same, where that is asked for."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ctxqueue.effects import Flow, do, work
from ctxqueue.flows.keeping import superseded_by
from ctxqueue.flows.refreshing import refreshed
from ctxqueue.rules.remembering import Part

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ctxqueue.flows.memory_terms import MemoryTerms
    from ctxqueue.remembered import Owner


def supersede_alike(terms: MemoryTerms, owner: Owner, new: Sequence[str]) -> Flow[None]:
    """Let a memory take the place of others that say the same, the newer that of the older.

    Whoever stores at the same time sees both, and comes to the same end.
    """
    above = terms.supersede_above
    if above is None or not new:
        return
    library = terms.library()
    # One that takes the place of another shows, to who sees that one go, that it is there: a sensitive one does not.
    part = Part(owner, sensitive=())
    yield from refreshed(terms, part)
    for memory_id in new:
        alike = yield from do(work(partial(library.near, part, memory_id, above)))
        newest = max(alike, key=lambda row: row.born, default=None)
        for row in alike:
            if newest is not None and row.memory_id != newest.memory_id:
                yield from superseded_by(owner, row.memory_id, newest.memory_id)
