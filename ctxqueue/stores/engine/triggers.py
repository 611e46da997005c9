"""Triggers: messages that wait for a condition, and what became of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ctxqueue import effects as fx
from ctxqueue.rules.dependencies import addresses_of, holds, witness
from ctxqueue.stores.engine import waiters
from ctxqueue.stores.engine.held import Due, Parked, Trigger, Wanted

if TYPE_CHECKING:
    from ctxqueue.stores.engine.held import Workflow
    from ctxqueue.stores.engine.state import State

KEPT_ENDED = 100


def register(state: State, effect: fx.Register) -> fx.Registered:
    """Keep a trigger's message until its condition holds or its time is up: register and check in one step."""
    asked = () if effect.judge else tuple(dict.fromkeys(addresses_of(effect.condition)))
    held = state.hold(effect.workflow_id, Wanted(present=asked))
    workflow, now = held.workflow, held.now_us
    fires = not effect.judge and holds(effect.condition, held.present.__contains__)
    watched = [] if fires else witness(effect.condition, held.present.__contains__)
    if workflow is None or workflow.removing:
        return fx.Registered("no_workflow")
    refused = _not_to_register(state, effect, workflow, watched)
    if refused is not None:
        return fx.Registered(refused)
    if effect.record:
        state.save_trigger(effect.workflow_id, effect.trigger_id, Trigger("ARMED", effect.record))
    deadline = now + effect.timeout_us if effect.timeout_us is not None else 0
    messages = effect.message, effect.late_message
    parked = Parked(
        *(effect.item_id, messages[0], deadline, effect.condition, watched, effect.judge, messages[1]), parked_us=now
    )
    workflow.parked += 1
    state.park(effect.workflow_id, {effect.trigger_id: parked})
    outgoing: tuple[fx.Outgoing, ...] = ()
    if fires:
        considered = waiters.Considered(fires={effect.trigger_id: parked})
        outgoing = waiters.carry_out(state, workflow, considered, now, effect.app, effect.lease_us)
    elif deadline:
        state.set_due({Due("deadline", effect.workflow_id, effect.trigger_id): deadline})
    if effect.judge:
        state.set_due({waiters.due_to_be_judged(effect.workflow_id, effect.trigger_id): now + effect.lease_us})
    state.save(workflow)
    return fx.Registered("fired" if fires else "armed", outgoing)


def _not_to_register(
    state: State, effect: fx.Register, workflow: Workflow, watched: list[str]
) -> Literal["found", "closed", "full", "patterns"] | None:
    if state.trigger(effect.workflow_id, effect.trigger_id) is not None:
        return "found"
    if workflow.closed_us:
        return "closed"
    if effect.record and state.count_triggers(effect.workflow_id) >= effect.most:
        return "full"
    return "patterns" if waiters.too_many_prefixes(state, effect.workflow_id, watched) else None


def load_trigger(state: State, effect: fx.LoadTrigger) -> fx.KeptTrigger | None:
    """Read a trigger."""
    if state.hold(effect.workflow_id).workflow is None:
        return None
    kept = state.trigger(effect.workflow_id, effect.trigger_id)
    return _kept(state, effect.workflow_id, effect.trigger_id, kept) if kept is not None else None


def load_triggers(state: State, effect: fx.LoadTriggers) -> tuple[list[fx.KeptTrigger], str]:
    """Read some triggers, by their ids."""
    if state.hold(effect.workflow_id).workflow is None:
        return [], ""
    found = state.triggers(effect.workflow_id, effect.cursor, effect.limit)
    kept = [_kept(state, effect.workflow_id, trigger_id, each) for trigger_id, each in found.items()]
    return kept, kept[-1].trigger_id if len(kept) == effect.limit else ""


def _kept(state: State, workflow_id: str, trigger_id: str, kept: Trigger) -> fx.KeptTrigger:
    fired = kept.state == "ARMED" and not state.parked(workflow_id, [trigger_id])
    return fx.KeptTrigger(trigger_id, "FIRED" if fired else kept.state, kept.record, kept.reason)


def end_trigger(state: State, effect: fx.EndTrigger) -> bool:
    """Write down how a trigger ended; one that waits waits no more."""
    workflow_id, trigger_id = effect.workflow_id, effect.trigger_id
    held = state.hold(workflow_id)
    workflow = held.workflow
    kept = state.trigger(workflow_id, trigger_id) if workflow is not None else None
    parked = state.parked(workflow_id, [trigger_id]) if workflow is not None else {}
    if workflow is None or not (parked or (kept is not None and not effect.armed)):
        return False
    if parked:
        waiters.stop_waiting(state, workflow, parked)
        state.save(workflow)
    if kept is not None:  # a caller that waits has no record
        ended = Trigger(effect.state, kept.record, effect.reason, held.now_us)
        state.save_trigger(workflow_id, trigger_id, ended)
        state.trim_triggers(workflow_id, KEPT_ENDED)
    return True
