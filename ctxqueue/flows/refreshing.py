"""Bringing what this process knows of an owner's memories up to date."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ctxqueue.effects import Batch, Flow, LoadMemories, do, work

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ctxqueue.effects import MemoryPage
    from ctxqueue.flows.memory_terms import MemoryTerms
    from ctxqueue.rules.remembering import Part

ROWS_A_PAGE = 1_000
PARTS_A_TRIP, BYTES_A_PART = 32, 32 * 1024
"""What one answer may bring of many: a part with more to tell is read on by itself."""


def all_refreshed(terms: MemoryTerms, parts: Sequence[Part]) -> Flow[int]:
    """Bring what this process knows of many parts up to date, in few round trips; return the store's clock."""
    library = terms.library()
    now_us = 0
    for first in range(0, len(parts), PARTS_A_TRIP):
        trip = parts[first : first + PARTS_A_TRIP]
        standing = [library.standing(part) for part in trip]
        asked = (
            LoadMemories(part.owner.digest, incarnation, after, ROWS_A_PAGE, BYTES_A_PART)
            for part, (incarnation, after) in zip(trip, standing, strict=True)
        )
        pages: tuple[MemoryPage, ...] = yield from do(Batch(tuple(asked)))
        for part, (incarnation, after), page in zip(trip, standing, pages, strict=True):
            yield from _applied(terms, part, incarnation, after, page)
            now_us = max(now_us, (yield from refreshed(terms, part)) if page.more else page.now_us)
    return now_us


def _applied(terms: MemoryTerms, part: Part, incarnation: str, after: int, page: MemoryPage) -> Flow[None]:
    if page.rows or page.gone or page.anew or page.incarnation != incarnation or page.upto != after:
        yield from do(work(partial(terms.library().apply, part, page, after)))


def refreshed(terms: MemoryTerms, part: Part) -> Flow[int]:
    """Bring what this process knows of a part of an owner's memories up to date; return the store's clock."""
    library = terms.library()
    while True:
        incarnation, after = library.standing(part)
        page = yield from do(LoadMemories(part.owner.digest, incarnation, after, ROWS_A_PAGE))
        yield from _applied(terms, part, incarnation, after, page)
        if not page.more:
            return page.now_us
