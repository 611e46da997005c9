"""Triggers: a signature is kept in the store, and sent once its condition holds."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from ctxqueue.clock import microseconds
from ctxqueue.effects import (
    LASTING,
    EndTrigger,
    LoadTrigger,
    LoadTriggers,
    Position,
    Recurring,
    Register,
    do,
    family_of,
)
from ctxqueue.errors import AccessDenied, CapacityError, WorkflowNotFound
from ctxqueue.flows import judging, looking, recurring
from ctxqueue.flows.auditing import resolved
from ctxqueue.flows.looking import Judge
from ctxqueue.flows.publishing import item_id, publish
from ctxqueue.flows.refusals import closed_workflow, unknown_workflow
from ctxqueue.flows.signatures import OVER, TRIGGERS_A_PAGE, Kept, Launch, canvases_of, kept_trigger
from ctxqueue.identity import Identified, derived_run_id, new_run_id
from ctxqueue.rules.conditions import is_judged
from ctxqueue.rules.dependencies import JUDGED, fingerprint, resolve, watched
from ctxqueue.settings import MAX_RECURRING, MAX_RUN_CALLS, MAX_TRIGGER_DEPTH, MAX_TRIGGERS

if TYPE_CHECKING:
    from ctxqueue.effects import Flow, KeptTrigger, Registered, TriggerState
    from ctxqueue.errors import CtxqueueError
    from ctxqueue.flows.terms import Terms
    from ctxqueue.models import Agent
    from ctxqueue.rules.conditions import Condition

_encode = msgspec.msgpack.Encoder().encode


def register(
    terms: Terms,
    workflow_id: str,
    agent: Agent,
    condition: Condition,
    signature: Any,
    timeout: float | None,
    on_timeout: Any,
    *,
    every: bool,
    pass_cause: bool,
) -> Flow[tuple[str, TriggerState]]:
    """Keep a signature until the condition holds, or with ``every`` for each time. Return its id, and how it stands."""
    canvases = canvases_of(terms)
    depth = canvases.depth() + 1
    if depth > MAX_TRIGGER_DEPTH:
        raise CapacityError(
            f"this would be trigger {depth} in a row, each armed by what the one before it sent: a loop? At most"
            f" {MAX_TRIGGER_DEPTH} are allowed"
        )
    tree = yield from resolved(terms, workflow_id, agent, condition)
    judged = every or is_judged(condition)
    if every:
        tree = [JUDGED, *watched(condition, agent)[""]]
    if looking.afar_of(condition, agent):
        yield from looking.lacking(terms, workflow_id, agent, condition)  # each of the workflows must be there
    timeout_us = None if timeout is None else microseconds(timeout, "timeout")
    kept = Kept(
        Judge.of(condition, agent),
        canvases.frozen(signature),
        canvases.frozen(on_timeout) if on_timeout is not None else b"",
        pass_cause,
        depth,
        "" if judged else fingerprint(tree),
    )
    with Identified("when", workflow_id, agent.agent_id, [], None) as call:
        of_run = call.mode == "run"
        name = derived_run_id(call.owner, call.call_id) if of_run else new_run_id()
    lasts = LASTING if timeout is None else "+"
    trigger_id = f"{lasts}{recurring.FAMILY}-{name}" if every else name
    late = b"" if every and timeout is None else canvases.launch(workflow_id, trigger_id, late=True)
    afar = yield from looking.begin_afar(terms, workflow_id, agent, condition, trigger_id)
    reply = yield from do(
        Register(
            workflow_id=workflow_id,
            trigger_id=trigger_id,
            condition=tree,
            judge=looking.packed(condition, agent) if judged else b"",
            item_id=item_id(terms.app, workflow_id, trigger_id, Position(0, 0)),
            message=b"" if every else canvases.launch(workflow_id, trigger_id, late=False),
            late_message=late,
            timeout_us=timeout_us,
            record=_encode(kept),
            most=MAX_TRIGGERS,
            app=terms.app,
            lease_us=terms.lease_us,
            call=call if of_run else None,
            horizon_us=terms.bounds.horizon_us,
            recurring=Recurring(MAX_RECURRING) if every else None,
        )
    )
    if reply.answer not in ("armed", "fired", "found"):
        yield from looking.forget_afar(afar, workflow_id, trigger_id)
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
        return looking.too_many_patterns(workflow_id)
    if reply.answer == "family":
        return CapacityError(
            f"workflow {workflow_id!r} has {MAX_RECURRING} triggers that fire each time: cancel some, or use fewer"
        )
    if reply.answer == "calls":
        return CapacityError(f"the run has made all the calls that a run may make: {MAX_RUN_CALLS}")
    return CapacityError(f"workflow {workflow_id!r} has {MAX_TRIGGERS} triggers: cancel some, or use fewer")


def load(workflow_id: str, agent: Agent, trigger_id: str) -> Flow[KeptTrigger | None]:
    """Read one of the agent's own; the operator's are all."""
    kept = yield from do(LoadTrigger(workflow_id, trigger_id))
    return _shown(agent, kept) if kept is not None and _is_trigger(trigger_id) and _is_of(agent, kept) else None


def load_all(workflow_id: str, agent: Agent) -> Flow[list[KeptTrigger]]:
    """Read the agent's own, the oldest first; the operator's are all."""
    found: dict[str, KeptTrigger] = {}
    cursor, more = "", True
    while more:
        page, cursor = yield from do(LoadTriggers(workflow_id, cursor, TRIGGERS_A_PAGE))
        found.update(
            (kept.trigger_id, _shown(agent, kept))
            for kept in page
            if _is_trigger(kept.trigger_id) and _is_of(agent, kept)
        )
        more = cursor != ""
    return [found[name] for name in sorted(found, key=lambda name: name.removeprefix(f"{family_of(name)}-"))]


def _shown(agent: Agent, kept: KeptTrigger) -> KeptTrigger:
    """Leave out what only the operator may know: what was written since may be nothing that the agent may see."""
    if kept.state == "RUNNING_DIRTY" and not agent.is_operator:
        return msgspec.structs.replace(kept, state="RUNNING")
    return kept


def _is_trigger(trigger_id: str) -> bool:
    return family_of(trigger_id).endswith(recurring.FAMILY) or not family_of(trigger_id)


def _is_of(agent: Agent, kept: KeptTrigger) -> bool:
    return agent.is_operator or kept_trigger(kept.record).judge.agent_id == agent.agent_id


def condition_of(kept: KeptTrigger) -> Condition:
    """Return what a trigger waits for."""
    return kept_trigger(kept.record).judge.condition


def cancel(workflow_id: str, agent: Agent, trigger_id: str) -> Flow[bool]:
    """Call off one that is armed; False: it is not, or is not the agent's."""
    kept = yield from load(workflow_id, agent, trigger_id)
    if kept is None:
        return False
    waiting = kept_trigger(kept.record).judge
    called_off = yield from do(EndTrigger(workflow_id, trigger_id, "CANCELLED", armed=True))
    yield from looking.forget_afar(looking.afar_of(waiting.condition, waiting.agent), workflow_id, trigger_id)
    return called_off


