"""One commit, with what follows from it: fired messages are published, long lists of waiters paged through."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

from ctxqueue.effects import (
    Commit,
    Committed,
    Conflict,
    FanOut,
    Flow,
    Load,
    LoadGraph,
    Open,
    Wait,
    Write,
    do,
)
from ctxqueue.errors import (
    CircularDependencyError,
    CommitTooLarge,
    VersionConflict,
)
from ctxqueue.flows import quotas
from ctxqueue.flows.auditing import committed, origin_of
from ctxqueue.flows.forgetting import forget_gone, is_due
from ctxqueue.flows.judging import judge
from ctxqueue.flows.publishing import publish
from ctxqueue.flows.quotas import UNCOUNTED
from ctxqueue.flows.refusals import refusal
from ctxqueue.identity import new_run_id
from ctxqueue.models import GLOBAL_WORKFLOW, Address
from ctxqueue.records import decode_header, meta_of
from ctxqueue.rules.access import may_read
from ctxqueue.rules.graph import circle
from ctxqueue.settings import MAX_COMMIT_BYTES, MAX_COMMIT_KEYS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ctxqueue.effects import Settling
    from ctxqueue.flows.terms import Terms
    from ctxqueue.identity import Call
    from ctxqueue.models import Agent
    from ctxqueue.rules.graph import Edges
    from ctxqueue.rules.policy import Policy

MAX_ROUNDS = 1_000
LONGEST_PAUSE = 0.05
FAN_OUT_PAGE = 100
FAN_OUT_PAGES = 50
"""How many pages the committing process goes through itself; the sweep does the rest."""


def check_size(writes: Sequence[Write]) -> None:
    """Raise CommitTooLarge over 200 addresses or 1 MB of values."""
    if len(writes) > MAX_COMMIT_KEYS:
        raise CommitTooLarge(f"the commit has {len(writes)} keys: at most {MAX_COMMIT_KEYS}; split it")
    size = sum([len(write.value) for write in writes])
    if size > MAX_COMMIT_BYTES:
        raise CommitTooLarge(f"the commit has more than {MAX_COMMIT_BYTES} bytes of values: split it")


def commit(
    terms: Terms,
    workflow_id: str,
    agent: Agent,
    call: Call,
    digest: bytes,
    writes: tuple[Write, ...],
    edges: Edges | None = None,
    expected_head: bytes = b"",
    settling: Settling | None = None,
    *,
    even_closed: bool = False,
) -> Flow[tuple[Committed | Conflict, int]]:
    """Commit once. Return the reply and how many parked tasks were released; a refusal is raised.

    ``edges`` are the dependencies that may be new: they must close no circle. ``expected_head``: the commit that must
    still be the workflow's newest. ``settling`` is what it does to the workflow's inbox.
    """
    check_size(writes)
    commit_id = os.urandom(8)
    limited = quotas.are_set(terms, agent, writes)
    for rounds in range(MAX_ROUNDS):
        counted = (yield from quotas.counted(terms, workflow_id, agent, writes)) if limited else UNCOUNTED
        graph, circular = (yield from _checked_graph(workflow_id, edges)) if edges else (None, [])
        effect = Commit(
            workflow_id=workflow_id,
            agent_id=agent.agent_id,
            commit_id=commit_id,
            call=call,
            digest=digest,
            on_divergence=terms.settings.on_divergence,
            writes=writes,
            bounds=terms.bounds,
            app=terms.app,
            lease_us=terms.lease_us,
            graph=graph,
            settling=settling,
            expected_head=counted.head if counted.excess else expected_head or counted.head,
            even_closed=even_closed,
            origin=origin_of(terms, agent),
        )
        reply = yield from committed(effect)
        if isinstance(reply, Conflict):
            return reply, 0
        if isinstance(reply, Committed):
            followed = _is_followed(terms, reply)
            return reply, (yield from follow_up(terms, workflow_id, reply)) if followed else reply.fired
        if circular:
            path = yield from named_circle(terms.policy, workflow_id, agent, circular, edges or {})
            raise CircularDependencyError(
                f"in workflow {workflow_id!r} {path} would be a circle of dependencies: nothing was written"
            )
        if reply.reason == "no_workflow" and workflow_id == GLOBAL_WORKFLOW:
            yield from do(Open(GLOBAL_WORKFLOW, new_run_id(), b"", terms.idle_us))
        elif reply.reason == "moved" and limited and not expected_head and not counted.excess:
            yield from do(Wait(random.uniform(0, min(LONGEST_PAUSE, 0.001 * 2 ** min(rounds, 10)))))  # noqa: S311
        elif reply.reason != "graph_moved":
            raise (reply.reason == "moved" and counted.excess) or refusal(reply, workflow_id, call)
    raise VersionConflict(f"a commit in workflow {workflow_id!r} lost the race {MAX_ROUNDS} times: nothing was written")


NO_GRAPH = -1
"""No workflow's graph is at this: the commit answers only if it was made before."""


def _checked_graph(workflow_id: str, edges: Edges) -> Flow[tuple[int, list[str]]]:
    """Return what the graph is at, and a circle that these edges would close in it, if any."""
    head, standing = yield from do(LoadGraph(workflow_id))
    circular = circle(standing | edges, tuple(edges))
    return (NO_GRAPH, circular) if circular else (head.graph if head else 0, [])


def named_circle(policy: Policy, workflow_id: str, agent: Agent, circular: list[str], edges: Edges) -> Flow[str]:
    """Return a circle's path; keys that the agent neither gave itself nor may read are left out."""
    given = {*(address.rpartition("\0")[2] for address in edges), *(key for keys in edges.values() for key in keys)}
    _, records = yield from do(Load(workflow_id, tuple(dict.fromkeys(circular))))
    path = []
    for encoded in circular:
        address = Address.decode(encoded, of_global=workflow_id == GLOBAL_WORKFLOW)
        record = records.get(encoded)
        sensitive = record is None or meta_of(record, decode_header(record)).sensitive
        named = address.key in given or may_read(policy, agent, address, sensitive=sensitive)
        path.append(address.key if named else "...")
    return " -> ".join(path)


def _is_followed(terms: Terms, committed: Committed) -> bool:
    """Whether there is anything to follow up: nearly no commit has."""
    return bool(committed.outgoing or committed.pending or committed.judged) or is_due(terms, committed.revision)


def follow_up(terms: Terms, workflow_id: str, committed: Committed) -> Flow[int]:
    """Publish what a commit fired, judge what is to be judged, and go through long lists of waiters.

    Return how many parked tasks were released.
    """
    fired = committed.fired
    yield from publish(terms, workflow_id, committed.outgoing)
    if not committed.replayed:
        yield from forget_gone(terms, workflow_id, committed.revision)
    # All at the end: one that is judged is registered anew, and would be met again under each address that is left.
    judged = dict.fromkeys(committed.judged)
    for address in committed.pending:
        for _ in range(FAN_OUT_PAGES):
            page = yield from do(FanOut(workflow_id, address, FAN_OUT_PAGE, terms.app, terms.lease_us))
            fired += page.fired
            yield from publish(terms, workflow_id, page.outgoing)
            judged.update(dict.fromkeys(page.judged))
            if not page.more:
                break
    return fired + (yield from _judged(terms, workflow_id, tuple(judged)))


def _judged(terms: Terms, workflow_id: str, runs: tuple[str, ...]) -> Flow[int]:
    fired = 0
    for run in runs:
        fired += yield from judge(terms, workflow_id, run)
    return fired
