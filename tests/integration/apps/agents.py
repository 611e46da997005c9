"""Registered agents, a blocking one and a coroutine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ctxqueue import AsyncContextAwareAgent, ContextAwareAgent
from tests.integration.apps.common import note, queue_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ctxqueue.integration.install import ContextQueue


def build(settings: Mapping[str, Any]) -> ContextQueue:
    """Return ctxqueue in the app."""
    ctx = queue_of("agents", settings)

    class Plain(ContextAwareAgent):
        def execute_task_with_context(self, task: str, context: dict[str, Any]) -> dict[str, Any]:
            workflow_id = context["workflow_id"]
            note(ctx.app, f"begun:{workflow_id}", task)
            revenue = self.wait_for_dependency(workflow_id, "revenue", timeout=60)["revenue"]
            self.subscribe_to_context_changes(workflow_id, "rates_*")
            return {"status": "success", "context_updates": {"plain_total": sum(revenue)}}

        def handle_context_change(self, workflow_id: str, updating_agent: str, key: str) -> None:
            note(ctx.app, f"told:{workflow_id}", [self.name, updating_agent, key])
            self.workflow(workflow_id).update({"told": [key]}, merge_strategy="append")

    class Awaited(AsyncContextAwareAgent):
        async def execute_task_with_context(self, task: str, context: dict[str, Any]) -> dict[str, Any]:
            workflow_id = context["workflow_id"]
            note(ctx.app, f"begun:{workflow_id}", task)
            revenue = (await self.wait_for_dependency(workflow_id, "revenue", timeout=60))["revenue"]
            await self.subscribe_to_context_changes(workflow_id, "rates_*")
            return {"status": "success", "context_updates": {"awaited_total": sum(revenue)}}

        async def handle_context_change(self, workflow_id: str, updating_agent: str, key: str) -> None:
            note(ctx.app, f"told:{workflow_id}", [self.name, updating_agent, key])
            await self.workflow(workflow_id).update({"told": [key]}, merge_strategy="append")

    ctx.register_agent(Plain("plain_1", "analyst", context_manager=ctx.manager), needs="start")
    ctx.register_agent(Awaited("awaited_1", context_manager=ctx.aio))
    return ctx
