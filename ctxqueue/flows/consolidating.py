"""What is worth keeping of a working memory becomes long-term memories, and then leaves it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from ctxqueue.effects import Flow, do, work
from ctxqueue.errors import InvalidInput
from ctxqueue.flows import remembering, working
from ctxqueue.remembered import Reader
from ctxqueue.rules.remembering import hold

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ctxqueue.flows.memory_terms import MemoryTerms
    from ctxqueue.flows.terms import Terms
    from ctxqueue.models import Agent


def consolidate(
    terms: Terms,
    memory_terms: MemoryTerms,
    workflow_id: str,
    agent: Agent,
    bounds: working.Bounds,
    summariser: Callable[[list[str]], Any],
    memory_type: str,
) -> Flow[list[str]]:
    """Remember what a summariser makes of the items, as the agent's own, and return the ids.

    Items leave once that is stored: whoever is cut off between finds them again, and remembers the same again.
    """
    reader = Reader(agent.agent_id, None, agent)
    hold(memory_terms.policy, reader, reader.owner(None), memory_type, "write")
    items = yield from working.items(terms.policy, workflow_id, agent)
    if not items:
        return []
    texts = [str(item["content"]) for item in items]
    kept = _checked((yield from do(work(partial(summariser, texts)))))
    importance = {text: item["importance"] for text, item in zip(texts, items, strict=True)}
    new = [
        remembering.checked(
            text,
            memory_type,
            agent_id=agent.agent_id,
            metadata={"workflow_id": workflow_id, "consolidated_from": len(items)},
            importance=importance.get(text, max(importance.values())),
        )
        for text in kept
    ]
    ids = yield from remembering.remember(memory_terms, new)
    yield from working.remove(terms, workflow_id, agent, bounds, [item["id"] for item in items])
    return ids


def _checked(summary: Any) -> Sequence[str]:
    """Return the texts to be kept; raises InvalidInput for something else."""
    texts = [summary] if isinstance(summary, str) else summary
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        raise InvalidInput(f"the summariser returned a {type(summary).__name__}: it must be a text, or a list of texts")
    return [text for text in texts if text.strip()]
