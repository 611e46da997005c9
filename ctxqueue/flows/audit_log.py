"""Reading the audit log: the logs of all shards as one, in order of time."""

from __future__ import annotations

import heapq
import random
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from ctxqueue.audited import AuditedEntry, AuditRecord
from ctxqueue.clock import instant, since_epoch
from ctxqueue.effects import Flow, LoadAudit, TrimAudit, do
from ctxqueue.errors import InvalidInput, RecordDamaged
from ctxqueue.flows.surveying import checked_limit
from ctxqueue.models import GLOBAL_WORKFLOW, Address, Page

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ctxqueue.effects import Audited, AuditItem
    from ctxqueue.flows.terms import Terms

SHARDS_A_BATCH = 256
SWEEPS = 16
"""In which all shards' logs are trimmed once, by and large."""
MOST_AT_ONCE = 200
"""Records of one shard that are read at once."""
NEVER_US = 2**62
NUMBERED = 20
"""Digits of a tie that is a number; in a database it is an id."""

Place = tuple[int, int, str]
"""Instant, shard, tie: what the whole log is in order of."""

_origin = msgspec.msgpack.Decoder(tuple[str, str, str, str, str]).decode
UNKNOWN = ("", "", "", "", "")


@dataclass(slots=True)
class _Shard:
    """How far one shard's log has been read."""

    number: int
    after: tuple[int, str]
    asked: int
    ended: bool = False
    items: list[AuditItem] = field(default_factory=list)
    """Read and not handed out yet, the first one last."""

    def read(self, items: tuple[AuditItem, ...]) -> None:
        self.ended = len(items) < self.asked
        self.items = list(reversed(items))
        if items:
            self.after = items[-1].at_us, items[-1].tie
        self.asked = min(MOST_AT_ONCE, 2 * self.asked)

    @property
    def first(self) -> Place:
        return self.items[-1].at_us, self.number, self.items[-1].tie


def page(
    terms: Terms, since: datetime | None, until: datetime | None, limit: int, cursor: str | None
) -> Flow[Page[AuditRecord]]:
    """Return records in order of time; raises InvalidInput."""
    checked_limit(limit)
    first_us, until_us = _checked(since, "since", 0), _checked(until, "until", NEVER_US)
    begin = _read_cursor(cursor) if cursor is not None else None
    asked = min(MOST_AT_ONCE, -(-2 * limit // len(terms.shards)) + 1)
    shards = [_Shard(number, _after(number, begin, first_us), asked) for number in terms.shards]
    for some in _batches(shards):
        replies = yield from do(LoadAudit(tuple((shard.number, *shard.after) for shard in some), asked))
        for shard, items in zip(some, replies, strict=True):
            shard.read(items)
    waiting = [(shard.first, index) for index, shard in enumerate(shards) if shard.items]
    heapq.heapify(waiting)
    found: list[AuditRecord] = []
    last: Place = (0, 0, "")
    while waiting and waiting[0][0][0] < until_us:
        place, index = waiting[0]
        shard = shards[index]
        if len(found) == limit:
            return Page(tuple(found), _cursor(last))
        found.append(_record(place, shard.items.pop().audited))
        last = place
        if not shard.items and not shard.ended:
            (items,) = yield from do(LoadAudit(((shard.number, *shard.after),), shard.asked))
            shard.read(items)
        if shard.items:
            heapq.heapreplace(waiting, (shard.first, index))
        else:
            heapq.heappop(waiting)
    return Page(tuple(found), None)


def gone(terms: Terms) -> Flow[int | None]:
    """Return how many records have gone from the log by its bounds; None: the store does not number them.

    By the number of the oldest one of each shard that is left.
    """
    found = 0
    for first in range(0, len(terms.shards), SHARDS_A_BATCH):
        some = terms.shards[first : first + SHARDS_A_BATCH]
        for items in (yield from do(LoadAudit(tuple((shard, 0, "") for shard in some), 1))):
            for item in items:
                if len(item.tie) != NUMBERED:
                    return None
                found += int(item.tie) - 1
    return found


def trim_some(terms: Terms) -> Flow[None]:
    """Remove what is beyond the bounds, of many shards from one in so many: over time from all of them.

    Writing does so too; this is for logs that nobody writes to any more.
    """
    if not terms.bounds.audit.limit:
        return
    step = SWEEPS if len(terms.shards) > 1 else 1
    shards = tuple(terms.shards[random.randrange(step) :: step])  # noqa: S311 - only spreads the work
    yield from do(TrimAudit(shards, terms.bounds.audit))


def _batches(shards: list[_Shard]) -> Iterator[list[_Shard]]:
    for first in range(0, len(shards), SHARDS_A_BATCH):
        yield shards[first : first + SHARDS_A_BATCH]


def _after(shard: int, begin: Place | None, first_us: int) -> tuple[int, str]:
    if begin is None:
        return first_us, ""
    at_us, of_shard, tie = begin
    if shard == of_shard:
        return at_us, tie
    return (at_us if shard > of_shard else at_us + 1), ""


def _record(place: Place, audited: Audited) -> AuditRecord:
    at_us, shard, tie = place
    name = f"{at_us}-{shard}-{tie}"
    of_global = audited.workflow_id == GLOBAL_WORKFLOW
    try:
        addresses = [(Address.decode(encoded, of_global=of_global), version) for encoded, version in audited.places]
        agent_type, agent_role, task_id, run_id, trace_id = _origin(audited.origin) if audited.origin else UNKNOWN
    except (ValueError, TypeError, AttributeError, msgspec.MsgspecError) as error:
        raise RecordDamaged(f"record {name} of the audit log is damaged: {type(error).__name__}") from None
    return AuditRecord(
        id=name,
        at=instant(at_us),
        action=audited.action,
        agent_id=audited.agent_id,
        agent_type=agent_type,
        agent_role=agent_role,
        workflow_id="" if of_global else audited.workflow_id,
        entries=tuple(AuditedEntry(each.key, each.scope, each.owner, version) for each, version in addresses),
        revision=audited.revision,
        detail=audited.detail,
        task_id=task_id,
        run_id=run_id,
        trace_id=trace_id,
    )


def _checked(at: datetime | None, name: str, default: int) -> int:
    if at is None:
        return default
    if not isinstance(at, datetime) or at.tzinfo is None:
        raise InvalidInput(f"{name} is {at!r:.60}: give a datetime with its time zone")
    return since_epoch(at)


def _cursor(place: Place) -> str:
    return urlsafe_b64encode("\0".join(map(str, place)).encode()).decode()


def _read_cursor(cursor: str) -> Place:
    try:
        at_us, shard, tie = urlsafe_b64decode(cursor).decode().split("\0")
        bytes.fromhex(tie)
        place = int(at_us), int(shard), tie
    except (ValueError, TypeError, AttributeError):
        raise InvalidInput(f"cursor {cursor!r:.60} is not one that audit() returned") from None
    return place
