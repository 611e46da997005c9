"""What beat sets going: expired entries, deadlines, standbys, long lists of waiters, and the outbox.

Every step is idempotent, so two sweeps at once, or one that dies, do no harm.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from ctxqueue.effects import Due, Expire, FanOut, Flow, PeekDue, Publish, Release, Remind, Settle, TakeOutgoing, do
from ctxqueue.errors import DecryptionError, StoreUnavailable
from ctxqueue.flows import ending, judging
from ctxqueue.flows.committing import FAN_OUT_PAGE
from ctxqueue.flows.publishing import publish
from ctxqueue.models import SweepReport

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ctxqueue.flows.terms import Terms

logger = logging.getLogger(__name__)

SHARDS_A_BATCH = 256
ENTRIES_A_STEP = 100
OUTGOING_A_BATCH = 50
REMINDERS_A_STEP = 100


def _batches(terms: Terms) -> Iterator[tuple[int, ...]]:
    for first in range(0, len(terms.shards), SHARDS_A_BATCH):
        yield tuple(terms.shards[first : first + SHARDS_A_BATCH])


def sweep(terms: Terms, limit: int) -> Flow[SweepReport]:
    """Do what is due, up to ``limit`` entries and messages; ``seconds`` is left to the caller's clock."""
    scanned = expired = kept = 0
    for shards in _batches(terms):
        for due in (yield from do(PeekDue(shards, limit + 1))):
            if scanned + expired >= limit:
                return SweepReport(scanned, expired, 0, kept, complete=False)
            scanned += 1
            try:
                removed, renewed, complete = yield from _carry_out(terms, due, limit - expired)
            except (StoreUnavailable, DecryptionError) as error:
                if not getattr(error, "answered", True):
                    raise
                # One damaged workflow must not keep the others waiting.
                logger.error("%s of workflow %r is left for later: %s", due.kind, due.workflow_id, error)  # noqa: TRY400
                continue
            expired += removed
            kept += renewed
            if not complete:
                return SweepReport(scanned, expired, 0, kept, complete=False)
    return SweepReport(scanned, expired, 0, kept)


def _carry_out(terms: Terms, due: Due, limit: int) -> Flow[tuple[int, int, bool]]:
    """Do one due thing; return expired, kept, and whether it is done."""
    if due.kind == "expiry":
        return (yield from _expire(terms, due, limit))
    done = yield from _done(terms, due)
    return 0, 0 if done else 1, True


def _done(terms: Terms, due: Due) -> Flow[bool | int]:
    """Do a due thing of one step; return whether there was anything to be done now."""
    if due.kind == "fan_out":
        return (yield from _fan_out(terms, due))
    if due.kind == "judge":
        return (yield from judging.judge(terms, due.workflow_id, due.detail))
    if due.kind == "idle":
        return (yield from ending.remove_if_idle(terms, due.workflow_id))
    if due.kind == "end":
        yield from ending.go_on_ending(terms, due.workflow_id)
        return True
    if due.kind in ("inbox", "updates"):
        return (yield from do(Remind(due, REMINDERS_A_STEP, terms.lease_us)))
    released = yield from do(Release(due, terms.lease_us, terms.bounds.horizon_us))
    if released == "given_up":
        logger.error(
            "run %s in workflow %r was sent again and again and nobody has claimed it: its message is dropped",
            *(due.detail, due.workflow_id),
        )
    return released != "kept"


def _fan_out(terms: Terms, due: Due) -> Flow[bool]:
    while True:
        page = yield from do(FanOut(due.workflow_id, due.detail, FAN_OUT_PAGE, terms.app, terms.lease_us))
        yield from publish(terms, due.workflow_id, page.outgoing)
        for run in page.judged:
            yield from judging.judge(terms, due.workflow_id, run)
        if not page.more:
            return True


def _expire(terms: Terms, due: Due, limit: int) -> Flow[tuple[int, int, bool]]:
    expired = kept = 0
    while expired < limit:
        most = min(ENTRIES_A_STEP, limit - expired)
        step = yield from do(Expire(due.workflow_id, os.urandom(8), most, terms.bounds.log_limit))
        for address in step.pending:
            yield from _fan_out(terms, Due(due.shard, "fan_out", due.workflow_id, address, due.score_us))
        expired += step.expired
        kept += step.kept
        if not step.more:
            return expired, kept, True
    return expired, kept, False


def resend(terms: Terms, limit: int) -> Flow[int]:
    """Publish what the outbox holds for our app: what a crash left behind. Return how many the broker took."""
    sent = 0
    for shards in _batches(terms):
        while sent < limit:
            taken = yield from do(TakeOutgoing(shards, terms.app, OUTGOING_A_BATCH, terms.lease_us))
            if not taken:
                break
            accepted = yield from do(Publish(tuple(item for _, item in taken)))
            if not accepted:
                return sent  # the broker is away: what was taken goes out after its lease
            for shard in {shard for shard, _ in taken}:
                ids = tuple(item.item_id for home, item in taken if home == shard and item.item_id in accepted)
                if ids:
                    yield from do(Settle(shard, ids))
            sent += len(accepted)
    return sent
