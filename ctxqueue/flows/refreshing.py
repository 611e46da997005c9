"""Bringing what this process knows of an owner's memories up to date."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ctxqueue.effects import Flow, LoadMemories, do, work

if TYPE_CHECKING:
    from ctxqueue.flows.memory_terms import MemoryTerms
    from ctxqueue.rules.remembering import Part

ROWS_A_PAGE = 1_000


def refreshed(terms: MemoryTerms, part: Part) -> Flow[int]:
    """Bring what this process knows of a part of an owner's memories up to date; return the store's clock."""
    library = terms.library()
    while True:
        incarnation, after = library.standing(part)
        page = yield from do(LoadMemories(part.owner.digest, incarnation, after, ROWS_A_PAGE))
        if page.rows or page.gone or page.anew or page.incarnation != incarnation or page.upto != after:
            yield from do(work(partial(library.apply, part, page, after)))
        if not page.more:
            return page.now_us
