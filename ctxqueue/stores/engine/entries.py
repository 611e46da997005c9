"""Workflows are opened, entries read and expired."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ctxqueue import effects as fx
from ctxqueue.records import decode_header
from ctxqueue.stores.engine.state import Due, Workflow

if TYPE_CHECKING:
    from ctxqueue.stores.engine.state import State


def is_fresh(record: bytes, now_us: int) -> bool:
    """Whether a record has not expired."""
    expires_us = decode_header(record).expires_us
    return not expires_us or expires_us > now_us


def expiry_of(workflow_id: str) -> Due:
    """Return the name of a workflow's next expiry."""
    return Due("expiry", workflow_id, "")


def open_workflow(state: State, effect: fx.Open) -> tuple[bool, fx.Head]:
    """Make a workflow if it is absent."""
    held = state.hold(effect.workflow_id)
    workflow = held.workflow
    if workflow is not None:
        return False, workflow.head(held.now_us)
    workflow = Workflow(effect.workflow_id, effect.incarnation, held.now_us, effect.metadata, held.now_us)
    state.save(workflow)
    return True, workflow.head(held.now_us)


def load(state: State, effect: fx.Load) -> tuple[fx.Head | None, dict[str, bytes]]:
    """Read some addresses."""
    seen = state.see(effect.workflow_id, effect.addresses)
    if seen.workflow is None:
        return None, {}
    fresh = {address: record for address, record in seen.records.items() if is_fresh(record, seen.now_us)}
    return seen.workflow.head(seen.now_us), fresh


def load_page(state: State, effect: fx.LoadPage) -> tuple[fx.Head | None, list[tuple[str, bytes]], str | None]:
    """Read entries in the order of their addresses."""
    seen, more = state.page(effect)
    if seen.workflow is None:
        return None, [], None
    after = list(seen.records)[-1] if more else None
    fresh = [(address, record) for address, record in seen.records.items() if is_fresh(record, seen.now_us)]
    return seen.workflow.head(seen.now_us), fresh, after


def expire(state: State, effect: fx.Expire) -> fx.Expired:
    """Remove expired entries. Whoever wrote an address again meanwhile has moved its expiry."""
    due = expiry_of(effect.workflow_id)
    held = state.hold(effect.workflow_id)
    workflow, now = held.workflow, held.now_us
    if workflow is None:
        state.clear_due([due])
        return fx.Expired(0, 0, more=False)
    soonest = state.expiring(effect.workflow_id, effect.limit + 1)
    expired = [entry for entry in soonest[: effect.limit] if entry.expires_us <= now]
    if expired:
        state.remove(effect.workflow_id, [entry.address for entry in expired])
        workflow.floor = max(workflow.floor, *(entry.version for entry in expired))
        workflow.entries -= len(expired)
        workflow.size -= sum(entry.size for entry in expired)
        workflow.revision += 1
        workflow.commit_id, workflow.clock_us = effect.commit_id, now
        state.save(workflow)
    following = soonest[len(expired)].expires_us if len(soonest) > len(expired) else None
    if following is None:
        state.clear_due([due])
        return fx.Expired(len(expired), 0 if expired else 1, more=False)
    state.set_due({due: following})
    return fx.Expired(len(expired), 0 if expired else 1, more=following <= now)
