"""Agents as Celery tasks: one that carries a task out in its workflow, one that is told of what others change."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ctxqueue.agents import UPDATES, AsyncContextAwareAgent, ContextAwareAgent
from ctxqueue.errors import InvalidInput
from ctxqueue.handles import whom
from ctxqueue.rules.conditions import in_workflow

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ctxqueue.integration.install import ContextQueue
    from ctxqueue.integration.task import ContextTask


@dataclass(frozen=True)
class RegisteredAgent:
    """The tasks of an agent. Publish them inside ``with workflow:``."""

    execute: Any
    """``execute(task, initial_context=None)``: `execute_with_context` in the message's workflow."""
    handle_change: Any
    """What its subscriptions send."""


@dataclass(frozen=True)
class _Parking:
    """A task, as the agent that runs in it sees it."""

    task: ContextTask
    workflow_id: str

    def wait_for(self, workflow_id: str, key: str, timeout: float) -> Any:
        """Park until the key is there."""
        here = workflow_id == self.workflow_id
        return self.task.wait_for(key if here else in_workflow(workflow_id, key), timeout=timeout)


def register(
    queue: ContextQueue, agent: ContextAwareAgent | AsyncContextAwareAgent, options: dict[str, Any]
) -> RegisteredAgent:
    """Make an agent's tasks; see `ContextQueue.register_agent`."""
    if isinstance(agent, AsyncContextAwareAgent):
        execute, handle_change = _awaited(queue, agent)
    elif isinstance(agent, ContextAwareAgent):
        execute, handle_change = _blocking(queue, agent)
    else:
        raise InvalidInput(f"{agent!r:.60} is no agent: give a ContextAwareAgent or an AsyncContextAwareAgent")
    identity: dict[str, Any] = dict(whom(agent.agent))
    prefix = f"agents.{agent.name}"
    tasks = RegisteredAgent(
        queue.task(**identity, **{"name": f"{prefix}.execute", **options})(execute),
        queue.task(**identity, name=f"{prefix}.handle_change")(handle_change),
    )
    agent.told_by = tasks.handle_change.s()
    return tasks


def _without_updates(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return what goes to the result backend: what stands in the context stays there."""
    return {name: value for name, value in result.items() if name != UPDATES}


def _blocking(queue: ContextQueue, agent: ContextAwareAgent) -> tuple[Callable[..., Any], Callable[..., Any]]:
    def here(task: Any) -> tuple[ContextAwareAgent, str]:
        workflow_id = task.context.workflow_id
        hosted = copy.copy(agent)  # each run its own; messages may be carried out side by side
        hosted.context_manager, hosted.host = queue.manager, _Parking(task, workflow_id)
        hosted.context_subscriptions = []
        return hosted, workflow_id

    def execute(self: Any, task: str, initial_context: Mapping[str, Any] | None = None) -> dict[str, Any]:
        hosted, workflow_id = here(self)
        return _without_updates(hosted.execute_with_context(task, workflow_id, initial_context))

    def handle_change(self: Any) -> None:
        hosted, workflow_id = here(self)
        for key in self.cause["keys"]:
            hosted.handle_context_change(workflow_id, self.cause["agent"], key)

    return execute, handle_change


def _awaited(queue: ContextQueue, agent: AsyncContextAwareAgent) -> tuple[Callable[..., Any], Callable[..., Any]]:
    def here(task: Any) -> tuple[AsyncContextAwareAgent, str]:
        workflow_id = task.acontext.workflow_id
        hosted = copy.copy(agent)
        hosted.context_manager, hosted.host = queue.aio, _Parking(task, workflow_id)
        hosted.context_subscriptions = []
        return hosted, workflow_id

    async def execute(self: Any, task: str, initial_context: Mapping[str, Any] | None = None) -> dict[str, Any]:
        hosted, workflow_id = here(self)
        return _without_updates(await hosted.execute_with_context(task, workflow_id, initial_context))

    async def handle_change(self: Any) -> None:
        hosted, workflow_id = here(self)
        for key in self.cause["keys"]:
            await hosted.handle_context_change(workflow_id, self.cause["agent"], key)

    return execute, handle_change
