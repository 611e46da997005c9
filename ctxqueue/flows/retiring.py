"""Retention: memories that have expired, are too old or too many go, in small batches, archived before.

Each batch is read, archived and removed, and what was changed or used in between stays: so a run that was cut off goes
on with the next one, and two at once do no harm.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from ctxqueue.clock import microseconds
from ctxqueue.effects import Doomed, DropMemories, DropOwner, Flow, LoadMemories, LoadOwners, LoadRetirable, do, work
from ctxqueue.errors import InvalidInput
from ctxqueue.flows import asking
from ctxqueue.remembered import KINDS, Owner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ctxqueue.effects import MemoryKind, Retirable, Retirement, StoredMemory
    from ctxqueue.rules.retention import Retention

ROWS_A_BATCH = 25
ROWS_A_LOOK = 100
"""Expired ones that a dry run looks at in one call."""
TRIES = 3
"""In a row without removing any of a batch: others are at work on it."""
IDLE_OWNER = 3_600.0
"""Seconds after which an owner without memories is taken off the list; far above `REGISTERED_SECONDS`."""


class Retiring(NamedTuple):
    """What a run goes by."""

    policies: Mapping[str, Retention]
    limit: int
    archive: Callable[[Owner, Sequence[StoredMemory]], None] | None
    """Writes rows where they last; called, and done, before they are removed."""


class Retired(NamedTuple):
    """What went, or in a dry run would go: (type, why) -> how many."""

    owners: int
    counts: Mapping[tuple[str, Retirement], int]
    complete: bool


def retire(rules: Retiring, *, dry_run: bool) -> Flow[Retired]:
    """Go through all owners of the namespace."""
    if isinstance(rules.limit, bool) or not isinstance(rules.limit, int) or rules.limit < 1:
        raise InvalidInput(f"limit is {rules.limit!r}: give a whole number above 0")
    counts: Counter[tuple[str, Retirement]] = Counter()
    if not dry_run:
        yield from asking.swept()
    seen: dict[str, None] = {}  # one that is registered anew meanwhile comes up twice
    look: LoadOwners | None = LoadOwners()
    while look is not None:
        page = yield from do(look)
        look = page.following
        for name in page.names:
            if name in seen:
                continue
            seen[name] = None
            if dry_run:
                yield from _foreseen(Owner.parse(name), rules, counts)
            else:
                yield from _of_owner(name, rules, counts)
                if counts.total() >= rules.limit:
                    return Retired(len(seen), counts, complete=False)
    return Retired(len(seen), counts, complete=True)


def _of_owner(name: str, rules: Retiring, counts: Counter[tuple[str, Retirement]]) -> Flow[None]:
    owner = Owner.parse(name)
    for kind, why in _reasons():
        yield from _removed(owner, kind, why, rules, counts)
        if counts.total() >= rules.limit:
            return
    page = yield from do(LoadMemories(owner.digest, "", 0, 1))
    if not page.incarnation:
        yield from do(DropOwner(name, microseconds(IDLE_OWNER)))


def _reasons() -> Iterator[tuple[MemoryKind, Retirement]]:
    yield "semantic", "expired"  # of every type
    for why in ("aged", "surplus"):
        for kind in KINDS:
            yield kind, why


def _asked(owner: Owner, kind: MemoryKind, why: Retirement, rules: Retiring, skip: int, limit: int) -> LoadRetirable:
    policy = rules.policies[kind]
    return LoadRetirable(owner.digest, kind, why, microseconds(policy.max_age), policy.max_rows, skip, limit)


def _removed(
    owner: Owner, kind: MemoryKind, why: Retirement, rules: Retiring, counts: Counter[tuple[str, Retirement]]
) -> Flow[None]:
    failures = 0
    while failures < TRIES and counts.total() < rules.limit:
        most = min(ROWS_A_BATCH, rules.limit - counts.total())
        found = yield from do(_asked(owner, kind, why, rules, 0, most))
        if not found.rows:
            return
        if rules.archive is not None:
            yield from do(work(partial(rules.archive, owner, found.rows)))
        doomed = tuple(Doomed(row.memory_id, row.number, row.accesses) for row in found.rows)
        removed = yield from do(DropMemories(owner.digest, doomed))
        failures = 0 if removed else failures + 1
        if removed == len(doomed):
            counts.update((row.kind, why) for row in found.rows)
        else:
            counts[kind, why] += removed


def _foreseen(owner: Owner, rules: Retiring, counts: Counter[tuple[str, Retirement]]) -> Flow[None]:
    """Count what a run would remove: one after the other, so what has expired is neither aged nor surplus."""
    expired: Counter[str] = Counter()
    expired_and_aged: Counter[str] = Counter()
    from_us = seen = 0
    while True:
        wanted = _asked(owner, "semantic", "expired", rules, seen, ROWS_A_LOOK)
        found: Retirable = yield from do(replace(wanted, from_us=from_us))
        if not found.rows:
            break
        for row in found.rows:
            counts[row.kind, "expired"] += 1
            if not row.pinned:
                expired[row.kind] += 1
                expired_and_aged[row.kind] += row.created_us <= found.now_us - microseconds(
                    rules.policies[row.kind].max_age
                )
        # Not by how many were seen: passing over those costs more with each call.
        last = found.rows[-1].expires_us
        seen = sum(row.expires_us == last for row in found.rows) + (seen if last == from_us else 0)
        from_us = last
    for kind in KINDS:
        policy = rules.policies[kind]
        found = yield from do(_asked(owner, kind, "aged", rules, 0, 0))
        aged = found.count - expired_and_aged[kind]
        counts[kind, "aged"] += aged
        counts[kind, "surplus"] += max(0, found.total - expired[kind] - aged - policy.max_rows)
