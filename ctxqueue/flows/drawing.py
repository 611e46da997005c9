"""What depends on what in a workflow, and who waits for what, as one agent may see it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ctxqueue.effects import LoadParked, do, family_of
from ctxqueue.flows import viewing
from ctxqueue.flows.looking import judge_of
from ctxqueue.flows.subscriptions import FAMILY, spec_of
from ctxqueue.models import Address
from ctxqueue.rules.access import may_name
from ctxqueue.rules.conditions import AtLeast, Compared, leaves_of
from ctxqueue.rules.drawing import Edge, drawn

if TYPE_CHECKING:
    from ctxqueue.effects import Flow, ParkedRun
    from ctxqueue.flows.terms import Terms
    from ctxqueue.models import Agent
    from ctxqueue.rules.drawing import Kind
    from ctxqueue.rules.policy import Policy

MOST_WAITING = 500
"""That are drawn: more could not be looked at."""
PAGE = 500
SHORT_ID = 8


def graph(terms: Terms, workflow_id: str, agent: Agent, form: str) -> Flow[str]:
    """Return the picture; raises InvalidInput, WorkflowNotFound."""
    nodes: dict[str, tuple[Kind, str]] = {}
    edges: list[Edge] = []
    drawn(nodes, edges, form)  # a form that is none is told before anything is read
    view = yield from viewing.look(terms, workflow_id, agent)
    readable = view.readable()
    for key, entry in readable.items():
        nodes[key] = "entry", f"{key} v{entry.version}"
    for key, entry in readable.items():
        for needed in entry.dependencies:
            if _may_be_named(terms.policy, agent, needed):
                nodes.setdefault(needed, ("missing", needed))
                edges.append(Edge(needed, key, waits=False))
    for run in (yield from _parked(workflow_id)):
        waits_for = _waits_for(terms.policy, agent, run, set(readable))
        if waits_for:
            name = f"\0{run.run_id}"
            nodes[name] = "waiting", f"waiting {run.run_id[-SHORT_ID:]}"
            for key, label in waits_for.items():
                nodes.setdefault(key, ("missing", label))
                edges.append(Edge(key, name, waits=True))
    return drawn(nodes, edges, form)


def _parked(workflow_id: str) -> Flow[list[ParkedRun]]:
    found: dict[str, ParkedRun] = {}
    cursor, more = "", True
    while more and len(found) < MOST_WAITING:
        page, cursor = yield from do(LoadParked(workflow_id, cursor, PAGE))
        found.update((run.run_id, run) for run in page)
        more = cursor != ""
    return [found[run_id] for run_id in sorted(found)[:MOST_WAITING]]


def _waits_for(policy: Policy, agent: Agent, run: ParkedRun, there: set[str]) -> dict[str, str]:
    """Return what a run waits for that the agent may see, by node, with its label."""
    if family_of(run.run_id).startswith(FAMILY):
        return {pattern: pattern for pattern in spec_of(run.judge).patterns if _may_be_named(policy, agent, pattern)}
    if run.judge:
        judge = judge_of(run.judge)
        asks_itself = agent.is_operator or judge.agent_id == agent.agent_id
        labels = {}
        for placed in leaves_of(judge.condition):
            named = placed.leaf.pattern if isinstance(placed.leaf, AtLeast) else placed.leaf.key
            if _may_be_named(policy, agent, named):
                # With what another agent compares a value is not for this one to know.
                is_others = isinstance(placed.leaf, Compared) and not asks_itself
                label = f"{named} compared" if is_others else str(placed)
                labels[named if named in there else label] = label
        return labels
    found: dict[str, str] = {}
    for encoded in run.addresses:
        address = Address.decode(encoded, of_global=False)
        if may_name(policy, agent, address):
            found[address.key] = address.key
    return found


def _may_be_named(policy: Policy, agent: Agent, key: str) -> bool:
    return may_name(policy, agent, Address.decode(f"w\0\0{key}", of_global=False))
