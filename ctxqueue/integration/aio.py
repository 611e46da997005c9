"""The app's store for event loops: ``ctx.aio``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

from ctxqueue.aio import AsyncSharedContextManager, AsyncWorkflowHandle
from ctxqueue.integration import enqueuing, observed
from ctxqueue.stores.base import open_async_store
from ctxqueue.stores.inprocess.aio import AsyncInprocessStore
from ctxqueue.stores.inprocess.store import InprocessStore
from ctxqueue.threads import in_thread

if TYPE_CHECKING:
    from collections.abc import Mapping

    from celery.result import AsyncResult

    from ctxqueue.integration.install import ContextQueue
    from ctxqueue.integration.memories_aio import AsyncQueuedMemoryManager
    from ctxqueue.models import Agent
    from ctxqueue.pending import AsyncPendingUpdate


class AsyncContextQueue(AsyncSharedContextManager):
    """ctxqueue in one Celery app, for event loops: the manager's calls, awaited, and those that publish."""

    def __init__(self, queue: ContextQueue) -> None:
        manager = queue.manager
        namespace = manager.terms.namespace
        # Two stores of one Redis are one; two in memory would be two.
        store = getattr(manager.store, "inner", manager.store)
        same = AsyncInprocessStore(store) if isinstance(store, InprocessStore) else None
        sealing = getattr(manager.store, "sealing", None)
        config = {"namespace": namespace, "keyring": sealing and sealing.keyring}
        super().__init__(same or open_async_store(queue.url, namespace), config)
        self.terms = manager.terms
        self.driver = observed.async_driver_of(queue, namespace, self.store)
        self._recorder = manager.recorder
        self._recorder.awaiting = self.driver
        self._queue = queue
        self._memory: AsyncQueuedMemoryManager | None = None

    @property
    def memory(self) -> AsyncQueuedMemoryManager:
        """The app's memories for event loops; what is embedded and read is shared with `ContextQueue.memory`."""
        if self._memory is None:
            from ctxqueue.integration.memories_aio import (  # noqa: PLC0415 - only who remembers needs it
                AsyncQueuedMemoryManager,
            )

            self._memory = AsyncQueuedMemoryManager(self._queue, self)
        return self._memory

    def handle(self, workflow_id: str, agent: Agent) -> AsyncWorkflowHandle:
        """Return the hold of an agent that is known already."""
        return AsyncWorkflowHandle(self, workflow_id, agent)

    async def cancel(self, task_id: str) -> bool:
        """Call off a task of an agent; see `ContextQueue.cancel`. Celery's part of it goes to a thread."""
        return await in_thread(self._queue.cancel, task_id)

    @overload
    async def enqueue_update(
        self,
        workflow_id: str,
        agent_id: str | Agent,
        updates: Mapping[str, Any],
        *,
        merge_strategy: str = "smart_merge",
        operation_id: str | None = None,
        coalesce: Literal[False] = False,
        as_task: bool = False,
        **apply_async_options: Any,
    ) -> AsyncResult[dict[str, Any]]: ...

    @overload
    async def enqueue_update(
        self,
        workflow_id: str,
        agent_id: str | Agent,
        updates: Mapping[str, Any],
        *,
        merge_strategy: str = "smart_merge",
        operation_id: str | None = None,
        coalesce: bool,
        as_task: Literal[True],
        **apply_async_options: Any,
    ) -> AsyncResult[dict[str, Any]]: ...

    @overload
    async def enqueue_update(
        self,
        workflow_id: str,
        agent_id: str | Agent,
        updates: Mapping[str, Any],
        *,
        merge_strategy: str = "smart_merge",
        operation_id: str | None = None,
        coalesce: Literal[True],
        as_task: Literal[False] = False,
        **apply_async_options: Any,
    ) -> AsyncPendingUpdate: ...

    async def enqueue_update(
        self,
        workflow_id: str,
        agent_id: str | Agent,
        updates: Mapping[str, Any],
        *,
        merge_strategy: str = "smart_merge",
        operation_id: str | None = None,
        coalesce: bool = False,
        as_task: bool = False,
        **apply_async_options: Any,
    ) -> AsyncResult[dict[str, Any]] | AsyncPendingUpdate:
        """Let a worker do the update; see `ContextQueue.enqueue_update`. The loop goes on while it is published."""
        update = enqueuing.prepared(
            *(self._queue, self.terms, workflow_id, agent_id, updates, merge_strategy, operation_id),
            coalesce=coalesce,
            as_task=as_task,
            options=apply_async_options,
        )
        return await enqueuing.aenqueue(self._queue, self.driver, update)
