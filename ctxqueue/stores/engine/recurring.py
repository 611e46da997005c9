"""Triggers and subscriptions that fire each time: what a look has come to, the end of what was sent, notifications."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ctxqueue import effects as fx
from ctxqueue.stores.engine import released, waiters

if TYPE_CHECKING:
    from ctxqueue.stores.engine.held import Parked, Trigger
    from ctxqueue.stores.engine.state import State

KEPT_NOTICES = 100


def state_of(parked: Parked, now_us: int) -> fx.TriggerState:
    """Return how one that fires each time stands."""
    repeats = parked.repeats
    if repeats is None or repeats.until_us <= now_us:
        return "ARMED"
    return "RUNNING" if parked.witness and not repeats.depth else "RUNNING_DIRTY"


def still_running(state: State, effect: fx.Rewatch, parked: Parked, now_us: int) -> bool:
    """Whether what it sent last has not come to its end; then it is due again when that is given up."""
    repeats = parked.repeats
    if repeats is None or repeats.until_us <= now_us:
        return False
    depth = min(effect.depth, repeats.depth or effect.depth)
    noted = msgspec.structs.replace(parked, repeats=msgspec.structs.replace(repeats, depth=depth))
    state.park(effect.workflow_id, {effect.run_id: noted})
    state.set_due({waiters.due_to_be_judged(effect.workflow_id, effect.run_id): repeats.until_us})
    return True


def recur(state: State, effect: fx.Recur) -> fx.Recurred:
    """Write down what a look has come to, and send what it fires."""
    workflow_id, trigger_id, firing = effect.workflow_id, effect.trigger_id, effect.firing
    held = state.hold(workflow_id)
    workflow, now = held.workflow, held.now_us
    due = waiters.due_to_be_judged(workflow_id, trigger_id)
    parked = state.parked(workflow_id, [trigger_id]).get(trigger_id) if workflow is not None else None
    kept = state.trigger(workflow_id, trigger_id) if parked is not None else None
    if parked is None or parked.repeats is None or kept is None or workflow is None or workflow.closed_us:
        if workflow is None or not workflow.closed_us:
            state.clear_due([due])
        return fx.Recurred("gone")
    if parked.turn != effect.turn:
        return fx.Recurred("moved")
    notices = state.notices(workflow_id, firing.agent_id) if firing is not None and firing.notice else []
    repeats, due_us = parked.repeats, effect.due_us
    if firing is not None:
        until = now + firing.running_us if firing.running_us else 0
        repeats = msgspec.structs.replace(repeats, number=repeats.number + 1, until_us=until, depth=0, ended=[])
        due_us = until or due_us
    noted = msgspec.structs.replace(parked, turn=parked.turn + 1, repeats=repeats)
    state.park(workflow_id, {trigger_id: noted})
    if kept.notes != effect.notes:
        state.save_trigger(workflow_id, trigger_id, msgspec.structs.replace(kept, notes=effect.notes))
    if due_us is None:
        state.clear_due([due])
    else:
        state.set_due({due: due_us})
    if firing is None:
        return fx.Recurred("done")
    if firing.notice:
        state.save_notices(workflow_id, firing.agent_id, [*notices, firing.notice][-KEPT_NOTICES:])
    released.keep(state, workflow_id, {firing.run_id: firing.message}, now, effect.lease_us)
    ours = bool(effect.app) and firing.message.item_id.startswith(f"{effect.app}\0")
    state.send([firing.message], now + effect.lease_us if ours else now)
    return fx.Recurred("done", (firing.message,) if ours else ())


def end_run(state: State, effect: fx.EndRun) -> bool:
    """Note the end of parts of what a trigger has sent."""
    workflow_id, trigger_id = effect.workflow_id, effect.trigger_id
    held = state.hold(workflow_id)
    parked = state.parked(workflow_id, [trigger_id]).get(trigger_id) if held.workflow is not None else None
    if parked is None or parked.repeats is None:
        return False
    repeats = parked.repeats
    if repeats.number != effect.number or not repeats.until_us:
        return False
    ended = sorted({*repeats.ended, *effect.parts})
    over = len(ended) >= effect.of
    noted = msgspec.structs.replace(repeats, ended=ended, until_us=0 if over else repeats.until_us)
    state.park(workflow_id, {trigger_id: msgspec.structs.replace(parked, repeats=noted)})
    if over:
        state.set_due({waiters.due_to_be_judged(workflow_id, trigger_id): held.now_us + effect.lease_us}, sooner=True)
    return over


def load_notices(state: State, effect: fx.LoadNotices) -> list[bytes]:
    """Read what an agent was notified of."""
    if state.hold(effect.workflow_id).workflow is None:
        return []
    return list(state.notices(effect.workflow_id, effect.agent_id))


def is_trigger(parked: Parked) -> bool:
    """Whether it is none of a task's."""
    return bool(parked.late_message) or parked.repeats is not None


def ended(kept: Trigger, how: fx.TriggerState, reason: str, now_us: int) -> Trigger:
    """Return the record of one that has ended."""
    return msgspec.structs.replace(kept, state=how, reason=reason, ended_us=now_us, notes=b"")
