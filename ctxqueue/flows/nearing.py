"""Candidates by a store's own index of vectors, for owners of more memories than each process should hold.

What the index lacks is read and entered before it is asked, up to a bound; a search that would have to wait longer goes
through all rows in the process, as everywhere else, until beat's task has caught up.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ctxqueue.effects import (
    FindCandidates,
    Flow,
    IndexMemories,
    LoadIndex,
    LoadOwners,
    LoadUnindexed,
    SampleMemories,
    do,
    work,
)
from ctxqueue.errors import InvalidInput
from ctxqueue.flows.embedding import made
from ctxqueue.remembered import KINDS, NO_MODEL, Owner, body_of

if TYPE_CHECKING:
    from ctxqueue.effects import Candidates
    from ctxqueue.flows.memory_terms import MemoryTerms, Wanted
    from ctxqueue.rules.remembering import Part

FEW = 2_000
"""Rows that pass the filters of which all are ranked."""
MOST = 300
"""Else so many of each kind."""
SAMPLED = 2_000
ROWS_A_PAGE = 100
MOST_BEHIND = 1_000
"""Rows that a recall enters before it asks."""


def nearest(terms: MemoryTerms, part: Part, wanted: Wanted) -> Flow[Candidates | None]:
    """Return what may be among the best of one owner's; None if its memories are searched here.

    An index counts words over all plain ones of an owner, so who may not see all of those is not answered by it.
    """
    if terms.index_from is None or part.plain != KINDS:
        return None
    library, owner = terms.library(), part.owner
    held = library.held(part)
    if (held is not None and held <= terms.index_from) or not library.narrows(wanted.where):
        return None
    total = yield from _large(terms, owner, terms.index_from)
    if not total:
        return None
    _, complete = yield from _caught_up(terms, owner, MOST_BEHIND)
    if not complete:
        return None
    asked = yield from do(work(partial(library.question, owner, wanted)))
    return (
        yield from do(
            FindCandidates(
                *(owner.digest, library.model, asked.vector, asked.terms, total, wanted.kinds, asked.facets),
                *(wanted.since_us, wanted.until_us, FEW, max(MOST, wanted.limit)),
            )
        )
    )


def refresh(terms: MemoryTerms, limit: int) -> Flow[int]:
    """Enter what the indexes of all owners lack, up to so many rows; return how many were entered."""
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise InvalidInput(f"limit is {limit!r:.40}: give a whole number above 0")
    entered = 0
    look: LoadOwners | None = LoadOwners() if terms.index_from is not None else None
    while look is not None:
        page = yield from do(look)
        look = page.following
        for owner in map(Owner.parse, page.names):
            if (yield from _large(terms, owner, terms.index_from or 0)):
                entered += (yield from _caught_up(terms, owner, limit - entered))[0]
            if entered >= limit:
                return entered
    return entered


def _large(terms: MemoryTerms, owner: Owner, index_from: int) -> Flow[int]:
    """Return about how many memories an owner has, if there is an index of them and they are enough; else 0."""
    library = terms.library()
    number = yield from do(LoadIndex(owner.digest, library.model))
    if number is None or number <= index_from:
        return 0
    total = library.ground(owner, number)
    if total is None:
        sample = yield from do(SampleMemories(owner.digest, SAMPLED))
        total = sample.total
        yield from do(work(partial(library.lay_ground, owner, number, sample)))
    return total if total > index_from else 0


def _caught_up(terms: MemoryTerms, owner: Owner, most: int) -> Flow[tuple[int, bool]]:
    """Enter what the index lacks; return how many rows that were, and whether it lacks none now."""
    library = terms.library()
    entered = 0
    while entered < most:
        lacking, more = yield from do(LoadUnindexed(owner.digest, library.model, min(ROWS_A_PAGE, most - entered)))
        if lacking:
            rows = yield from do(work(partial(library.indexed, owner, lacking)))
            yield from do(IndexMemories(owner.digest, library.model, rows))
            entered += len(rows)
        # They change, and come up again with the vectors that they were stored without.
        waiting = [row for row in lacking if body_of(row.body).model == NO_MODEL and not row.superseded]
        if waiting:
            yield from made(terms, owner, waiting)
        elif not more:
            return entered, True
    return entered, False
