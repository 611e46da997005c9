"""Workflows are opened and listed, entries read and expired."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ctxqueue import effects as fx
from ctxqueue.models import GLOBAL_WORKFLOW
from ctxqueue.records import decode_header, meta_of
from ctxqueue.stores.engine import inbox as boxes
from ctxqueue.stores.engine import waiters
from ctxqueue.stores.engine.held import Due, Workflow

if TYPE_CHECKING:
    from ctxqueue.stores.engine.held import Held
    from ctxqueue.stores.engine.state import State

LOW, MEDIUM = 0, 1
"""Ranks."""
AFTER_LOW = 2**52
"""Above any instant in microseconds, so that low entries come before medium ones."""


class Traits(NamedTuple):
    """What a store indexes a record by."""

    version: int
    size: int
    expires_us: int | None
    evict_order: int | None
    """None: it never goes to make room."""
    sensitive: bool
    depends_on: tuple[str, ...]


def traits(record: bytes) -> Traits:
    """Return what a store indexes a record by."""
    header = decode_header(record)
    meta = meta_of(record, header)
    evict_order = None
    if not meta.pinned and meta.rank <= MEDIUM:
        evict_order = header.written_us + (AFTER_LOW if meta.rank == MEDIUM else 0)
    return Traits(
        *(header.stamp.version, len(record), header.expires_us or None),
        *(evict_order, meta.sensitive, tuple(meta.depends_on)),
    )


def is_fresh(record: bytes, now_us: int) -> bool:
    """Whether a record has not expired."""
    expires_us = decode_header(record).expires_us
    return not expires_us or expires_us > now_us


def expiry_of(workflow_id: str) -> Due:
    """Return the name of a workflow's next expiry."""
    return Due("expiry", workflow_id, "")


def head_of(held: Held) -> fx.Head | None:
    """Return what callers are told of a workflow; None if there is none, or it is being removed."""
    return held.workflow.head(held.now_us) if held.workflow and not held.workflow.removing else None


def open_workflow(state: State, effect: fx.Open) -> tuple[bool, fx.Head | None]:
    """Make a workflow if it is absent."""
    held = state.hold(effect.workflow_id)
    if held.workflow is not None:
        return False, head_of(held)
    workflow = Workflow(effect.workflow_id, effect.incarnation, held.now_us, effect.metadata, held.now_us)
    state.save(workflow)
    if effect.workflow_id != GLOBAL_WORKFLOW:
        state.set_due({Due("idle", effect.workflow_id, ""): held.now_us + effect.idle_us})
    return True, workflow.head(held.now_us)


def load(state: State, effect: fx.Load) -> tuple[fx.Head | None, dict[str, bytes]]:
    """Read some addresses."""
    seen = state.see(effect.workflow_id, effect.addresses)
    head = head_of(seen)
    if head is None:
        return None, {}
    return head, {address: record for address, record in seen.records.items() if is_fresh(record, seen.now_us)}


def load_page(state: State, effect: fx.LoadPage) -> tuple[fx.Head | None, list[tuple[str, bytes]], str | None]:
    """Read entries in the order of their addresses."""
    seen, more = state.page(effect)
    head = head_of(seen)
    if head is None:
        return None, [], None
    after = list(seen.records)[-1] if more else None
    return head, [pair for pair in seen.records.items() if is_fresh(pair[1], seen.now_us)], after


def load_graph(state: State, effect: fx.LoadGraph) -> tuple[fx.Head | None, dict[str, tuple[str, ...]]]:
    """Read which keys each address depends on."""
    head = head_of(state.see(effect.workflow_id, ()))
    return head, dict(state.edges(effect.workflow_id)) if head else {}


def load_catalogue(state: State, effect: fx.LoadCatalogue) -> list[str]:
    """Read the ids of workflows, in order."""
    return list(state.catalogue(effect.after, effect.limit))


def measure(state: State, effect: fx.Measure) -> fx.Measured | None:
    """Count what a workflow holds."""
    seen = state.see(effect.workflow_id, ())
    workflow, head = seen.workflow, head_of(seen)
    if workflow is None or head is None:
        return None
    place = effect.workflow_id
    return fx.Measured(
        *(head, workflow.entries, workflow.size, state.count_log(place)),
        *(boxes.of(workflow).stored, state.count_dead(place), state.count_triggers(place)),
        waiting=workflow.parked > 0,
    )


def expire(state: State, effect: fx.Expire) -> fx.Expired:
    """Remove expired entries. Whoever wrote an address again meanwhile has moved its expiry."""
    due = expiry_of(effect.workflow_id)
    held = state.hold(effect.workflow_id)
    workflow, now = held.workflow, held.now_us
    if workflow is None:
        state.clear_due([due])
        return fx.Expired(0, 0, more=False)
    soonest = state.expiring(effect.workflow_id, effect.limit + 1)
    expired = [entry for entry in soonest[: effect.limit] if entry.order <= now]
    # What goes may bring to light what stands further out, or is what somebody wants to know of.
    pending = waiters.waited_on(state, workflow, [entry.address for entry in expired])
    if expired:
        state.remove(effect.workflow_id, [entry.address for entry in expired])
        workflow.floor = max(workflow.floor, *(entry.version for entry in expired))
        workflow.entries -= len(expired)
        workflow.size -= sum(entry.size for entry in expired)
        workflow.revision += 1
        workflow.commit_id, workflow.clock_us = effect.commit_id, now
        state.save(workflow)
        gone = tuple(
            fx.Logged("expired", entry.address, entry.version, entry.version, entry.sensitive) for entry in expired
        )
        record = fx.LogRecord(workflow.revision, effect.commit_id, "", now, gone)
        state.write_log(effect.workflow_id, record, effect.log_limit)
        state.set_due({Due("fan_out", effect.workflow_id, address): now for address in pending})
    following = soonest[len(expired)].order if len(soonest) > len(expired) else None
    if following is None:
        state.clear_due([due])
        return fx.Expired(len(expired), 0 if expired else 1, more=False, pending=pending)
    state.set_due({due: following})
    return fx.Expired(len(expired), 0 if expired else 1, more=following <= now, pending=pending)
