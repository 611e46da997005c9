"""Messages that are sent again until their run is claimed at their position or a later one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from ctxqueue import effects as fx
from ctxqueue.clock import MICROSECONDS
from ctxqueue.stores.engine.held import Due, Ready, Wanted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ctxqueue.stores.engine.held import Held
    from ctxqueue.stores.engine.state import State

LONGEST_PAUSE = 3_600 * MICROSECONDS


def due_again(workflow_id: str, run: str) -> Due:
    """Return the name of the next time."""
    return Due("ready", workflow_id, run)


def keep(state: State, workflow_id: str, items: Mapping[str, fx.Outgoing], now_us: int, lease_us: int) -> None:
    """Keep the messages of runs, unless one of a later position is kept."""
    before = state.ready(workflow_id, items.keys())
    kept = {
        run: Ready(item.item_id, item.message, now_us, due_us=now_us + lease_us)
        for run, item in items.items()
        if run not in before or fx.Position.of_item(before[run].item_id) <= fx.Position.of_item(item.item_id)
    }
    if kept:
        state.keep_ready(workflow_id, kept)
        state.set_due({due_again(workflow_id, run): each.due_us for run, each in kept.items()})


def keep_no_more(state: State, workflow_id: str, run: str) -> None:
    """Drop the message of a run."""
    state.drop_ready(workflow_id, run)
    state.clear_due([due_again(workflow_id, run)])


def promise(state: State, effect: fx.Promise) -> bool:
    """Keep the message of a run that is about to be published."""
    held = state.hold(effect.workflow_id, Wanted(run=effect.run_id, ready=True))
    position = fx.Position.of_item(effect.item_id)
    if held.run.state and held.run.position >= position:
        return False
    if held.ready is None or fx.Position.of_item(held.ready.item_id) <= position:
        now = held.now_us
        kept = Ready(effect.item_id, effect.message, now, ends_us=now + effect.keep_us, due_us=now + effect.wait_us)
        state.keep_ready(effect.workflow_id, {effect.run_id: kept})
        state.set_due({due_again(effect.workflow_id, effect.run_id): kept.due_us})
    return True


def claimed(state: State, effect: fx.Claim, held: Held) -> None:
    """Drop a message of the position that is claimed, or of an earlier one."""
    if held.ready is not None and fx.Position.of_item(held.ready.item_id) <= effect.position:
        keep_no_more(state, effect.workflow_id, effect.run_id)


def send_again(state: State, effect: fx.Release, held: Held) -> Literal["sent", "kept", "given_up"]:
    """Send the message of a run that nobody has claimed."""
    due, kept, now = effect.due, held.ready, held.now_us
    name = due_again(due.workflow_id, due.detail)
    if kept is None:
        state.clear_due([name])
        return "kept"
    if kept.due_us > now:  # another sweep was here, or this one before its reply was lost
        return "kept"
    if (kept.ends_us or kept.first_us + effect.horizon_us) <= now:
        keep_no_more(state, due.workflow_id, due.detail)
        return "given_up"
    again = kept.again + 1
    pause = max(effect.lease_us, min(effect.lease_us * 2**again, LONGEST_PAUSE))
    kept = msgspec.structs.replace(kept, again=again, due_us=now + int(pause))
    state.keep_ready(due.workflow_id, {due.detail: kept})
    state.set_due({name: kept.due_us})
    state.send([fx.Outgoing(kept.item_id, kept.message)], now)
    return "sent"
