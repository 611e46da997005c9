"""Attempts at runs: claim, park, finish. Each is one effect or two, so that a crash leaves a state the sweep mends."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from ctxqueue.clock import microseconds
from ctxqueue.effects import Arm, Armed, Batch, Bind, Cancel, Claim, Claimed, Finish, Flow, Mark, Position, do
from ctxqueue.errors import AttemptSuperseded, WorkflowNotFound
from ctxqueue.flows import judging, looking
from ctxqueue.flows.auditing import resolved
from ctxqueue.flows.publishing import publish
from ctxqueue.flows.refusals import closed_workflow, unknown_workflow
from ctxqueue.rules.conditions import is_judged, keys_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from ctxqueue.flows.terms import Terms
    from ctxqueue.identity import Attempt
    from ctxqueue.models import Agent
    from ctxqueue.rules.conditions import Condition


class Ticket(msgspec.Struct, frozen=True):
    """What identifies one message of a run to the store."""

    workflow_id: str
    """Empty for a task that is bound to none."""
    run_id: str
    position: Position
    item_id: str
    """Of this position in the outbox."""
    task_id: str = ""
    """By which Celery, and who cancels, knows the run."""
    after_epoch: int = 0
    """Of the attempt that retried, if this message is its retry."""
    may_wait: float = 0.0
    """Seconds that it may be parked, if that is longer than the setting says."""


class Begun(NamedTuple):
    """The store's answer to a claim, and what is missing of what the task needs, or why that cannot be said."""

    claimed: Claimed
    missing: tuple[str, ...] = ()
    error: WorkflowNotFound | None = None


def claim(
    terms: Terms, ticket: Ticket, agent: Agent, condition: Condition | None, message: Callable[[], bytes]
) -> Flow[Begun]:
    """Begin an attempt. The message is asked for only where it is to be kept, as that of a second delivery."""
    judged = condition is not None and is_judged(condition)
    tree = (yield from resolved(terms, ticket.workflow_id, agent, condition)) if condition else None
    effect = Claim(
        workflow_id=ticket.workflow_id,
        run_id=ticket.run_id,
        position=ticket.position,
        condition=None if judged else tree,
        item_id=ticket.item_id,
        message=b"",
        lease_us=terms.lease_us,
        horizon_us=terms.bounds.horizon_us,
        claim_id=os.urandom(8),
        after_epoch=ticket.after_epoch,
    )
    claimed = yield from _claimed(terms, ticket, effect)
    if claimed.answer == "message":
        claimed = yield from _claimed(terms, ticket, msgspec.structs.replace(effect, message=message()))
    # Another answer may be to an old message of a run that is parked again.
    goes_on = claimed.answer in ("run", "timeout", "closed", "cancelled")
    if condition is not None and judged and ticket.position.leg and goes_on:
        yield from looking.forget_afar(looking.afar_of(condition, agent), ticket.workflow_id, ticket.run_id)
    if condition is not None and judged and claimed.answer == "run":
        try:
            return Begun(claimed, (yield from looking.lacking(terms, ticket.workflow_id, agent, condition)))
        except WorkflowNotFound as error:  # this one, or another that it needs something of
            return Begun(claimed, error=error)
    return Begun(claimed, _names(condition, claimed.unmet))


def _claimed(terms: Terms, ticket: Ticket, claim: Claim) -> Flow[Claimed]:
    if not ticket.task_id:
        return (yield from do(claim))
    keep_us = _remembered_us(terms, ticket.may_wait)
    bind = Bind(ticket.task_id, ticket.workflow_id, ticket.run_id, keep_us)
    claimed, marked = yield from do(Batch((claim, bind)))
    if marked and claimed.answer in ("run", "timeout", "closed"):
        yield from _cancel_run(terms, ticket.workflow_id, ticket.run_id)
        return Claimed("cancelled")
    answer: Claimed = claimed
    return answer


def _remembered_us(terms: Terms, may_wait: float = 0.0) -> int:
    """Return for how long a task is known by its id: while its run may be parked, and a horizon more."""
    longest = max(terms.settings.needs_timeout, may_wait)
    return terms.bounds.horizon_us + microseconds(longest, "needs_timeout")


def cancel(terms: Terms, task_id: str) -> Flow[Literal["cancelled", "ended", "unseen"]]:
    """Call off the run that a Celery task is; unseen: no worker has seen it, and whoever does will call it off."""
    place = yield from do(Mark(task_id, cancelled=True, keep_us=_remembered_us(terms)))
    if place is None:
        return "unseen"
    if (yield from _cancel_run(terms, *place)) == "cancelled":
        return "cancelled"
    yield from uncancel(terms, task_id)
    return "ended"


def is_known(task_id: str) -> Flow[bool]:
    """Whether a worker has seen the Celery task."""
    return (yield from do(Mark(task_id, cancelled=None, keep_us=0))) is not None


