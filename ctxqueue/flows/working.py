"""An agent's working memory in a workflow: an entry of its own, which ends with the workflow."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from ctxqueue import codec
from ctxqueue.effects import Flow, Load, do
from ctxqueue.errors import InvalidInput, ValueTooLarge
from ctxqueue.flows.reading import shown
from ctxqueue.flows.refusals import unknown_workflow
from ctxqueue.flows.updating import merged
from ctxqueue.flows.writing import checked_at
from ctxqueue.models import WORKING_MEMORY, Address, Agent, ContextScope, Put
from ctxqueue.rules import working
from ctxqueue.rules.access import hold

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import timedelta

    from ctxqueue.flows.terms import Terms
    from ctxqueue.rules.policy import Policy


class Bounds:
    """What one working memory is held to; checked."""

    def __init__(self, max_items: int, max_bytes: int, ttl: float | timedelta | None) -> None:
        """Raise InvalidInput."""
        for what, number in (("max_items", max_items), ("max_bytes", max_bytes)):
            if isinstance(number, bool) or not isinstance(number, int) or number < 1:
                raise InvalidInput(f"{what} is {number!r:.80}: give a whole number above 0")
        self.max_items, self.max_bytes, self.ttl = max_items, max_bytes, ttl


def _address(agent: Agent) -> Address:
    return Address(ContextScope.PRIVATE, agent.agent_id, WORKING_MEMORY)


def items(policy: Policy, workflow_id: str, agent: Agent) -> Flow[list[dict[str, Any]]]:
    """Return what the agent keeps in mind, oldest first; raises WorkflowNotFound."""
    address = _address(agent)
    head, records = yield from do(Load(workflow_id, (address.encode(),)))
    if head is None:
        raise unknown_workflow(workflow_id)
    entry = shown(policy, agent, address, records.get(address.encode()), reveal=True)
    kept: list[dict[str, Any]] = entry.value["items"] if entry is not None else []
    return kept


def add(
    terms: Terms,
    workflow_id: str,
    agent: Agent,
    bounds: Bounds,
    content: str,
    importance: float,
    metadata: Mapping[str, Any] | None,
) -> Flow[str]:
    """Keep one more item in mind, and return its id; what matters least goes where there is no room."""
    item = {"id": uuid.uuid4().hex, "content": content, "importance": importance, "metadata": dict(metadata or {})}
    size = len(codec.pack(item))
    if size > bounds.max_bytes:
        raise ValueTooLarge(f"an item of working memory takes {size} bytes: at most {bounds.max_bytes}")
    yield from _change(terms, workflow_id, agent, bounds, [item], ())
    return str(item["id"])


def remove(terms: Terms, workflow_id: str, agent: Agent, bounds: Bounds, ids: Iterable[str]) -> Flow[None]:
    """Let some items go; what others add at the same time stays."""
    gone = list(ids)
    if gone:
        yield from _change(terms, workflow_id, agent, bounds, (), gone)


def _change(
    terms: Terms,
    workflow_id: str,
    agent: Agent,
    bounds: Bounds,
    added: Iterable[Mapping[str, Any]],
    gone: Iterable[str],
) -> Flow[None]:
    value = working.change(added, gone, max_items=bounds.max_items, max_bytes=bounds.max_bytes)
    put = Put(value, priority="high", ttl=bounds.ttl)
    hold(terms.policy, agent, _address(agent), "write")
    yield from merged(terms, workflow_id, agent, [checked_at(terms, _address(agent), put)], working.STRATEGY)
