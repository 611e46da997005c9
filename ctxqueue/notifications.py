"""The reference's names for being told of changes: who subscribes in whose name, and what it was told of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ctxqueue.handles import named, whom

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ctxqueue.aio import AsyncSharedContextManager
    from ctxqueue.callbacks import LocalSubscription
    from ctxqueue.callbacks_aio import AsyncLocalSubscription
    from ctxqueue.context import SharedContextManager
    from ctxqueue.models import Agent, Notification
    from ctxqueue.subscriptions import AsyncSubscription, Subscription


class ContextNotificationManager:
    """What `SharedContextManager.notification_manager` is: subscriptions, by agent and workflow."""

    def __init__(self, manager: SharedContextManager) -> None:
        self._manager = manager

    def subscribe_to_context_changes(
        self, workflow_id: str, agent_id: str | Agent, keys: str | Iterable[str], callback: Any
    ) -> Subscription | LocalSubscription:
        """Tell an agent of what others change; as `WorkflowHandle.subscribe`.

        A signature is kept in the store and sent by whoever changes something. A function is called in this process,
        in a thread of its own, as ``callback(workflow_id, updating_agent_id, key)``.
        """
        return self._manager.workflow(workflow_id, **whom(agent_id)).subscribe(keys, callback)

    def notify_context_update(self, workflow_id: str, updating_agent_id: str, updated_keys: Iterable[str]) -> int:
        """Call the functions of this process that wait for such keys, though nothing has changed; return how many.

        What changes in the store is told of without it.
        """
        return self._manager.callbacks.announce(workflow_id, named(updating_agent_id), list(updated_keys))

    def notification_history(self, workflow_id: str, agent_id: str | Agent) -> list[Notification]:
        """Return what an agent was told of, the newest first: the last hundred."""
        handle = self._manager.workflow(workflow_id, **whom(agent_id))
        return self._manager.callbacks.with_own(handle, handle.notifications())


class AsyncContextNotificationManager:
    """The same for event loops."""

    def __init__(self, manager: AsyncSharedContextManager) -> None:
        self._manager = manager

    async def subscribe_to_context_changes(
        self, workflow_id: str, agent_id: str | Agent, keys: str | Iterable[str], callback: Any
    ) -> AsyncSubscription | AsyncLocalSubscription:
        """Tell an agent of what others change; a function may be a coroutine function, and runs in this loop."""
        return await self._manager.workflow(workflow_id, **whom(agent_id)).subscribe(keys, callback)

    async def notify_context_update(self, workflow_id: str, updating_agent_id: str, updated_keys: Iterable[str]) -> int:
        """Call the functions of this process that wait for such keys, though nothing has changed; return how many."""
        return await self._manager.callbacks.announce(workflow_id, named(updating_agent_id), list(updated_keys))

    async def notification_history(self, workflow_id: str, agent_id: str | Agent) -> list[Notification]:
        """Return what an agent was told of, the newest first: the last hundred."""
        handle = self._manager.workflow(workflow_id, **whom(agent_id))
        return self._manager.callbacks.with_own(handle, await handle.notifications())
