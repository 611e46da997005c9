"""What an agent keeps for itself in a workflow, beside the entries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ctxqueue.errors import InvalidInput
from ctxqueue.flows.updating import merged
from ctxqueue.flows.writing import checked_at
from ctxqueue.models import AGENT_STATE, Address, ContextScope, Put
from ctxqueue.rules.access import hold

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from ctxqueue.effects import Flow
    from ctxqueue.flows.terms import Terms
    from ctxqueue.flows.writing import Change
    from ctxqueue.models import Agent, CommitResult


MERGE = "deep_merge"


def set_agent_state(terms: Terms, workflow_id: str, agent: Agent, state: Mapping[str, Any]) -> Flow[CommitResult]:
    """Lay some values over the agent's state; dicts in it merge deeply."""
    return merged(terms, workflow_id, agent, [state_change(terms, agent, state)], MERGE)


def state_change(terms: Terms, agent: Agent, state: Mapping[str, Any]) -> Change:
    """Return it as a change to be merged by `MERGE`; raises InvalidInput."""
    if agent.is_operator:
        raise InvalidInput("an agent's state is its own: take a handle with its agent_id")
    if not state:
        raise InvalidInput("set_agent_state needs at least one name=value")
    address = Address(ContextScope.PRIVATE, agent.agent_id, AGENT_STATE)
    hold(terms.policy, agent, address, "write")
    return checked_at(terms, address, Put(dict(state), priority="high"))
