"""Triggers: a signature is kept in the store, and sent once its condition holds."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from ctxqueue.clock import microseconds
from ctxqueue.effects import EndTrigger, LoadTrigger, LoadTriggers, Position, Register, do
from ctxqueue.errors import CapacityError, ConfigurationError, WorkflowNotFound
from ctxqueue.flows import judging
from ctxqueue.flows.attempts import item_id
from ctxqueue.flows.judging import Judge
from ctxqueue.flows.publishing import publish
from ctxqueue.flows.refusals import closed_workflow, unknown_workflow
from ctxqueue.identity import Identified, derived_run_id, new_run_id
from ctxqueue.rules.conditions import is_judged
from ctxqueue.rules.dependencies import resolve
from ctxqueue.settings import MAX_TRIGGER_DEPTH, MAX_TRIGGERS

if TYPE_CHECKING:
    from ctxqueue.effects import Flow, KeptTrigger, Registered, TriggerState
    from ctxqueue.errors import CtxqueueError
    from ctxqueue.flows.terms import Canvases, Terms
    from ctxqueue.models import Agent
    from ctxqueue.rules.conditions import Condition

TRIGGERS_A_PAGE = 500


class Kept(msgspec.Struct, frozen=True, array_like=True):
    """What is kept of a trigger. New fields go to the end, with a default."""

    judge: Judge
    """Its condition, and the agent that registered it."""
    canvas: bytes
    late_canvas: bytes
    """Sent when the time is up; empty: nothing."""
    pass_cause: bool
    depth: int


class Launch(msgspec.Struct, frozen=True):
    """What is to be sent, and why."""

    canvas: bytes
    cause: dict[str, Any]
    pass_cause: bool
    depth: int


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Kept).decode


def canvases_of(terms: Terms) -> Canvases:
    """Return what makes messages of signatures; raises ConfigurationError outside any Celery app."""
    if terms.canvases is None:
        raise ConfigurationError(
            "a trigger sends a Celery signature, and this manager belongs to no Celery app: take the one of"
            " ctxqueue.install(app), as in 'ctx.workflow(id).when(...)'"
        )
    return terms.canvases


def register(
    terms: Terms,
    workflow_id: str,
    agent: Agent,
    condition: Condition,
    signature: Any,
    timeout: float | None,
    on_timeout: Any,
    *,
    pass_cause: bool,
) -> Flow[tuple[str, TriggerState]]:
    """Keep a signature until the condition holds. Return its id, and how it stands."""
    canvases = canvases_of(terms)
    depth = canvases.depth() + 1
    if depth > MAX_TRIGGER_DEPTH:
        raise CapacityError(
            f"this would be trigger {depth} in a row, each armed by what the one before it sent: a loop? At most"
            f" {MAX_TRIGGER_DEPTH} are allowed"
        )
    tree = resolve(condition, agent)
    judged = is_judged(condition)
    if judging.afar_of(condition, agent):
        yield from judging.lacking(workflow_id, agent, condition)  # each of the workflows must be there
    kept = Kept(
        Judge.of(condition, agent),
        canvases.frozen(signature),
        canvases.frozen(on_timeout) if on_timeout is not None else b"",
        pass_cause,
        depth,
    )
    with Identified("when", workflow_id, agent.agent_id, [], None) as call:
        trigger_id = derived_run_id(call.owner, call.call_id) if call.mode == "run" else new_run_id()
    reply = yield from do(
        Register(
            workflow_id=workflow_id,
            trigger_id=trigger_id,
            condition=tree,
            judge=judging.packed(condition, agent) if judged else b"",
            item_id=item_id(terms.app, workflow_id, trigger_id, Position(0, 0)),
            message=canvases.launch(workflow_id, trigger_id, late=False),
            late_message=canvases.launch(workflow_id, trigger_id, late=True),
            timeout_us=None if timeout is None else microseconds(timeout, "timeout"),
            record=_encode(kept),
            most=MAX_TRIGGERS,
            app=terms.app,
            lease_us=terms.lease_us,
        )
    )
    if reply.answer not in ("armed", "fired", "found"):
        raise _refusal(reply, workflow_id)
    yield from publish(terms, workflow_id, reply.outgoing)
    if judged and reply.answer == "armed":
        yield from judging.judge(terms, workflow_id, trigger_id)
    standing = yield from do(LoadTrigger(workflow_id, trigger_id))
    return trigger_id, standing.state if standing is not None else "FIRED"


def _refusal(reply: Registered, workflow_id: str) -> CtxqueueError:
    if reply.answer == "no_workflow":
        return unknown_workflow(workflow_id)
    if reply.answer == "closed":
        return closed_workflow(workflow_id)
    if reply.answer == "patterns":
        return judging.too_many_patterns(workflow_id)
    return CapacityError(f"workflow {workflow_id!r} has {MAX_TRIGGERS} triggers: cancel some, or use fewer")


def load(workflow_id: str, agent: Agent, trigger_id: str) -> Flow[KeptTrigger | None]:
    """Read one of the agent's own; the operator's are all."""
    kept = yield from do(LoadTrigger(workflow_id, trigger_id))
    return kept if kept is not None and _is_of(agent, kept) else None


def load_all(workflow_id: str, agent: Agent) -> Flow[list[KeptTrigger]]:
    """Read the agent's own, the oldest first; the operator's are all."""
    found: dict[str, KeptTrigger] = {}
    cursor, more = "", True
    while more:
        page, cursor = yield from do(LoadTriggers(workflow_id, cursor, TRIGGERS_A_PAGE))
        found.update((kept.trigger_id, kept) for kept in page if _is_of(agent, kept))
        more = cursor != ""
    return [found[trigger_id] for trigger_id in sorted(found)]


def _is_of(agent: Agent, kept: KeptTrigger) -> bool:
    return agent.is_operator or _decode(kept.record).judge.agent_id == agent.agent_id


def condition_of(kept: KeptTrigger) -> Condition:
    """Return what a trigger waits for."""
    return _decode(kept.record).judge.condition


def cancel(workflow_id: str, agent: Agent, trigger_id: str) -> Flow[bool]:
    """Call off one that is armed; False: it is not, or is not the agent's."""
    kept = yield from load(workflow_id, agent, trigger_id)
    if kept is None:
        return False
    waiting = _decode(kept.record).judge
    called_off = yield from do(EndTrigger(workflow_id, trigger_id, "CANCELLED", armed=True))
    yield from judging.forget_afar(judging.afar_of(waiting.condition, waiting.agent), workflow_id, trigger_id)
    return called_off


