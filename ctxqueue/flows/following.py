"""What is new in a workflow's log, as one agent may see it: for functions that are called in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ctxqueue.clock import instant
from ctxqueue.effects import Load, LoadLog, Open, do
from ctxqueue.flows.refusals import unknown_workflow
from ctxqueue.identity import new_run_id
from ctxqueue.models import GLOBAL_WORKFLOW, Address, Agent, Change, is_reserved
from ctxqueue.rules.access import may_read

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ctxqueue.effects import Flow, LogRecord
    from ctxqueue.flows.terms import Terms
    from ctxqueue.rules.policy import Policy

LOG_PAGE = 200


class Place(NamedTuple):
    """Up to where a workflow's log was read."""

    workflow_id: str
    incarnation: str
    revision: int


class News(NamedTuple):
    """What has come, where to go on from, and whether there may be more at once, or will be none any more."""

    changes: tuple[Change, ...]
    place: Place
    more: bool
    over: bool
    missed: bool
    """The log does not reach back to where it was read, or is another one: something may have been missed."""


def present(terms: Terms, workflow_id: str) -> Flow[Place]:
    """Return where a log ends now; raises WorkflowNotFound."""
    if workflow_id == GLOBAL_WORKFLOW:  # it is there once it is needed
        yield from do(Open(GLOBAL_WORKFLOW, new_run_id(), b"", terms.idle_us))
    head, _ = yield from do(Load(workflow_id, ()))
    if head is None:
        raise unknown_workflow(workflow_id)
    return Place(workflow_id, head.incarnation, head.revision)


def news(policy: Policy, agent: Agent, place: Place) -> Flow[News]:
    """Read on, one page."""
    workflow_id, incarnation, revision = place
    head, oldest, records = yield from do(LoadLog(workflow_id, revision + 1, LOG_PAGE))
    if head is None or head.incarnation != incarnation:  # it was removed, and perhaps made anew
        return News((), place, more=False, over=True, missed=False)
    missed = head.revision < revision or oldest > revision + 1 <= head.revision
    found = tuple(change for record in records for change in _visible(policy, agent, workflow_id, record))
    reached = records[-1].revision if records else head.revision
    more = reached < head.revision
    return News(found, place._replace(revision=reached), more, over=bool(head.closed_us) and not more, missed=missed)


def _visible(policy: Policy, agent: Agent, workflow_id: str, record: LogRecord) -> Iterator[Change]:
    for logged in record.changes:
        address = Address.decode(logged.address, of_global=workflow_id == GLOBAL_WORKFLOW)
        if not is_reserved(address.key) and may_read(policy, agent, address, sensitive=logged.sensitive):
            author = "" if logged.kind in ("expired", "evicted") else logged.agent_id or record.agent_id
            of_entry = (address.key, address.scope, address.owner, logged.version, logged.kind)
            yield Change(record.revision, *of_entry, author, instant(record.at_us))