def uncancel(terms: Terms, task_id: str) -> Flow[None]:
    """Take a mark back."""
    yield from do(Mark(task_id, cancelled=False, keep_us=_remembered_us(terms)))


def _cancel_run(terms: Terms, workflow_id: str, run_id: str) -> Flow[Literal["cancelled", "ended", "unknown"]]:
    effect = Cancel(workflow_id, run_id, terms.app, terms.lease_us, terms.bounds.horizon_us)
    reply = yield from do(effect)
    yield from publish(terms, workflow_id, reply.outgoing)
    return reply.answer


def is_cancelled(terms: Terms, attempt: Attempt, task_id: str) -> Flow[bool]:
    """Whether an attempt that was refused was so because somebody has cancelled its task."""
    return (yield from do(Bind(task_id, attempt.home, attempt.run_id, _remembered_us(terms))))


def park(
    terms: Terms,
    attempt: Attempt,
    agent: Agent,
    condition: Condition,
    next_item: str,
    message: bytes,
    timeout: float,
    wait: str = "",
) -> Flow[tuple[Armed, tuple[str, ...]]]:
    """Give the run's message to the store until the condition holds. Return its answer and what is missing.

    Of a condition that is judged it is not said here.
    """
    judged = is_judged(condition)
    timeout_us = microseconds(timeout, "timeout" if wait else "needs_timeout")
    tree = yield from resolved(terms, attempt.home, agent, condition)
    afar = (yield from looking.begin_afar(terms, attempt.home, agent, condition, attempt.run_id)) if message else {}
    armed = yield from do(
        Arm(
            workflow_id=attempt.home,
            run_id=attempt.run_id,
            epoch=attempt.epoch,
            wait=wait,
            condition=tree,
            item_id=next_item,
            message=message,
            timeout_us=timeout_us,
            horizon_us=terms.bounds.horizon_us,
            lease_us=terms.lease_us,
            judge=looking.packed(condition, agent) if judged else b"",
        )
    )
    if armed.answer not in ("parked", "ready"):
        yield from looking.forget_afar(afar, attempt.home, attempt.run_id)
    if armed.answer == "no_workflow":
        raise unknown_workflow(attempt.home)
    if armed.answer == "closed":
        raise closed_workflow(attempt.home)
    if armed.answer == "superseded":
        raise AttemptSuperseded(f"run {attempt.run_id} was taken over before it could be parked")
    if armed.answer == "patterns":
        raise looking.too_many_patterns(attempt.home)
    if armed.answer == "parked" and judged:
        yield from judging.judge(terms, attempt.home, attempt.run_id)
    return armed, _names(condition, armed.unmet)


class Lacking(NamedTuple):
    """The keys that keep a wait from ending, and whether its time is up."""

    keys: tuple[str, ...]
    late: bool


def lacking(
    terms: Terms, attempt: Attempt, agent: Agent, condition: Condition, timeout: float, wait: str
) -> Flow[Lacking]:
    """Return what a wait in a body lacks, and park nothing yet."""
    armed, keys = yield from park(terms, attempt, agent, condition, "", b"", timeout, wait)
    if is_judged(condition):
        keys = yield from looking.lacking(terms, attempt.home, agent, condition)
    return Lacking(keys, armed.answer == "timeout")


def finish(terms: Terms, attempt: Attempt, state: Literal["done", "failed", "retried"], outcome: bytes) -> Flow[bool]:
    """End the attempt; False if another one had taken over."""
    effect = Finish(attempt.home, attempt.run_id, attempt.epoch, state, outcome, terms.bounds.horizon_us)
    return (yield from do(effect))


def end(terms: Terms, workflow_id: str, run_id: str, position: Position, outcome: bytes) -> Flow[bool]:
    """Let a run have failed whose attempt at a position was ended from outside; False if none runs there."""
    return (yield from do(Finish(workflow_id, run_id, 0, "failed", outcome, terms.bounds.horizon_us, position)))


def give_up(terms: Terms, workflow_id: str, run_id: str, position: Position) -> Flow[bool]:
    """Let whoever comes next begin the attempt at a position anew, and not wait for its lease: nothing came of it.

    False if none runs there.
    """
    return (yield from do(Finish(workflow_id, run_id, 0, "done", b"", terms.bounds.horizon_us, position)))


def missing(terms: Terms, workflow_id: str, agent: Agent, condition: Condition) -> Flow[tuple[str, ...]]:
    """Return what keeps a condition from holding, without claiming anything; raises as `resolve` does."""
    yield from resolved(terms, workflow_id, agent, condition)
    return (yield from looking.lacking(terms, workflow_id, agent, condition))


def _names(condition: Condition | None, ordinals: tuple[int, ...]) -> tuple[str, ...]:
    if condition is None or not ordinals:
        return ()
    keys = list(keys_of(condition))
    return tuple(dict.fromkeys(keys[ordinal] for ordinal in ordinals))
