"""Runs are called off, by the Celery task that they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ctxqueue import effects as fx
from ctxqueue.stores.engine import waiters
from ctxqueue.stores.engine.held import Wanted

if TYPE_CHECKING:
    from ctxqueue.stores.engine.held import Run
    from ctxqueue.stores.engine.state import State

OF_A_TASK = "\0task"
"""What is known of a task stands among the runs, where its id is in the workflow's place. No run has this name."""

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(tuple[str, str]).decode


def bind(state: State, effect: fx.Bind) -> bool:
    """Note which run a Celery task is."""
    held = state.hold(effect.task_id, Wanted(run=OF_A_TASK))
    held.run.outcome = _pack((effect.workflow_id, effect.run_id))
    _save(state, effect, held.run, held.now_us)
    return held.run.state == "cancelled"


def mark(state: State, effect: fx.Mark) -> tuple[str, str] | None:
    """Mark a Celery task as cancelled, or not, or look where it is."""
    held = state.hold(effect.task_id, Wanted(run=OF_A_TASK))
    if effect.cancelled is not None:
        held.run.state = "cancelled" if effect.cancelled else ""
        _save(state, effect, held.run, held.now_us)
    return _unpack(held.run.outcome) if held.run.outcome else None


def _save(state: State, effect: fx.Bind | fx.Mark, known: Run, now_us: int) -> None:
    known.ends_us = max(known.ends_us, now_us + effect.keep_us)
    state.save_run(effect.task_id, OF_A_TASK, known)


def cancel(state: State, effect: fx.Cancel) -> fx.Cancelled:
    """Call a run off."""
    held = state.hold(effect.workflow_id, Wanted(run=effect.run_id))
    workflow, run, now = held.workflow, held.run, held.now_us
    if not run.state:
        return fx.Cancelled("unknown")
    if run.state in ("done", "failed"):
        return fx.Cancelled("ended")
    if run.state == "cancelled":
        return fx.Cancelled("cancelled")
    run.state, run.outcome = "cancelled", b""
    run.epoch += 1
    run.ends_us = max(run.ends_us, now + effect.horizon_us)
    parked = state.parked(effect.workflow_id, [effect.run_id]) if workflow is not None else {}
    state.save_run(effect.workflow_id, effect.run_id, run)
    outgoing: tuple[fx.Outgoing, ...] = ()
    if workflow is not None and parked:
        outgoing = waiters.fire(state, workflow, parked, now, effect.lease_us, effect.app)
        state.save(workflow)
    return fx.Cancelled("cancelled", outgoing)
