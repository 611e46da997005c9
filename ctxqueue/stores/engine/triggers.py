"""Triggers: messages that wait for a condition, and what became of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ctxqueue import effects as fx
from ctxqueue.rules.dependencies import addresses_of, holds, presence, witness
from ctxqueue.settings import MAX_RUN_CALLS
from ctxqueue.stores.engine import recurring, waiters
from ctxqueue.stores.engine.held import Answer, Due, Entry, Journaled, Parked, Repeats, Trigger, Wanted

if TYPE_CHECKING:
    from ctxqueue.stores.engine.held import Held, Workflow
    from ctxqueue.stores.engine.state import State

KEPT_ENDED = 100


def register(state: State, effect: fx.Register) -> fx.Registered:
    """Keep a trigger's message until its condition holds or its time is up: register and check in one step."""
    asked = () if effect.judge else tuple(dict.fromkeys(addresses_of(effect.condition)))
    call = effect.call
    place = Entry(call.owner, call.call_id) if call is not None else None
    held = state.hold(
        effect.workflow_id, Wanted(present=asked, run=call.run_id if call is not None else "", call=place)
    )
    workflow, now = held.workflow, held.now_us
    fires = not effect.judge and holds(effect.condition, presence(held.present))
    watched = [] if fires else witness(effect.condition, presence(held.present))
    if workflow is None or workflow.removing:
        return fx.Registered("no_workflow")
    refused = _not_to_register(state, effect, held, workflow, watched)
    if refused is not None:
        return fx.Registered(refused)
    if effect.record:
        notes = effect.recurring.notes if effect.recurring is not None else b""
        state.save_trigger(effect.workflow_id, effect.trigger_id, Trigger("ARMED", effect.record, notes=notes))
    if place is not None:
        _remember(state, effect, held, workflow, place)
    deadline = now + effect.timeout_us if effect.timeout_us is not None else 0
    messages = effect.message, effect.late_message
    parked = Parked(
        *(effect.item_id, messages[0], deadline, effect.condition, watched, effect.judge, messages[1]), parked_us=now
    )
    if effect.recurring is not None:
        parked.repeats = Repeats()
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
    state: State, effect: fx.Register, held: Held, workflow: Workflow, watched: list[str]
) -> Literal["found", "closed", "full", "family", "patterns", "calls"] | None:
    before = held.journaled is not None and held.journaled.answer.incarnation == workflow.incarnation
    if before or state.trigger(effect.workflow_id, effect.trigger_id) is not None:
        return "found"
    if workflow.closed_us:
        return "closed"
    refused: Literal["full", "family", "patterns", "calls"] | None = None
    family = fx.family_of(effect.trigger_id)
    if effect.call is not None and held.run.calls >= MAX_RUN_CALLS:
        refused = "calls"
    elif effect.record and state.count_triggers(effect.workflow_id) >= effect.most:
        refused = "full"
    elif effect.recurring is not None and state.count_parked(effect.workflow_id, f"{family}-") >= effect.recurring.most:
        refused = "family"
    elif waiters.too_many_prefixes(state, effect.workflow_id, watched):
        refused = "patterns"
    return refused


def _remember(state: State, effect: fx.Register, held: Held, workflow: Workflow, place: Entry) -> None:
    """Remember that a run has registered it: its record may be trimmed before the run's body comes again."""
    held.run.calls += 1
    held.run.ends_us = max(held.run.ends_us, held.now_us + effect.horizon_us)
    state.save_run(effect.workflow_id, place.owner, held.run)
    answer = Answer(b"", workflow.revision, held.now_us, b"", (), (), workflow.incarnation)
    state.journal(effect.workflow_id, place, Journaled(answer, 0), held.run.ends_us)


def load_trigger(state: State, effect: fx.LoadTrigger) -> fx.KeptTrigger | None:
    """Read a trigger."""
    held = state.hold(effect.workflow_id)
    if held.workflow is None:
        return None
    kept = state.trigger(effect.workflow_id, effect.trigger_id)
    return _kept(state, effect.workflow_id, effect.trigger_id, kept, held.now_us) if kept is not None else None


def load_triggers(state: State, effect: fx.LoadTriggers) -> tuple[list[fx.KeptTrigger], str]:
    """Read some triggers, by their ids."""
    held = state.hold(effect.workflow_id)
    if held.workflow is None:
        return [], ""
    found = state.triggers(effect.workflow_id, effect.cursor, effect.limit)
    kept = [_kept(state, effect.workflow_id, trigger_id, each, held.now_us) for trigger_id, each in found.items()]
    return kept, kept[-1].trigger_id if len(kept) == effect.limit else ""


def _kept(state: State, workflow_id: str, trigger_id: str, kept: Trigger, now_us: int) -> fx.KeptTrigger:
    stands = kept.state
    if stands == "ARMED":
        parked = state.parked(workflow_id, [trigger_id]).get(trigger_id)
        stands = "FIRED" if parked is None else recurring.state_of(parked, now_us)
    return fx.KeptTrigger(trigger_id, stands, kept.record, kept.reason)


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
    if kept is not None and effect.forget:
        state.drop_trigger(workflow_id, trigger_id)
    elif kept is not None:  # a caller that waits has no record
        state.save_trigger(workflow_id, trigger_id, recurring.ended(kept, effect.state, effect.reason, held.now_us))
        state.trim_triggers(workflow_id, KEPT_ENDED)
    return True
