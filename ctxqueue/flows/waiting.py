"""Waiting outside a task: a caller is registered as a parked run is, and woken in the place of a message."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ctxqueue.effects import WAKE, EndTrigger, Position, Register, do
from ctxqueue.flows import judging, looking
from ctxqueue.flows.auditing import resolved
from ctxqueue.flows.publishing import item_id
from ctxqueue.flows.refusals import closed_workflow, unknown_workflow
from ctxqueue.identity import new_run_id
from ctxqueue.rules.conditions import is_judged

if TYPE_CHECKING:
    from ctxqueue.effects import Flow
    from ctxqueue.flows.terms import Terms
    from ctxqueue.models import Agent
    from ctxqueue.rules.conditions import Condition

LEFT_OVER_US = 60 * 1_000_000
"""After a caller's time, until the sweep forgets one that died."""


def channel() -> str:
    """Return a new name to be woken by."""
    return WAKE + os.urandom(12).hex()


def begin(
    terms: Terms, workflow_id: str, agent: Agent, condition: Condition, woken_by: str, timeout_us: int
) -> Flow[str]:
    """Let a caller be woken when the condition holds, at once if it does. Return what it is registered as."""
    tree = yield from resolved(terms, workflow_id, agent, condition)
    judged = is_judged(condition)
    if looking.afar_of(condition, agent):
        yield from looking.lacking(terms, workflow_id, agent, condition)  # each of the workflows must be there
    waiting = new_run_id()
    afar = yield from looking.begin_afar(terms, workflow_id, agent, condition, waiting)
    reply = yield from do(
        Register(
            workflow_id=workflow_id,
            trigger_id=waiting,
            condition=tree,
            judge=looking.packed(condition, agent) if judged else b"",
            item_id=item_id(woken_by, workflow_id, waiting, Position(0, 0)),
            message=b"",
            late_message=b"",
            timeout_us=timeout_us + LEFT_OVER_US,
            record=b"",
            most=0,
            app="",
            lease_us=terms.lease_us,
        )
    )
    if reply.answer not in ("armed", "fired"):
        yield from looking.forget_afar(afar, workflow_id, waiting)
    if reply.answer == "no_workflow":
        raise unknown_workflow(workflow_id)
    if reply.answer == "closed":
        raise closed_workflow(workflow_id)
    if reply.answer == "patterns":
        raise looking.too_many_patterns(workflow_id)
    if judged:
        yield from judging.judge(terms, workflow_id, waiting)
    return waiting


def leave(workflow_id: str, agent: Agent, condition: Condition, waiting: str) -> Flow[None]:
    """Wait no more. Nobody is woken by it: whoever waits on under the same name would wake itself for ever."""
    yield from do(EndTrigger(workflow_id, waiting, "CANCELLED", armed=True))
    yield from looking.forget_afar(looking.afar_of(condition, agent), workflow_id, waiting)
