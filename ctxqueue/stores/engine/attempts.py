"""Attempts at a run begin, go on and end; a run is parked until what it needs is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from ctxqueue import effects as fx
from ctxqueue.rules.dependencies import addresses_of, holds, presence, unmet, witness
from ctxqueue.settings import MAX_RUN_CALLS
from ctxqueue.stores.engine import released, waiters
from ctxqueue.stores.engine.held import Answer, Due, Entry, Journaled, Parked, Standby, Wanted

if TYPE_CHECKING:
    from ctxqueue.stores.engine.held import Held, Workflow
    from ctxqueue.stores.engine.state import State


def claim(state: State, effect: fx.Claim) -> fx.Claimed:
    """Begin an attempt at a run, or say why not."""
    asked = tuple(dict.fromkeys(addresses_of(effect.condition))) if effect.condition else ()
    held = state.hold(effect.workflow_id, Wanted(present=asked, run=effect.run_id, ready=True))
    run, now = held.run, held.now_us
    takes_over = False
    if run.state:
        earlier = _cancelled(state, effect, held) or _not_to_run(state, effect, held)
        if earlier is not None:
            return earlier
        takes_over = _is_anothers(effect, held)
    if not run.state or run.position.retries != effect.position.retries:
        run.deadline_us = run.parked_us = None
    run.lost = run.lost + takes_over if run.position == effect.position else 0
    missing: tuple[int, ...] = ()
    if effect.condition and not holds(effect.condition, presence(held.present)):
        missing = tuple(unmet(effect.condition, presence(held.present)))
    run.state, run.position, run.outcome = "running", effect.position, b""
    if run.claim_id != effect.claim_id:
        run.epoch += 1
    run.claim_id = effect.claim_id
    run.lease_us = now + effect.lease_us
    run.ends_us = max(now, run.deadline_us or 0) + effect.horizon_us
    if takes_over:
        # The attempt before may only stand still: when it wakes it acknowledges its delivery, which may be this
        # one's too.
        _stand_by(state, effect, held)
    state.save_run(effect.workflow_id, effect.run_id, run)
    released.claimed(state, effect, held)
    parked_for = now - run.parked_us if run.parked_us and effect.position.leg else 0
    return fx.Claimed(_answer(effect, held) if missing else "run", run.epoch, b"", missing, parked_for, run.lost)


def _answer(effect: fx.Claim, held: Held) -> Literal["run", "timeout", "closed"]:
    """Return the answer to a run whose condition is false."""
    workflow = held.workflow
    # What it waited for, or would wait for, cannot come any more. It may have come before the end, and is read then.
    if (workflow is not None and workflow.closed_us) or (effect.position.leg and workflow is None):
        return "closed"
    return "timeout" if held.run.deadline_us is not None and held.run.deadline_us <= held.now_us else "run"


def _cancelled(state: State, effect: fx.Claim, held: Held) -> fx.Claimed | None:
    if held.run.state != "cancelled":
        return None
    if held.ready is not None:
        released.keep_no_more(state, effect.workflow_id, effect.run_id)
    return fx.Claimed("cancelled")


def _not_to_run(state: State, effect: fx.Claim, held: Held) -> fx.Claimed | None:
    """Return the answer to a message whose run is further, has ended, waits, or is in other hands."""
    run = held.run
    if effect.position < run.position:
        return fx.Claimed("stale")
    if effect.position > run.position:
        # Retried by an attempt that had been taken over: what comes of the other one counts.
        retried_in_vain = effect.position.retries > run.position.retries and effect.after_epoch not in (0, run.epoch)
        return fx.Claimed("stale") if retried_in_vain else None
    if run.state in ("parked", "retried"):
        return fx.Claimed("parked" if run.state == "parked" else "stale")
    if run.state in ("done", "failed") and run.outcome:
        return fx.Claimed("done" if run.state == "done" else "failed", outcome=run.outcome)
    return _beside_another(state, effect, held) if _is_anothers(effect, held) else None


def _beside_another(state: State, effect: fx.Claim, held: Held) -> fx.Claimed | None:
    """Return the answer to a message whose run another attempt has begun; None: that one's lease has ended."""
    if not effect.message:
        return fx.Claimed("message")
    if held.run.lease_us <= held.now_us:
        return None
    _stand_by(state, effect, held)
    state.save_run(effect.workflow_id, effect.run_id, held.run)
    return fx.Claimed("standby")


def _is_anothers(effect: fx.Claim, held: Held) -> bool:
    run = held.run
    return run.state == "running" and run.position == effect.position and run.claim_id != effect.claim_id


def _stand_by(state: State, effect: fx.Claim, held: Held) -> None:
    held.run.standby = Standby(effect.item_id, effect.message)
    state.set_due({Due("standby", effect.workflow_id, effect.run_id): held.run.lease_us})


def renew(state: State, effect: fx.Renew) -> bool:
    """Lengthen an attempt's lease."""
    held = state.hold(effect.workflow_id, Wanted(run=effect.run_id))
    if held.run.epoch != effect.epoch or held.run.state != "running":
        return False
    held.run.lease_us = held.now_us + effect.lease_us
    state.save_run(effect.workflow_id, effect.run_id, held.run)
    return True


