"""Parked runs whose conditions are judged outside: told of what is written, watched anew, fired."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from ctxqueue import effects as fx
from ctxqueue.rules.dependencies import JUDGED, addresses_of
from ctxqueue.stores.engine import recurring, waiters
from ctxqueue.stores.engine.held import Repeats

if TYPE_CHECKING:
    from ctxqueue.stores.engine.state import State


def rewatch(state: State, effect: fx.Rewatch) -> fx.Watched:
    """Register a judged run on the addresses that are to make it due again."""
    held, run = state.hold(effect.workflow_id), effect.run_id
    workflow = held.workflow
    parked = state.parked(effect.workflow_id, [run]).get(run) if workflow is not None else None
    if workflow is None or parked is None:
        state.clear_due([waiters.due_to_be_judged(effect.workflow_id, run)])
        return fx.Watched("gone")
    if workflow.closed_us:
        return fx.Watched("closed")
    if parked.repeats is not None and not parked.item_id.startswith(f"{effect.app}\0"):
        due = waiters.due_to_be_judged(effect.workflow_id, run)
        state.set_due({due: held.now_us}, sooner=True)
        return fx.Watched("others")
    if recurring.still_running(state, effect, parked, held.now_us):
        return fx.Watched("running")
    kept = state.trigger(effect.workflow_id, run) if parked.repeats is not None else None
    repeats = parked.repeats or Repeats()
    addresses = list(effect.addresses) or parked.condition[1:]
    turn = parked.turn + 1
    watching = msgspec.structs.replace(parked, condition=[JUDGED, *addresses], witness=addresses, turn=turn)
    if parked.repeats is not None:
        watching.repeats = msgspec.structs.replace(repeats, until_us=0)
    state.park(effect.workflow_id, {run: watching})
    due = waiters.due_to_be_judged(effect.workflow_id, run)
    state.set_due({due: held.now_us + effect.lease_us}, sooner=True)
    notes = kept.notes if kept is not None else b""
    return fx.Watched("watched", parked.judge, tuple(addresses), turn, notes, repeats.number, repeats.depth)


def rest(state: State, effect: fx.Rest) -> bool:
    """Take a judged run off what is due, unless it was told of a write, or another has begun to look."""
    held = state.hold(effect.workflow_id)
    parked = state.parked(effect.workflow_id, [effect.run_id]) if held.workflow is not None else {}
    if any(each.turn != effect.turn for each in parked.values()):
        return False
    state.clear_due([waiters.due_to_be_judged(effect.workflow_id, effect.run_id)])
    return True


def load_parked(state: State, effect: fx.LoadParked) -> tuple[list[fx.ParkedRun], str]:
    """Read some runs that wait."""
    if state.hold(effect.workflow_id).workflow is None:
        return [], ""
    runs = state.some_parked(effect.workflow_id, effect.limit, effect.cursor)
    found = [
        fx.ParkedRun(
            run,
            tuple(dict.fromkeys(addresses_of(parked.condition))),
            parked.judge,
            parked.item_id,
            parked.parked_us,
            parked.deadline_us,
            parked.message if effect.messages else b"",
        )
        for run, parked in runs.items()
    ]
    return found, found[-1].run_id if len(found) == effect.limit else ""


def watch_afar(state: State, effect: fx.WatchAfar) -> Literal["watched", "absent", "patterns"]:
    """Register a run of another workflow on addresses of this one."""
    held = state.hold(effect.workflow_id)
    workflow = held.workflow
    if workflow is None or workflow.removing:
        return "absent"
    if effect.first and waiters.too_many_prefixes(state, effect.workflow_id, effect.addresses):
        return "patterns"
    if not workflow.watched:
        workflow.watched = True
        state.save(workflow)
    state.register(effect.workflow_id, effect.watcher, effect.addresses)
    name = waiters.due_to_be_judged(effect.workflow_id, effect.watcher)
    state.set_due({name: held.now_us + effect.again_us}, sooner=True)
    return "watched"


def rest_afar(state: State, effect: fx.RestAfar) -> bool:
    """Put off the judging of a run of another workflow, unless something was written since it was registered."""
    held = state.hold(effect.workflow_id)
    if held.workflow is not None and set(effect.addresses) - set(state.registered(effect.workflow_id, effect.watcher)):
        return False
    name = waiters.due_to_be_judged(effect.workflow_id, effect.watcher)
    if held.workflow is None:
        state.clear_due([name])
    else:
        state.set_due({name: held.now_us + effect.again_us})
    return True


def forget_afar(state: State, effect: fx.ForgetAfar) -> None:
    """Remove a run of another workflow from the addresses of this one."""
    if state.hold(effect.workflow_id).workflow is not None:
        state.unregister(effect.workflow_id, [effect.watcher])
    state.clear_due([waiters.due_to_be_judged(effect.workflow_id, effect.watcher)])


def fire(state: State, effect: fx.Fire) -> fx.Fired:
    """Release a parked run."""
    held = state.hold(effect.workflow_id)
    workflow, now = held.workflow, held.now_us
    parked = state.parked(effect.workflow_id, [effect.run_id]) if workflow is not None else {}
    if workflow is None or not parked:
        return fx.Fired(fired=False)
    if effect.message:
        parked = {run: msgspec.structs.replace(each, message=effect.message) for run, each in parked.items()}
    considered = waiters.Considered(fires=dict(parked))
    outgoing = waiters.carry_out(state, workflow, considered, now, effect.app, effect.lease_us)
    state.save(workflow)
    return fx.Fired(fired=True, outgoing=outgoing)
