"""One commit: the journal is asked first, then all is decided, then all is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ctxqueue import effects as fx
from ctxqueue.clock import MICROSECONDS
from ctxqueue.identity import LANE_SECONDS
from ctxqueue.settings import MAX_RUN_CALLS
from ctxqueue.stores.engine import audit, eviction, inbox, waiters, writes
from ctxqueue.stores.engine.entries import expiry_of
from ctxqueue.stores.engine.held import Answer, Entry, Journaled, Wanted

if TYPE_CHECKING:
    from ctxqueue.stores.engine.held import Held, Workflow
    from ctxqueue.stores.engine.state import State
    from ctxqueue.stores.engine.waiters import Considered
    from ctxqueue.stores.engine.writes import Decided


def commit(state: State, effect: fx.Commit) -> fx.Committed | fx.Conflict | fx.Refused:
    """Write some addresses as one revision, together with journal, waiters and outbox."""
    call = effect.call
    place = Entry(call.owner, call.call_id if call.mode == "run" else "")
    held = state.hold(
        effect.workflow_id, Wanted([write.address for write in effect.writes], run=call.run_id, call=place)
    )
    workflow, now = held.workflow, held.now_us
    if workflow is None or workflow.removing:
        return fx.Refused("no_workflow")
    settling = effect.settling
    refused = _answered(effect, held, workflow)
    if refused is None and settling is not None:
        refused = inbox.refused(state, workflow, settling, now, writes=bool(effect.writes))
    decided = refused or writes.Decision(effect, workflow, held.records, now).made()
    if isinstance(decided, writes.Decided):
        decided = eviction.make_room(state, effect, workflow, decided, now) or decided
    if not isinstance(decided, writes.Decided):
        return decided
    considered = waiters.consider_arrivals(state, workflow, decided, now)
    _write(state, effect, workflow, now, decided)
    outgoing = waiters.carry_out(state, workflow, considered, now, effect.app, effect.lease_us)
    left = 0
    if settling is not None:
        reports, left = inbox.settle(state, effect, settling, workflow, decided.versions, now)
        outgoing += reports
    if decided.changes or considered.fires or settling is not None:
        state.save(workflow)
    _remember(state, effect, held, place, decided)
    return _committed(effect, workflow, now, decided, considered, outgoing, left)


def _answered(  # noqa: PLR0911 - one answer a reason
    effect: fx.Commit, held: Held, workflow: Workflow
) -> fx.Committed | fx.Refused | None:
    """Return the answer to a commit of which the writes need not be looked at."""
    call = effect.call
    if call.run_id and held.run.epoch > call.epoch:
        return fx.Refused("superseded", str(held.run.epoch))
    earlier = _earlier(effect, held, workflow)
    if earlier is not None:
        return earlier
    if workflow.closed_us and not effect.even_closed and (effect.writes or effect.settling is None):
        return fx.Refused("closed")
    if effect.expected_head and effect.expected_head != workflow.commit_id:
        return fx.Refused("moved", str(workflow.revision))
    if effect.incarnation and effect.incarnation != workflow.incarnation:
        return fx.Refused("reborn")
    if call.mode == "run" and held.run.calls >= MAX_RUN_CALLS:
        return fx.Refused("calls", str(MAX_RUN_CALLS))
    if effect.graph is not None and effect.graph != workflow.graph:
        return fx.Refused("graph_moved", str(workflow.graph))
    return None


def _earlier(effect: fx.Commit, held: Held, workflow: Workflow) -> fx.Committed | fx.Refused | None:
    """Return the answer to a call that was made before."""
    if held.journaled is None:
        return None
    first, number = held.journaled
    if effect.call.mode == "lane" and number != int(effect.call.call_id):
        return fx.Refused("stale", str(number)) if number > int(effect.call.call_id) else None
    if first.incarnation != workflow.incarnation or first.failure:
        return None
    diverged = first.digest != effect.digest
    if diverged and effect.on_divergence == "error":
        return fx.Refused("diverged")
    if diverged and effect.on_divergence == "apply":
        return None
    return fx.Committed(
        revision=first.revision,
        versions=first.versions,
        now_us=first.now_us,
        commit_id=first.commit_id,
        replayed=True,
        diverged=diverged,
        fired=0,
        outgoing=(),
        pending=(),
        addresses=first.addresses if diverged else (),
        left=inbox.of(workflow).queued if effect.settling is not None else 0,
    )


def _write(state: State, effect: fx.Commit, workflow: Workflow, now: int, decided: Decided) -> None:
    for address in decided.purged:
        state.forget_values(effect.workflow_id, address)
    if not decided.changes:
        return
    bounds = effect.bounds
    if decided.kept:
        state.keep(effect.workflow_id, decided.kept, bounds.history - 1)
    if decided.records:
        state.store(effect.workflow_id, decided.records)
    if decided.removed:
        state.remove(effect.workflow_id, decided.removed)
    if decided.earliest_us is not None:
        state.set_due({expiry_of(effect.workflow_id): decided.earliest_us}, sooner=True)
    workflow.revision += 1
    workflow.commit_id, workflow.clock_us = effect.commit_id, now
    workflow.entries, workflow.size, workflow.floor = decided.entries, decided.size, decided.floor
    workflow.graph += decided.new_edges
    record = fx.LogRecord(workflow.revision, effect.commit_id, effect.agent_id, now, tuple(decided.logged))
    state.write_log(effect.workflow_id, record, bounds.log_limit)
    if bounds.audit.limit and (audited := audit.of_commit(effect, decided, workflow.revision)):
        audit.write(state, audited, now, bounds.audit)


def _remember(state: State, effect: fx.Commit, held: Held, place: Entry, decided: Decided) -> None:
    call, now, workflow = effect.call, held.now_us, held.workflow
    if workflow is None:
        return
    if call.run_id:
        held.run.epoch = call.epoch
        held.run.ends_us = max(held.run.ends_us, now + effect.bounds.horizon_us)
        if call.mode == "run" and held.journaled is None:
            held.run.calls += 1
        state.save_run(effect.workflow_id, call.run_id, held.run)
    kept_us = int(LANE_SECONDS * MICROSECONDS) if call.mode == "lane" else effect.bounds.horizon_us
    named = tuple(write.address for write in effect.writes) if call.mode == "operation" else ()
    answer = Answer(
        *(effect.digest, workflow.revision, now, effect.commit_id),
        *(tuple(decided.versions), named, workflow.incarnation),
    )
    number = int(call.call_id) if call.mode == "lane" else 0
    state.journal(effect.workflow_id, place, Journaled(answer, number), now + kept_us)


def _committed(
    effect: fx.Commit,
    workflow: Workflow,
    now: int,
    decided: Decided,
    considered: Considered,
    outgoing: tuple[fx.Outgoing, ...],
    left: int,
) -> fx.Committed:
    return fx.Committed(
        revision=workflow.revision,
        versions=tuple(decided.versions),
        now_us=now,
        commit_id=effect.commit_id,
        replayed=False,
        diverged=False,
        fired=len(considered.fires),
        outgoing=outgoing,
        judged=tuple(considered.judged),
        pending=considered.pending,
        left=left,
    )
