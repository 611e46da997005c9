"""The app's store for event loops: ``ctx.aio``."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from ctxqueue.aio import AsyncSharedContextManager, AsyncWorkflowHandle
from ctxqueue.drivers import AsyncDriver
from ctxqueue.integration.messages import publish
from ctxqueue.stores.base import open_async_store
from ctxqueue.stores.inprocess.aio import AsyncInprocessStore
from ctxqueue.stores.inprocess.store import InprocessStore

if TYPE_CHECKING:
    from collections.abc import Mapping

    from celery.result import AsyncResult

    from ctxqueue.integration.install import ContextQueue
    from ctxqueue.models import Agent


class AsyncContextQueue(AsyncSharedContextManager):
    """ctxqueue in one Celery app, for event loops: the manager's calls, awaited, and those that publish."""

    def __init__(self, queue: ContextQueue) -> None:
        manager = queue.manager
        namespace = manager.terms.namespace
        # Two stores of one Redis are one; two in memory would be two.
        store = manager.store
        same = AsyncInprocessStore(store) if isinstance(store, InprocessStore) else None
        super().__init__(same or open_async_store(queue.url, namespace), {"namespace": namespace})
        self.terms = manager.terms
        self.driver = AsyncDriver(self.store, partial(publish, queue.app))
        self._queue = queue

    def handle(self, workflow_id: str, agent: Agent) -> AsyncWorkflowHandle:
        """Return the hold of an agent that is known already."""
        return AsyncWorkflowHandle(self, workflow_id, agent)

    async def enqueue_update(
        self, workflow_id: str, agent_id: str, updates: Mapping[str, Any], **options: Any
    ) -> AsyncResult[dict[str, Any]]:
        """Let a worker do the update; see `ContextQueue.enqueue_update`. The loop goes on while it is published."""
        return await asyncio.to_thread(self._queue.enqueue_update, workflow_id, agent_id, updates, **options)