def fire(terms: Terms, workflow_id: str, agent: Agent, trigger_id: str) -> Flow[bool]:
    """Fire one that is armed, whatever its condition; False: it is not, or is not the agent's."""
    if (yield from load(workflow_id, agent, trigger_id)) is None:
        return False
    return bool((yield from judging.fire(terms, workflow_id, trigger_id)))


def launched(workflow_id: str, trigger_id: str, *, late: bool) -> Flow[Launch | None]:
    """Return what a trigger that has fired, or whose time is up, is to send; None: nothing."""
    kept = yield from do(LoadTrigger(workflow_id, trigger_id))
    if kept is None or kept.state in ("CANCELLED", "EXPIRED", "FAILED"):
        return None
    trigger = _decode(kept.record)
    if late:
        waiting = trigger.judge
        yield from judging.forget_afar(judging.afar_of(waiting.condition, waiting.agent), workflow_id, trigger_id)
    canvas = trigger.late_canvas if late else trigger.canvas
    if not canvas:
        return None
    look = judging.Look(trigger.judge.condition, trigger.judge.agent, workflow_id)
    with suppress(WorkflowNotFound):  # another one, that was removed since: what is sent does not hang on it
        yield from look.look()
    newest = max(look.entries, key=lambda entry: entry.timestamp, default=None)
    cause = {
        "trigger": trigger_id,
        "workflow": workflow_id,
        "revision": newest.revision if newest is not None else 0,
        "agent": newest.agent_id if newest is not None else "",
        "keys": sorted(entry.key for entry in look.entries),
    }
    if late:
        cause["missing"] = [str(leaf) for leaf in look.false_leaves()]
    return Launch(canvas, cause, trigger.pass_cause, trigger.depth)


def ended(workflow_id: str, trigger_id: str, state: TriggerState, reason: str = "") -> Flow[bool]:
    """Write down how a trigger ended."""
    return (yield from do(EndTrigger(workflow_id, trigger_id, state, reason)))
