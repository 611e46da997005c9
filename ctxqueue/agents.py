"""Agents by the reference's names: they act on what their workflow knows, are told of changes, and wait for keys.

In any process they act where they are called, and a wait blocks. `ContextQueue.register_agent` makes Celery tasks of
one: then waits park the task, and what it is told of is a task of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from ctxqueue.errors import InvalidInput
from ctxqueue.handles import agent_of, named, whom

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ctxqueue.aio import AsyncSharedContextManager, AsyncWorkflowHandle
    from ctxqueue.callbacks import LocalSubscription
    from ctxqueue.callbacks_aio import AsyncLocalSubscription
    from ctxqueue.context import SharedContextManager, WorkflowHandle
    from ctxqueue.models import Agent
    from ctxqueue.subscriptions import AsyncSubscription, Subscription
    from ctxqueue.views import AgentContext

logger = logging.getLogger(__name__)

UPDATES = "context_updates"
"""In what an agent returns: what is to be merged into the workflow."""


class Host(Protocol):
    """The task that an agent runs in."""

    def wait_for(self, workflow_id: str, key: str, timeout: float) -> Any:
        """Park until the key is there; for a coroutine, what is to be awaited."""
        ...


class _ContextAware:
    """Who it is, and where it runs."""

    host: Host | None = None
    """The task that it runs in."""
    told_by: Any = None
    """The signature of the task that is told of changes, once the agent is registered."""

    def __init__(self, name: str, role: str | None, agent_type: str | None, groups: Sequence[str]) -> None:
        self.agent: Agent = agent_of(named(name), agent_type, role, groups)
        self.context_subscriptions: list[tuple[str, tuple[str, ...]]] = []
        """Workflow and keys of each subscription that this object has made."""

    @property
    def name(self) -> str:
        """Its id; the type follows from it, unless another one was named."""
        return self.agent.agent_id

    @property
    def role(self) -> str | None:
        """Its role."""
        return self.agent.agent_role

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    def _called_back(self, callback: Any, signature: Any, *, selective: bool) -> Any:
        """Return what is to be told of changes: a signature, or the agent itself in this process."""
        chosen = signature if signature is not None else self.told_by
        if chosen is None and selective:
            raise InvalidInput(
                f"debounce and when go with a signature: give one, or register {self.name} by ctx.register_agent"
            )
        return callback if chosen is None else chosen

    def _updates(self, result: Any) -> Mapping[str, Any]:
        if not isinstance(result, Mapping):
            raise InvalidInput(
                f"execute_task_with_context of {self.name} returned a {type(result).__name__}: return a dict, with"
                f" {UPDATES!r} for what is to be merged into the workflow"
            )
        updates = result.get(UPDATES) or {}
        if not isinstance(updates, Mapping):
            raise InvalidInput(
                f"{UPDATES} of {self.name} is a {type(updates).__name__}: give a dict of keys and values"
            )
        return updates


class ContextAwareAgent(_ContextAware):
    """An agent: override `execute_task_with_context`, and `handle_context_change` to act on what others change."""

    def __init__(
        self,
        name: str,
        role: str | None = None,
        *,
        context_manager: SharedContextManager,
        agent_type: str | None = None,
        groups: Sequence[str] = (),
    ) -> None:
        """``name`` is its agent id; what it may see goes by its type, role and groups. Raises InvalidName."""
        super().__init__(name, role, agent_type, groups)
        self.context_manager = context_manager

    def workflow(self, workflow_id: str) -> WorkflowHandle:
        """Return this agent's hold on a workflow, without I/O."""
        return self.context_manager.workflow(workflow_id, **whom(self.agent))

    def execute_with_context(
        self, task: str, workflow_id: str, initial_context: Mapping[str, Any] | None = None
    ) -> Mapping[str, Any]:
        """Carry a task out with what the agent may see, and merge its ``context_updates`` into the workflow.

        ``initial_context`` is laid over the context data for this execution, and not stored. Raises WorkflowNotFound,
        InvalidInput if what `execute_task_with_context` returns is no dict, what that raises, and what an update does.
        """
        context = self.workflow(workflow_id).view().as_dict()
        context["context_data"].update(initial_context or {})
        result: Mapping[str, Any] = self.execute_task_with_context(task, context)
        if updates := self._updates(result):
            self.workflow(workflow_id).update(updates)
        return result

    def execute_task_with_context(self, task: str, context: dict[str, Any]) -> dict[str, Any]:
        """Do the work: return a dict, with ``context_updates`` for what is to be merged into the workflow.

        ``context`` is `SharedContextManager.get_context_for_agent`'s.
        """
        raise NotImplementedError(f"{type(self).__name__} must have execute_task_with_context")

    def subscribe_to_context_changes(
        self,
        workflow_id: str,
        keys: str | Iterable[str],
        *,
        signature: Any = None,
        debounce: float = 0.0,
        when: Any = None,
    ) -> Subscription | LocalSubscription:
        """Be told of what others change: `handle_context_change` is called for each key.

        A registered agent is told by a task, durably; one that is not, in a thread of this process. ``signature`` is
        sent in place of both; ``debounce`` and ``when`` are `WorkflowHandle.subscribe`'s, and go with a signature or a
        registered agent. Raises what that does.
        """
        patterns = (keys,) if isinstance(keys, str) else tuple(keys)
        selective = bool(debounce) or when is not None
        target = self._called_back(self.handle_context_change, signature, selective=selective)
        subscription = self.workflow(workflow_id).subscribe(patterns, target, debounce=debounce, when=when)
        self.context_subscriptions.append((workflow_id, patterns))
        return subscription

    def handle_context_change(self, workflow_id: str, updating_agent: str, key: str) -> None:
        """Act on what another agent has changed; by default it is logged."""
        logger.info("%s: %s of workflow %s was changed by %s", self.name, key, workflow_id, updating_agent)

    def wait_for_dependency(self, workflow_id: str, dependency_key: str, timeout: float = 30.0) -> AgentContext:
        """Return the view once a key is there. In a task of a registered agent the task is parked, and begins anew.

        Raises DependencyTimeout, AccessDenied for a key that it may not read, WorkflowNotFound, WorkflowClosed.
        """
        if self.host is not None:
            view: AgentContext = self.host.wait_for(workflow_id, dependency_key, timeout)
            return view
        return self.workflow(workflow_id).wait_for(dependency_key, timeout=timeout)


