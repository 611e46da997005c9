"""The end of a workflow: no more writes, then its parked runs are released, then all that belongs to it goes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ctxqueue import effects as fx
from ctxqueue.stores.engine import inbox, recurring, waiters
from ctxqueue.stores.engine.held import Due
from ctxqueue.stores.engine.triggers import KEPT_ENDED

if TYPE_CHECKING:
    from ctxqueue.stores.engine.state import State


def close(state: State, effect: fx.Close) -> Literal["closed", "kept", "no_workflow"]:
    """Refuse all further writes of a workflow and make its end due."""
    idle = Due("idle", effect.workflow_id, "")
    held = state.hold(effect.workflow_id)
    workflow, now = held.workflow, held.now_us
    if workflow is None:
        state.clear_due([idle])
        return "no_workflow"
    if effect.idle_us is not None:
        lasting = state.count_parked(effect.workflow_id, fx.LASTING) if workflow.parked else 0
        awaited = workflow.parked > lasting or inbox.of(workflow).stored or state.any_ready(effect.workflow_id)
        idle_at = (max(workflow.clock_us, now) if awaited else workflow.clock_us) + effect.idle_us
        if idle_at > now:
            state.set_due({idle: idle_at})
            return "kept"
    workflow.closed_us = workflow.closed_us or now
    workflow.removing = workflow.removing or effect.remove
    state.save(workflow)
    state.set_due({Due("end", effect.workflow_id, ""): now})
    state.clear_due([idle])
    return "closed"


def end(state: State, effect: fx.End) -> fx.Ended:
    """Do one step of a closed workflow's end."""
    name = Due("end", effect.workflow_id, "")
    held = state.hold(effect.workflow_id)
    workflow, now = held.workflow, held.now_us
    if workflow is None or not workflow.closed_us:
        state.clear_due([name])
        return fx.Ended("done")
    if workflow.parked:
        runs = state.some_parked(effect.workflow_id, effect.limit)
        triggers = {run: parked for run, parked in runs.items() if recurring.is_trigger(parked)}
        if triggers:
            waiters.stop_waiting(state, workflow, triggers)
            for trigger_id in triggers:
                kept = state.trigger(effect.workflow_id, trigger_id)
                if kept is not None:
                    ended = recurring.ended(kept, "CANCELLED", "the workflow was closed", now)
                    state.save_trigger(effect.workflow_id, trigger_id, ended)
            state.trim_triggers(effect.workflow_id, KEPT_ENDED)
        tasks = {run: parked for run, parked in runs.items() if run not in triggers}
        outgoing = waiters.fire(state, workflow, tasks, now, effect.lease_us, effect.app)
        state.save(workflow)
        return fx.Ended("more", outgoing)
    if not workflow.removing:
        ends = workflow.closed_us + effect.horizon_us
        if ends > now:
            state.set_due({name: ends})
            return fx.Ended("waiting")
        workflow.removing = True
        state.save(workflow)
    for address in effect.drop:
        state.forget_values(effect.workflow_id, address)
    after = max(effect.drop) if effect.drop else ""
    following = state.history_addresses(effect.workflow_id, after, effect.limit)
    if following:
        return fx.Ended("more", history=tuple(following))
    state.drop(effect.workflow_id)
    kinds = ("expiry", "idle", "inbox", "updates")
    state.clear_due([name, *(Due(kind, effect.workflow_id, "") for kind in kinds)])
    return fx.Ended("done")
