"""Bringing what this process knows of an owner's memories up to date."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ctxqueue.effects import Flow, LoadMemories, do, work

if TYPE_CHECKING:
    from ctxqueue.flows.memory_terms import MemoryTerms
    from ctxqueue.remembered import Owner

ROWS_A_PAGE = 1_000


def refreshed(terms: MemoryTerms, owner: Owner) -> Flow[int]:
    """Bring what this process knows of an owner's memories up to date; return the store's clock."""
    library = terms.library()
    while True:
        incarnation, after = library.standing(owner)
        page = yield from do(LoadMemories(owner.digest, incarnation, after, ROWS_A_PAGE))
        if page.rows or page.gone or page.anew or page.incarnation != incarnation or page.upto != after:
            yield from do(work(partial(library.apply, owner, page, after)))
        if not page.more:
            return page.now_us
