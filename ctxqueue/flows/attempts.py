"""Attempts at runs: claim, park, finish. Each is one effect or two, so that a crash leaves a state the sweep mends."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

import msgspec

from ctxqueue.clock import microseconds
from ctxqueue.effects import Arm, Armed, Claim, Claimed, Finish, Flow, Load, Position, do
from ctxqueue.errors import AttemptSuperseded
from ctxqueue.flows.committing import closed_workflow, unknown_workflow
from ctxqueue.rules.dependencies import addresses_of, holds, keys_of, resolve, unmet

if TYPE_CHECKING:
    from ctxqueue.flows.terms import Terms
    from ctxqueue.identity import Attempt
    from ctxqueue.models import Agent
    from ctxqueue.rules.dependencies import Condition


class Ticket(msgspec.Struct, frozen=True):
    """What identifies one message of a run to the store."""

    workflow_id: str
    """Empty for a task that is bound to none."""
    run_id: str
    position: Position
    item_id: str
    """Of this position in the outbox."""


def item_id(app: str, workflow_id: str, run_id: str, position: Position) -> str:
    """Return the outbox's name for the message that enters a run at a position."""
    return f"{app}\0{workflow_id}\0{run_id}\0{position.retries}.{position.leg}"


def claim(
    terms: Terms, ticket: Ticket, agent: Agent, condition: Condition | None, message: bytes
) -> Flow[tuple[Claimed, tuple[str, ...]]]:
    """Begin an attempt. Return the store's answer and the keys that are missing."""
    claimed = yield from do(
        Claim(
            workflow_id=ticket.workflow_id,
            run_id=ticket.run_id,
            position=ticket.position,
            condition=resolve(condition, agent) if condition else None,
            item_id=ticket.item_id,
            message=message,
            lease_us=terms.lease_us,
            horizon_us=terms.bounds.horizon_us,
            claim_id=os.urandom(8),
        )
    )
    return claimed, _names(condition, claimed.unmet)


def park(
    terms: Terms,
    attempt: Attempt,
    agent: Agent,
    condition: Condition,
    next_item: str,
    message: bytes,
    timeout: float,
) -> Flow[tuple[Armed, tuple[str, ...]]]:
    """Give the run's message to the store until the condition holds. Return its answer and the missing keys."""
    armed = yield from do(
        Arm(
            workflow_id=attempt.home,
            run_id=attempt.run_id,
            epoch=attempt.epoch,
            condition=resolve(condition, agent),
            item_id=next_item,
            message=message,
            timeout_us=microseconds(timeout, "needs_timeout"),
            horizon_us=terms.bounds.horizon_us,
        )
    )
    if armed.answer == "no_workflow":
        raise unknown_workflow(attempt.home)
    if armed.answer == "closed":
        raise closed_workflow(attempt.home)
    if armed.answer == "superseded":
        raise AttemptSuperseded(f"run {attempt.run_id} was taken over before it could be parked")
    return armed, _names(condition, armed.unmet)


def finish(terms: Terms, attempt: Attempt, state: Literal["done", "failed", "retried"], outcome: bytes) -> Flow[bool]:
    """End the attempt; False if another one had taken over."""
    effect = Finish(attempt.home, attempt.run_id, attempt.epoch, state, outcome, terms.bounds.horizon_us)
    return (yield from do(effect))


def missing(workflow_id: str, agent: Agent, condition: Condition) -> Flow[tuple[str, ...]]:
    """Return the keys that keep a condition from holding, without claiming anything."""
    tree = resolve(condition, agent)
    head, records = yield from do(Load(workflow_id, tuple(addresses_of(tree))))
    if head is None:
        raise unknown_workflow(workflow_id)
    present = records.__contains__
    return () if holds(tree, present) else _names(condition, tuple(unmet(tree, present)))


def _names(condition: Condition | None, ordinals: tuple[int, ...]) -> tuple[str, ...]:
    if condition is None or not ordinals:
        return ()
    keys = list(keys_of(condition))
    return tuple(dict.fromkeys(keys[ordinal] for ordinal in ordinals))