def fire(terms: Terms, workflow_id: str, agent: Agent, trigger_id: str) -> Flow[bool]:
    """Fire one that is armed, whatever its condition; False: it is not, or is not the agent's."""
    if (yield from load(workflow_id, agent, trigger_id)) is None:
        return False
    if family_of(trigger_id):
        return bool((yield from recurring.judge(terms, workflow_id, trigger_id, by_hand=True)))
    return bool((yield from judging.fire(terms, workflow_id, trigger_id)))


def launched(terms: Terms, workflow_id: str, trigger_id: str, *, late: bool) -> Flow[Launch | None]:
    """Return what a trigger that has fired, or whose time is up, is to send; None: nothing.

    Raises AccessDenied if its agent may not be told any more: a store fires by what the policy was when it was armed.
    """
    kept = yield from do(LoadTrigger(workflow_id, trigger_id))
    if kept is None or kept.state in OVER:
        return None
    trigger = kept_trigger(kept.record)
    if late:
        waiting = trigger.judge
        yield from looking.forget_afar(looking.afar_of(waiting.condition, waiting.agent), workflow_id, trigger_id)
    canvas = trigger.late_canvas if late else trigger.canvas
    if not canvas:
        return None
    look = looking.Look(terms, trigger.judge.condition, trigger.judge.agent, workflow_id)
    with suppress(WorkflowNotFound):  # another one, that was removed since: what is sent does not hang on it
        yield from look.look()
    if not late and trigger.resolved:
        waiting = trigger.judge
        now = fingerprint(resolve(terms.policy, waiting.condition, waiting.agent))
        if now != trigger.resolved and look.false_leaves():
            raise AccessDenied(f"{waiting.agent_id} may not be told by the policy of now that its condition holds")
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
