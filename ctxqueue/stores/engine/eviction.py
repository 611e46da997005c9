"""Room for a commit: expired entries go first, then low, then medium ones, those written longest ago first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ctxqueue import effects as fx
from ctxqueue.rules.dependencies import addresses_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ctxqueue.stores.engine.held import Removable, Workflow
    from ctxqueue.stores.engine.state import State
    from ctxqueue.stores.engine.writes import Decided

MOST_VICTIMS = 100
MOST_GUARDS = 200
"""Conditions of runs about to read; with more of them than can be looked at, none is robbed."""


def make_room(state: State, effect: fx.Commit, workflow: Workflow, decided: Decided, now_us: int) -> fx.Refused | None:
    """Add to what the commit removes until it has room; return the refusal if there is none to be made."""
    if _over(effect, workflow, decided) is None:
        return None
    ours = {write.address for write in effect.writes}
    guards = state.guarded(workflow.workflow_id, now_us, MOST_GUARDS + 1)
    awaited = {address for condition in guards for address in addresses_of(condition)}
    victims: dict[str, fx.Logged] = {}

    def take(candidates: Iterable[Removable], kind: Literal["expired", "evicted"], spared: set[str]) -> None:
        for entry in candidates:
            if len(victims) == MOST_VICTIMS or _over(effect, workflow, decided) is None:
                return
            if entry.address in ours or entry.address in spared or entry.address in victims:
                continue
            victims[entry.address] = fx.Logged(kind, entry.address, entry.version, entry.version, entry.sensitive)
            decided.entries -= 1
            decided.size -= entry.size
            decided.floor = max(decided.floor, entry.version)

    expired = (entry for entry in state.expiring(workflow.workflow_id, MOST_VICTIMS) if entry.order <= now_us)
    take(expired, "expired", set())
    if len(guards) <= MOST_GUARDS:
        most = MOST_VICTIMS + len(ours) + len(awaited) + 1
        take(state.evictable(workflow.workflow_id, most), "evicted", awaited)
    refused = _over(effect, workflow, decided)
    if refused is None:
        decided.removed += victims
        decided.logged += victims.values()
    return refused


def _over(effect: fx.Commit, workflow: Workflow, decided: Decided) -> fx.Refused | None:
    # A workflow that is over a limit, as a lowered one may leave it, can still be written to and shrunk.
    bounds = effect.bounds
    if decided.entries > bounds.max_entries and decided.entries > workflow.entries:
        return fx.Refused("entries", str(decided.entries))
    if decided.size > bounds.max_bytes and decided.size > workflow.size:
        return fx.Refused("bytes", str(decided.size))
    return None