class AsyncContextAwareAgent(_ContextAware):
    """The same for event loops, on a manager of `aconnect`."""

    def __init__(
        self,
        name: str,
        role: str | None = None,
        *,
        context_manager: AsyncSharedContextManager,
        agent_type: str | None = None,
        groups: Sequence[str] = (),
    ) -> None:
        """``name`` is its agent id; what it may see goes by its type, role and groups. Raises InvalidName."""
        super().__init__(name, role, agent_type, groups)
        self.context_manager = context_manager

    def workflow(self, workflow_id: str) -> AsyncWorkflowHandle:
        """Return this agent's hold on a workflow, without I/O."""
        return self.context_manager.workflow(workflow_id, **whom(self.agent))

    async def execute_with_context(
        self, task: str, workflow_id: str, initial_context: Mapping[str, Any] | None = None
    ) -> Mapping[str, Any]:
        """Carry a task out with what the agent may see; as `ContextAwareAgent.execute_with_context`."""
        context = (await self.workflow(workflow_id).view()).as_dict()
        context["context_data"].update(initial_context or {})
        result: Mapping[str, Any] = await self.execute_task_with_context(task, context)
        if updates := self._updates(result):
            await self.workflow(workflow_id).update(updates)
        return result

    async def execute_task_with_context(self, task: str, context: dict[str, Any]) -> dict[str, Any]:
        """Do the work; as `ContextAwareAgent.execute_task_with_context`."""
        raise NotImplementedError(f"{type(self).__name__} must have execute_task_with_context")

    async def subscribe_to_context_changes(
        self,
        workflow_id: str,
        keys: str | Iterable[str],
        *,
        signature: Any = None,
        debounce: float = 0.0,
        when: Any = None,
    ) -> AsyncSubscription | AsyncLocalSubscription:
        """Be told of what others change: `handle_context_change` is awaited for each key, in this loop or in a task."""
        patterns = (keys,) if isinstance(keys, str) else tuple(keys)
        selective = bool(debounce) or when is not None
        target = self._called_back(self.handle_context_change, signature, selective=selective)
        subscription = await self.workflow(workflow_id).subscribe(patterns, target, debounce=debounce, when=when)
        self.context_subscriptions.append((workflow_id, patterns))
        return subscription

    async def handle_context_change(self, workflow_id: str, updating_agent: str, key: str) -> None:
        """Act on what another agent has changed; by default it is logged."""
        logger.info("%s: %s of workflow %s was changed by %s", self.name, key, workflow_id, updating_agent)

    async def wait_for_dependency(
        self,
        workflow_id: str,
        dependency_key: str,
        timeout: float = 30.0,  # noqa: ASYNC109 - the reference's parameter
    ) -> AgentContext:
        """Return the view once a key is there; as `ContextAwareAgent.wait_for_dependency`."""
        if self.host is not None:
            view: AgentContext = await self.host.wait_for(workflow_id, dependency_key, timeout)
            return view
        return await self.workflow(workflow_id).wait_for(dependency_key, timeout=timeout)
