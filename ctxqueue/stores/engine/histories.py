"""The log of changes, the values that were, and what brings an earlier reading up to date."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ctxqueue import effects as fx
from ctxqueue.records import decode_header
from ctxqueue.stores.engine.entries import head_of
from ctxqueue.stores.engine.held import Wanted

if TYPE_CHECKING:
    from ctxqueue.stores.engine.state import State

MOST_ADDRESSES = 1_000
"""That one reading brings up to date."""
EVERYTHING = 2**62
"""Bytes."""


def load_log(state: State, effect: fx.LoadLog) -> tuple[fx.Head | None, int, list[fx.LogRecord]]:
    """Read log records from a revision on."""
    head = head_of(state.see(effect.workflow_id, ()))
    if head is None:
        return None, 1, []
    oldest = state.oldest_logged(effect.workflow_id)
    records = state.log(effect.workflow_id, effect.from_revision, effect.limit, effect.max_bytes)
    return head, head.revision + 1 if oldest is None else oldest, list(records)


def load_history(state: State, effect: fx.LoadHistory) -> tuple[fx.Head | None, bytes | None, list[fx.Kept], bool]:
    """Read one address's record and the values kept of it."""
    seen = state.see(effect.workflow_id, (effect.address,))
    head = head_of(seen)
    if head is None:
        return None, None, [], False
    kept, more = state.history(effect.workflow_id, effect.address, effect.skip, effect.max_bytes)
    return head, seen.records.get(effect.address), list(kept), more


def load_history_addresses(state: State, effect: fx.LoadHistoryAddresses) -> list[str]:
    """Read the addresses of which values are kept."""
    return list(state.history_addresses(effect.workflow_id, effect.after, effect.limit))


def load_gone(state: State, effect: fx.LoadGone) -> list[str]:
    """Read addresses at which nothing stands any more, and of which values are kept."""
    return list(state.gone(effect.workflow_id, effect.gone_by, effect.limit))


def forget(state: State, effect: fx.Forget) -> int:
    """Remove kept values of one address: those of these versions, or all."""
    held = state.hold(effect.workflow_id, Wanted([effect.address]))
    if held.workflow is None:
        return 0
    kept, _ = state.history(effect.workflow_id, effect.address, 0, EVERYTHING)
    if effect.gone_by:
        if not kept or kept[0].until > effect.gone_by or effect.address in held.records:
            return 0
        state.forget_values(effect.workflow_id, effect.address)
        return len(kept)
    there = [decode_header(value.record).stamp.version for value in kept]
    unwanted = [version for version in there if version in effect.versions]
    if unwanted:
        state.forget_values(effect.workflow_id, effect.address, unwanted)
    return len(unwanted)


def reseal(state: State, effect: fx.Reseal) -> int:
    """Write records of one address anew that differ only in how their values are encrypted."""
    held = state.hold(effect.workflow_id, Wanted([effect.address]))
    workflow = held.workflow
    if workflow is None or workflow.removing or workflow.incarnation != effect.incarnation:
        return 0
    standing = held.records.get(effect.address)
    kept: dict[tuple[int, bytes], bool] = {}
    if any(swap.until for swap in effect.swaps):
        values, _ = state.history(effect.workflow_id, effect.address, 0, EVERYTHING)
        kept = {(value.until, value.record): True for value in values}
    anew = [fx.Kept(swap.until, swap.new) for swap in effect.swaps if (swap.until, swap.old) in kept]
    if anew:
        state.rewrite(effect.workflow_id, effect.address, anew)
    for swap in effect.swaps:
        if not swap.until and swap.old == standing:
            state.store(effect.workflow_id, {effect.address: swap.new})
            if len(swap.new) != len(swap.old):
                workflow.size += len(swap.new) - len(swap.old)
                state.save(workflow)
            return len(anew) + 1
    return len(anew)


def load_since(state: State, effect: fx.LoadSince) -> fx.Since:
    """Bring what was read at one revision up to date."""
    head = head_of(state.see(effect.workflow_id, ()))
    if head is None or head.incarnation != effect.incarnation or head.revision < effect.revision:
        return fx.Since(head, "reload")
    if head.revision == effect.revision:
        return fx.Since(head, "same" if head.commit_id == effect.commit_id else "reload")
    addresses = _changed_since(state, effect, head.revision)
    if not 0 < len(addresses) <= MOST_ADDRESSES:
        return fx.Since(head, "reload")
    records = state.see(effect.workflow_id, addresses).records
    return fx.Since(head, "changed", {address: records.get(address) for address in addresses})


def _changed_since(state: State, effect: fx.LoadSince, revision: int) -> tuple[str, ...]:
    """Return the addresses that have changed; none if the log does not say."""
    behind = revision - effect.revision
    if behind > effect.limit:
        return ()
    log = state.log(effect.workflow_id, effect.revision, behind + 1, EVERYTHING)
    if effect.revision:
        # The log's record of the revision itself says whether this is still the history that was read.
        if not log or (log[0].revision, log[0].commit_id) != (effect.revision, effect.commit_id):
            return ()
        log = log[1:]
    if len(log) != behind:
        return ()
    return tuple({change.address: None for record in log for change in record.changes})
