"""Agents' tasks that are learned of: run by whoever asks, and as a part of another task."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ctxqueue import UnifiedContextMemorySystem
from tests.integration.apps.common import hold, note, queue_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ctxqueue.integration.install import ContextQueue

AGENT = "validator_001"


def lengths(texts: Sequence[str]) -> list[list[float]]:
    """Embed by how long a text is."""
    return [[float(len(text)), 1.0] for text in texts]


def build(settings: Mapping[str, Any]) -> ContextQueue:
    """Return ctxqueue in the app."""
    ctx = queue_of("learning", {"ctxqueue_embedder": lengths, **settings})
    app = ctx.app

    @ctx.task(name="validate", agent_type="validator", agent_id=AGENT)
    def validate(self: Any, agent_id: str, task: str, data: Mapping[str, Any], context: Mapping[str, Any]) -> Any:
        """Is held where it is told to; ends as it is told to."""
        note(app, f"ran:{self.context.workflow_id}", os.getpid())
        note(app, f"knew:{self.context.workflow_id}", context["has_relevant_experience"])
        if "held_as" in data:
            hold(app, data["held_as"])
        if data["status"] == "raises":
            raise LookupError(task)
        return {
            "status": data["status"],
            "by": agent_id,
            "learned_pattern": {"skill_name": data["skill"], "steps": ["count", "compare"]},
        }

    @ctx.task(name="process", agent_type="validator", agent_id=AGENT)
    def process(self: Any, data: Mapping[str, Any]) -> Any:
        """Run the agent's task as a part of this one, learn of it, and is held before it ends."""
        system = UnifiedContextMemorySystem(ctx.manager, ctx.memory, execute=validate)
        workflow_id = self.context.workflow_id
        result = system.process_with_memory_learning(workflow_id, AGENT, "validate the totals", data)
        for episode in ctx.memory.list(where={"workflow_id": workflow_id}):
            ctx.memory.reinforce(episode.id, 0.125)
        ctx.memory.practise_skill(f"own {data['skill']}", success=True)
        hold(app, f"learned:{workflow_id}")
        return result

    return ctx
