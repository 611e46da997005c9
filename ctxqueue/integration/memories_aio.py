"""The app's memories for event loops: ``ctx.aio.memory``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from ctxqueue.flows import remembering
from ctxqueue.integration import memory_requests as requests
from ctxqueue.memories.aio import AsyncVectorMemoryManager
from ctxqueue.memories.recalls import AsyncPendingRecall
from ctxqueue.remembered import told_of
from ctxqueue.tasks.memory_retention import NAME as RETENTION
from ctxqueue.threads import in_thread

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime, timedelta

    from celery.canvas import Signature
    from celery.result import AsyncResult

    from ctxqueue.aio import AsyncSharedContextManager
    from ctxqueue.integration.install import ContextQueue
    from ctxqueue.integration.memory_requests import Message
    from ctxqueue.models import Agent, ContextScope


class AsyncQueuedMemoryManager(AsyncVectorMemoryManager):
    """The memories of an app, for event loops; see `QueuedMemoryManager`."""

    def __init__(self, queue: ContextQueue, manager: AsyncSharedContextManager) -> None:
        """Share what is embedded and read with `ContextQueue.memory`; raises ConfigurationError."""
        blocking = queue.memory
        super().__init__(manager, retention={**blocking.retention})
        self.share(blocking)
        self.driver = manager.driver  # whoever observes the app observes its memories
        self.summariser: Any = blocking.summariser
        self._app = queue.app

    async def _published(self, message: Message) -> AsyncResult[dict[str, Any]]:
        arguments = await self.driver.arun(message.arguments)
        return await in_thread(requests.published, self._app, message.task, arguments, message.options)

    async def enqueue_remember(
        self,
        content: str,
        memory_type: str = "semantic",
        *,
        metadata: Mapping[str, Any] | None = None,
        agent_id: str | Agent | None = None,
        user_id: str | None = None,
        scope: str | ContextScope | None = None,
        at: datetime | str | None = None,
        session: str | int | None = None,
        sequence: float | None = None,
        speaker: str | None = None,
        importance: float = 0.5,
        pinned: bool = False,
        ttl: float | timedelta | None = None,
        **apply_async_options: Any,
    ) -> AsyncResult[dict[str, Any]]:
        """Publish without blocking the loop; see `QueuedMemoryManager.enqueue_remember`."""
        item: dict[str, Any] = {
            "content": content,
            "memory_type": memory_type,
            "metadata": metadata,
            "agent_id": agent_id,
        }
        item |= {"user_id": user_id, "scope": scope, "at": at, "session": session, "sequence": sequence}
        item |= {"speaker": speaker, "importance": importance, "pinned": pinned, "ttl": ttl}
        return await self.enqueue_remember_many([item], **apply_async_options)

    async def enqueue_remember_many(
        self, items: Iterable[str | Mapping[str, Any]], **apply_async_options: Any
    ) -> AsyncResult[dict[str, Any]]:
        """Publish without blocking the loop; see `QueuedMemoryManager.enqueue_remember_many`."""
        return await self._published(requests.to_embed(self, self._checked_items(items), apply_async_options))

    async def enqueue_recall(
        self,
        query: str,
        *,
        memory_types: Sequence[str] | None = None,
        limit: int = 5,
        agent_id: str | Agent | None = None,
        user_id: str | None = None,
        scope: str | ContextScope | None = None,
        where: Mapping[str, Any] | None = None,
        since: datetime | str | None = None,
        until: datetime | str | None = None,
        min_score: float | Literal["default"] | None = None,
        explain: bool = False,
        **apply_async_options: Any,
    ) -> AsyncPendingRecall:
        """Publish without blocking the loop; see `QueuedMemoryManager.enqueue_recall`."""
        requests.check_results(self._app)
        reader = self._reader(agent_id, user_id)
        wanted = self._request(
            *(query, memory_types, limit, reader, scope, where, since, until, min_score), explain=explain
        )
        result = await self._published(requests.to_recall(reader, wanted, apply_async_options))
        return AsyncPendingRecall(self.driver, result, reader, self.memory_terms.policy)

    async def enqueue_learning(
        self,
        workflow_id: str,
        agent_id: str | Agent,
        task: str,
        result: Mapping[str, Any],
        execution_time: float,
        **apply_async_options: Any,
    ) -> AsyncResult[dict[str, Any]]:
        """Publish without blocking the loop; see `QueuedMemoryManager.enqueue_learning`."""
        reader = self._reader(agent_id, None)  # raises for another one than the task's own
        message = requests.to_learn(workflow_id, reader, task, result, execution_time, apply_async_options)
        return await self._published(message)

    async def enqueue_consolidation(
        self, workflow_id: str, agent_id: str | Agent, *, memory_type: str = "episodic", **apply_async_options: Any
    ) -> AsyncResult[dict[str, Any]]:
        """Publish without blocking the loop; see `QueuedMemoryManager.enqueue_consolidation`."""
        agent = self.working(workflow_id, agent_id).agent  # raises for a name that is none
        return await self._published(
            requests.named(
                *(requests.CONSOLIDATE, workflow_id, agent.agent_id, memory_type, told_of(agent)),
                options=apply_async_options,
            )
        )

    async def enqueue_reembedding(self, **apply_async_options: Any) -> AsyncResult[dict[str, Any]]:
        """Publish without blocking the loop; see `QueuedMemoryManager.enqueue_reembedding`."""
        return await self._published(requests.named(requests.REEMBED, options=apply_async_options))

    async def enqueue_retention(
        self, *, limit: int = 100_000, dry_run: bool = False, **apply_async_options: Any
    ) -> AsyncResult[dict[str, Any]]:
        """Publish without blocking the loop; see `QueuedMemoryManager.enqueue_retention`."""
        options = {"ignore_result": False, **apply_async_options}
        return await self._published(requests.named(RETENTION, limit, dry_run, options=options))

    def remember_result(self, memory_type: str = "semantic", **options: Any) -> Signature[dict[str, Any]]:
        """Return a signature for chains and callbacks, without I/O; see `QueuedMemoryManager.remember_result`."""
        given = {"memory_type": memory_type, **options}
        item = self._may_store(remembering.checked_item({"content": "anything", **given}))
        return requests.remembering_signature(self._app, given, self._reader_of(item).agent)
