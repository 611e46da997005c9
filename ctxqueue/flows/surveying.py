"""Which workflows there are, and how much each of them holds: for whoever runs the place."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import TYPE_CHECKING

from ctxqueue.clock import MICROSECONDS, instant
from ctxqueue.codec import unpack
from ctxqueue.effects import Batch, LoadBacklog, LoadCatalogue, Measure, do
from ctxqueue.errors import InvalidInput
from ctxqueue.flows.refusals import unknown_workflow
from ctxqueue.models import Backlog, Page, WorkflowSummary, checked_name
from ctxqueue.settings import MAX_PAGE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ctxqueue.effects import Flow, Measured
    from ctxqueue.flows.terms import Terms

SHARDS_A_BATCH = 256


def summary(workflow_id: str) -> Flow[WorkflowSummary]:
    """Return what one workflow holds; raises WorkflowNotFound, InvalidName."""
    measured = yield from do(Measure(checked_name(workflow_id, "workflow_id")))
    if measured is None:
        raise unknown_workflow(workflow_id)
    return _summary(workflow_id, measured)


def workflows(terms: Terms, prefix: str, limit: int, cursor: str | None) -> Flow[Page[WorkflowSummary]]:
    """Return workflows whose id begins with a prefix, by shard and id; the global context is not among them.

    One that was removed meanwhile is left out.
    """
    checked_limit(limit)
    if prefix != "":
        checked_name(prefix, "prefix")
    shards = terms.shards
    first, start = _read_cursor(cursor, len(shards))
    ids: list[tuple[int, str]] = []
    width = 1  # where one shard holds a page, few are asked for one
    while first < len(shards) and len(ids) <= limit:
        places = range(first, min(first + width, len(shards)))
        ids += yield from _of_shards(shards, places, start or prefix[:-1], prefix, limit + 1 - len(ids))
        first, start, width = places.stop, "", min(2 * width, SHARDS_A_BATCH)
    measured = yield from do(Batch(tuple(Measure(workflow_id) for _, workflow_id in ids[:limit])))
    found = zip(ids, measured, strict=False)
    page = tuple(_summary(workflow_id, each) for (_, workflow_id), each in found if each is not None)
    return Page(page, _cursor(*ids[limit - 1]) if len(ids) > limit else None)


def _of_shards(shards: Sequence[int], places: range, start: str, prefix: str, most: int) -> Flow[list[tuple[int, str]]]:
    """Return up to ``most`` (place of the shard, id) of some shards; ``start`` is where the first of them goes on."""
    begin = prefix[:-1]  # sorts before all that begin with the prefix, and behind little else
    at = {place: start if place == places.start else begin for place in places}
    ids: dict[int, list[str]] = {place: [] for place in places}
    while at:
        pages = yield from do(Batch(tuple(LoadCatalogue(shards[place], after, most) for place, after in at.items())))
        for place, page in zip(list(at), pages, strict=True):
            ids[place] += [workflow_id for workflow_id in page if workflow_id.startswith(prefix)]
            at[place] = page[-1] if page else ""
            beyond = not page or (page[-1] > prefix and not page[-1].startswith(prefix))
            if len(page) < most or beyond or len(ids[place]) >= most:
                del at[place]
    return [(place, workflow_id) for place in places for workflow_id in ids[place]][:most]


def backlog(terms: Terms) -> Flow[Backlog]:
    """Return what all shards have yet to do."""
    overdue, outbox = 0, 0
    oldest, outbox_age = 0, 0
    for first in range(0, len(terms.shards), SHARDS_A_BATCH):
        some = yield from do(LoadBacklog(tuple(terms.shards[first : first + SHARDS_A_BATCH])))
        overdue, outbox = overdue + some.overdue, outbox + some.outgoing
        if some.oldest_due_us:
            oldest = max(oldest, some.now_us - some.oldest_due_us)
        if some.oldest_outgoing_us:
            outbox_age = max(outbox_age, some.now_us - some.oldest_outgoing_us)
    return Backlog(overdue, oldest / MICROSECONDS, outbox, outbox_age / MICROSECONDS)


def checked_limit(limit: int) -> None:
    """Raise InvalidInput unless it is one of a page."""
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MAX_PAGE:
        raise InvalidInput(f"limit is {limit!r:.40}: give a whole number from 1 to {MAX_PAGE}")


def _summary(workflow_id: str, measured: Measured) -> WorkflowSummary:
    head = measured.head
    return WorkflowSummary(
        workflow_id=workflow_id,
        revision=head.revision,
        created_at=instant(head.created_us),
        closed_at=instant(head.closed_us) if head.closed_us else None,
        entries=measured.entries,
        bytes=measured.size,
        log_records=measured.logged,
        stored_updates=measured.updates,
        dead_letters=measured.dead,
        triggers=measured.triggers,
        waiting=measured.waiting,
        metadata=unpack(head.metadata) if head.metadata else {},
    )


def _cursor(place: int, workflow_id: str) -> str:
    return urlsafe_b64encode(f"{place}\0{workflow_id}".encode()).decode()


def _read_cursor(cursor: str | None, shards: int) -> tuple[int, str]:
    if cursor is None:
        return 0, ""
    try:
        place, after = urlsafe_b64decode(cursor).decode().split("\0", 1)
        if 0 <= int(place) < shards and after:
            return int(place), after
    except (ValueError, TypeError):
        pass
    raise InvalidInput(f"cursor {cursor!r:.60} is not one that workflows() returned")