def arm(state: State, effect: fx.Arm) -> fx.Armed:
    """Park a run until its condition holds or its deadline passes: register and check in one step."""
    asked = () if effect.judge else tuple(dict.fromkeys(addresses_of(effect.condition)))
    held = state.hold(effect.workflow_id, Wanted(present=asked, run=effect.run_id))
    workflow, run, now = held.workflow, held.run, held.now_us
    if workflow is None:
        return fx.Armed("no_workflow")
    present = presence(held.present)
    missing = tuple(unmet(effect.condition, present))
    answer = _not_to_park(effect, held, workflow)
    if answer is not None:
        return fx.Armed(answer, missing if answer in ("parked", "timeout") else ())
    if not effect.message:
        return fx.Armed("missing", missing)
    deadline = run.deadline_of(effect.wait) or now + effect.timeout_us
    watched = witness(effect.condition, present)
    if waiters.too_many_prefixes(state, effect.workflow_id, watched):
        return fx.Armed("patterns")
    # A newer message of a run may be parked while an older one still is: it takes its place.
    workflow.parked += not state.parked(effect.workflow_id, [effect.run_id])
    parked = Parked(effect.item_id, effect.message, deadline, effect.condition, watched, effect.judge, parked_us=now)
    state.park(effect.workflow_id, {effect.run_id: parked})
    state.set_due({Due("deadline", effect.workflow_id, effect.run_id): deadline})
    if effect.judge:
        state.set_due({waiters.due_to_be_judged(effect.workflow_id, effect.run_id): now + effect.lease_us})
    run.state, run.parked_us = "parked", now
    if effect.wait:
        run.waits[effect.wait] = deadline
    else:
        run.deadline_us = deadline
    run.ends_us = deadline + effect.horizon_us
    state.save_run(effect.workflow_id, effect.run_id, run)
    state.save(workflow)
    return fx.Armed("parked", missing)


def _not_to_park(
    effect: fx.Arm, held: Held, workflow: Workflow
) -> Literal["superseded", "closed", "parked", "ready", "timeout"] | None:
    if held.run.epoch != effect.epoch:
        return "superseded"
    if workflow.closed_us:
        return "closed"
    if held.run.state == "parked":
        # The same call again, its reply was lost; meanwhile the run may have been released already.
        return "parked"
    if holds(effect.condition, presence(held.present)):
        return "ready"
    deadline = held.run.deadline_of(effect.wait)
    return "timeout" if deadline is not None and deadline <= held.now_us else None


def once(state: State, effect: fx.Once) -> fx.Remembered:
    """Keep the result of a step of a run, unless there is one under its name."""
    place = Entry(effect.run_id, f"once:{effect.name}")
    held = state.hold(effect.workflow_id, Wanted(run=effect.run_id, call=place))
    if held.run.epoch > effect.epoch:
        return fx.Remembered("superseded")
    if held.journaled is not None:
        return fx.Remembered("found", held.journaled.answer.value)
    if effect.value is None:
        return fx.Remembered("absent")
    if held.run.calls >= MAX_RUN_CALLS:
        return fx.Remembered("calls")
    held.run.calls += 1
    held.run.epoch = effect.epoch
    held.run.ends_us = max(held.run.ends_us, held.now_us + effect.horizon_us)
    state.save_run(effect.workflow_id, effect.run_id, held.run)
    answer = Answer(b"", 0, held.now_us, b"", (), (), "", value=effect.value)
    state.journal(effect.workflow_id, place, Journaled(answer, 0), held.run.ends_us)
    return fx.Remembered("kept", effect.value)


def finish(state: State, effect: fx.Finish) -> bool:
    """End an attempt."""
    held = state.hold(effect.workflow_id, Wanted(run=effect.run_id))
    # A body that went on although its run was parked ends nothing: the run comes back.
    is_it = held.run.epoch == effect.epoch and held.run.state != "parked"
    if not effect.epoch:
        is_it = held.run.state == "running" and held.run.position == effect.position
    if not is_it:
        return False
    held.run.state, held.run.outcome = effect.state, effect.outcome
    held.run.ends_us = held.now_us + effect.horizon_us
    state.save_run(effect.workflow_id, effect.run_id, held.run)
    return True


def release(state: State, effect: fx.Release) -> Literal["sent", "kept", "given_up"]:
    """Send on its way, by the outbox, what is due."""
    name = Due(effect.due.kind, effect.due.workflow_id, effect.due.detail)
    held = state.hold(name.workflow_id, Wanted(run=name.detail, ready=name.kind == "ready"))
    if name.kind == "ready":
        return released.send_again(state, effect, held)
    if name.kind == "deadline":
        return "sent" if _release_late(state, name, held, effect.lease_us) else "kept"
    return "sent" if _release_standby(state, name, held) else "kept"


def _release_late(state: State, name: Due, held: Held, lease_us: int) -> bool:
    workflow = held.workflow
    parked = state.parked(name.workflow_id, [name.detail]) if workflow is not None else {}
    if workflow is None or not parked:
        state.clear_due([name])
        return False
    deadline = parked[name.detail].deadline_us
    if deadline > held.now_us:
        state.set_due({name: deadline})
        return False
    late = {
        run: msgspec.structs.replace(each, message=each.late_message or each.message) for run, each in parked.items()
    }
    waiters.fire(state, workflow, late, held.now_us, lease_us)
    state.save(workflow)
    return True


def _release_standby(state: State, name: Due, held: Held) -> bool:
    run = held.run
    if run.state == "running" and run.lease_us > held.now_us:
        state.set_due({name: run.lease_us})
        return False
    state.clear_due([name])
    if run.standby is None:
        return False
    # Also when the attempt has ended: its worker may have died before Celery had stored the result or sent the next
    # task of a chain, and the standby's acknowledgement may have taken the first message with it.
    state.send([fx.Outgoing(*run.standby)], held.now_us)
    run.standby = None
    state.save_run(name.workflow_id, name.detail, run)
    return True
