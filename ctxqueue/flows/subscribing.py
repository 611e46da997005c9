"""Subscribing, and what there is of subscriptions and notifications."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec

from ctxqueue.clock import instant, microseconds
from ctxqueue.effects import (
    EndTrigger,
    Load,
    LoadNotices,
    LoadTrigger,
    LoadTriggers,
    Position,
    Recurring,
    Register,
    do,
    family_of,
)
from ctxqueue.errors import AccessDenied, CapacityError
from ctxqueue.flows import recurring
from ctxqueue.flows.looking import forget_afar, too_many_patterns, watch_afar
from ctxqueue.flows.publishing import item_id
from ctxqueue.flows.reading import may_be_told
from ctxqueue.flows.refusals import closed_workflow, unknown_workflow
from ctxqueue.flows.signatures import TRIGGERS_A_PAGE, KeptSubscription, canvases_of, kept_subscription
from ctxqueue.flows.subscriptions import FAMILY, Notes, Spec, add, elsewhere, judge, leaves, matching
from ctxqueue.identity import Identified, derived_run_id, new_run_id
from ctxqueue.models import Address, ContextScope, Notification
from ctxqueue.rules.changes import Changed, place_of
from ctxqueue.rules.dependencies import JUDGED
from ctxqueue.settings import MAX_RECURRING, MAX_SUBSCRIPTIONS, MAX_TRIGGERS

if TYPE_CHECKING:
    from ctxqueue.effects import Flow, Head, KeptTrigger
    from ctxqueue.flows.looking import Afar
    from ctxqueue.flows.terms import Terms
    from ctxqueue.models import Agent
    from ctxqueue.rules.changes import When
    from ctxqueue.rules.policy import Policy

_encode = msgspec.msgpack.Encoder().encode


def subscribe(
    terms: Terms,
    workflow_id: str,
    agent: Agent,
    patterns: tuple[str, ...],
    signature: Any,
    debounce: float,
    when: When | None,
    *,
    of_entry: bool = False,
) -> Flow[str]:
    """Keep a signature that is sent at changes by others. Return the subscription's id.

    ``of_entry``: it is about what an entry depends on, whoever writes that; and what is there already counts.
    """
    canvases = canvases_of(terms)
    check_access(terms.policy, agent, patterns)
    debounce_us = microseconds(debounce, "debounce") if debounce else 0
    named = (agent.agent_id, agent.agent_type, agent.agent_role, tuple(agent.groups))
    spec = Spec(patterns, when, debounce_us, *named, own=of_entry)
    record = _encode(KeptSubscription(patterns, agent.agent_id, canvases.frozen(signature)))
    watched = spec.watched()
    notes = yield from _first_notes(terms, workflow_id, spec, watched)
    digest = hashlib.blake2b(agent.agent_id.encode(), digest_size=6).hexdigest()
    family, most = (f"{FAMILY}d", MAX_RECURRING) if of_entry else (FAMILY + digest, MAX_SUBSCRIPTIONS)
    with Identified("subscribe", workflow_id, agent.agent_id, patterns, None) as call:
        of_run = call.mode == "run"
        name = derived_run_id(call.owner, call.call_id) if of_run else new_run_id()
    subscription_id = f"{family}-{name}"
    afar = yield from watch_afar(terms, elsewhere(watched), workflow_id, subscription_id, first=True)
    reply = yield from do(
        Register(
            workflow_id=workflow_id,
            trigger_id=subscription_id,
            condition=[JUDGED, *watched[""]],
            judge=_encode(spec),
            item_id=item_id(terms.app, workflow_id, subscription_id, Position(0, 0)),
            message=b"",
            late_message=b"",
            timeout_us=None,
            record=record,
            most=MAX_TRIGGERS,
            app=terms.app,
            lease_us=terms.lease_us,
            call=call if of_run else None,
            horizon_us=terms.bounds.horizon_us,
            recurring=Recurring(most, _encode(notes)),
        )
    )
    if reply.answer not in ("armed", "found"):
        yield from forget_afar(afar, workflow_id, subscription_id)
        if reply.answer == "no_workflow":
            raise unknown_workflow(workflow_id)
        if reply.answer == "closed":
            raise closed_workflow(workflow_id)
        if reply.answer == "patterns":
            raise too_many_patterns(workflow_id)
        raise CapacityError(
            f"{agent.agent_id} has {most} subscriptions in workflow {workflow_id!r}, or the workflow all"
            " the triggers, or the run all the calls that are allowed: cancel some, or give one more patterns"
        )
    yield from judge(terms, workflow_id, subscription_id)
    return subscription_id


def check_access(policy: Policy, agent: Agent, patterns: tuple[str, ...]) -> None:
    """Raise AccessDenied for a key that the agent may not read."""
    for pattern in patterns:
        if not may_be_told(policy, agent, pattern):
            error = AccessDenied(f"{agent.agent_id} may not subscribe to {pattern!r}: it may not read it")
            error.denied = "subscribe", Address(ContextScope.WORKFLOW, "", pattern), "it may not read it"
            raise error


def _first_notes(terms: Terms, workflow_id: str, spec: Spec, watched: dict[str, dict[str, None]]) -> Flow[Notes]:
    read: dict[str, tuple[str, int, bytes]] = {}
    for place in watched:
        head, _ = yield from do(Load(place or workflow_id, ()))
        if head is None and not place:
            raise unknown_workflow(workflow_id)
        read[place] = (head.incarnation, head.revision, head.commit_id) if head is not None else ("", 0, b"")
    compared = (yield from leaves(terms, workflow_id, spec)) if isinstance(spec.when, Changed) else {}
    notes = Notes(read, compared)
    if spec.own:  # what is there already counts
        for place in watched:
            for entry in (yield from matching(terms, workflow_id, spec, place)):
                add(notes, entry.key, entry.revision, entry.agent_id, 0, recurring.depth_here(terms))
    return notes


def load_all(workflow_id: str, agent: Agent) -> Flow[list[tuple[KeptTrigger, KeptSubscription]]]:
    """Read the agent's own, the oldest first; the operator's are all."""
    found: dict[str, tuple[KeptTrigger, KeptSubscription]] = {}
    cursor, more = "", True
    while more:
        page, cursor = yield from do(LoadTriggers(workflow_id, cursor, TRIGGERS_A_PAGE))
        for kept in page:
            if family_of(kept.trigger_id).startswith(FAMILY):
                subscription = kept_subscription(kept.record)
                if agent.is_operator or subscription.agent_id == agent.agent_id:
                    found[kept.trigger_id] = kept, subscription
        more = cursor != ""
    return [found[each] for each in sorted(found, key=lambda name: name.partition("-")[2])]


def cancel(workflow_id: str, agent: Agent, subscription_id: str) -> Flow[bool]:
    """End one; False: it had ended, or is not the agent's."""
    kept = yield from do(LoadTrigger(workflow_id, subscription_id))
    if kept is None or not family_of(subscription_id).startswith(FAMILY):
        return False
    subscription = kept_subscription(kept.record)
    if not agent.is_operator and subscription.agent_id != agent.agent_id:
        return False
    called_off = yield from do(EndTrigger(workflow_id, subscription_id, "CANCELLED", armed=True))
    elsewhere: Afar = {place_of(pattern): () for pattern in subscription.patterns if place_of(pattern)}
    yield from forget_afar(elsewhere, workflow_id, subscription_id)
    return called_off


def notifications(terms: Terms, workflow_id: str, agent: Agent) -> Flow[list[Notification]]:
    """Return what the agent was notified of, the newest first: the last hundred."""
    head: Head | None
    head, _ = yield from do(Load(workflow_id, ()))
    if head is None:
        raise unknown_workflow(workflow_id)
    kept = yield from do(LoadNotices(workflow_id, agent.agent_id))
    told = [_notification(terms.policy, agent, each) for each in reversed(kept)]
    return [each for each in told if each.keys]


def _notification(policy: Policy, agent: Agent, kept: bytes) -> Notification:
    """Return it as the agent may see it now: its type may be another one than when it was told."""
    at_us, subscription_id, keys, revision, author = msgspec.msgpack.decode(kept)
    seen = tuple(key for key in keys if may_be_told(policy, agent, key))
    return Notification(instant(at_us), subscription_id, seen, revision, author)
