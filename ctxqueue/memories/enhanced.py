"""The reference document's manager with memory, and its unified system: blocking."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ctxqueue import rendering
from ctxqueue.context import SharedContextManager
from ctxqueue.errors import CtxqueueError, WorkflowNotFound
from ctxqueue.handles import whom
from ctxqueue.memories import executing, insights

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ctxqueue.memories.manager import VectorMemoryManager
    from ctxqueue.models import Agent
    from ctxqueue.storages import ContextStorage
    from ctxqueue.stores.base import Store


class MemoryEnhancedContextManager(SharedContextManager):
    """A context manager whose contexts carry what is remembered, and which learns of executions."""

    def __init__(
        self,
        storage: str | Store | ContextStorage | SharedContextManager,
        memory_manager: VectorMemoryManager,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        """Take a URL, a storage, a store, or a manager whose store, settings and filters are shared."""
        if isinstance(storage, SharedContextManager):
            super().__init__(storage.store, config or {"namespace": storage.terms.namespace})
            self.terms, self.driver = storage.terms, storage.driver
        else:
            super().__init__(storage, config)
        self.memory_manager = memory_manager

    def get_context_with_memory(
        self, workflow_id: str, agent_id: str | Agent, current_task: str, agent_role: str | None = None
    ) -> dict[str, Any]:
        """Return the agent's context with ``memory_insights``, at most three, and ``has_relevant_experience``.

        Memories are those that the agent may see and that are like the task at all. Of a workflow that is not there
        the context is empty.
        """
        handle = self.workflow(workflow_id, **whom(agent_id, agent_role))
        agent = handle.agent
        try:
            context = handle.view().as_dict()
        except WorkflowNotFound:
            context = insights.nothing_known(workflow_id, agent.agent_id)
        memory = self.memory_manager
        found = memory.driver.run(memory._insights(agent, current_task, rendering.INSIGHTS))  # noqa: SLF001 - its own kind
        return insights.with_insights(context, found)

    def learn_from_execution(
        self,
        workflow_id: str,
        agent_id: str | Agent,
        task: str,
        result: Mapping[str, Any],
        execution_time: float,
        *,
        operation_id: str | None = None,
    ) -> list[str]:
        """Store how an execution went, and the skill that it showed; return the ids of both.

        See `VectorMemoryManager.learn_from_execution`.
        """
        return self.memory_manager.learn_from_execution(
            workflow_id, agent_id, task, result, execution_time, operation_id=operation_id
        )


class UnifiedContextMemorySystem:
    """Runs an agent's task with what is remembered, learns of it, and commits its result."""

    def __init__(
        self,
        manager: SharedContextManager,
        memory: VectorMemoryManager,
        *,
        execute: Callable[[str, str, Mapping[str, Any], Mapping[str, Any]], Mapping[str, Any]],
        learning_enabled: bool = True,
    ) -> None:
        """Take ``execute(agent_id, task, input_data, context) -> result``: a function, or a Celery task.

        A Celery task is published with these arguments, and its result waited for; inside a task, where workers must
        not wait for each other, its body runs here.
        """
        self.context_manager = (
            manager
            if isinstance(manager, MemoryEnhancedContextManager)
            else MemoryEnhancedContextManager(manager, memory)
        )
        self.memory_manager = memory
        self.learning_enabled = learning_enabled
        self._execute = execute

    def process_with_memory_learning(
        self,
        workflow_id: str,
        agent_id: str | Agent,
        task: str,
        input_data: Mapping[str, Any],
        *,
        operation_id: str | None = None,
    ) -> Mapping[str, Any]:
        """Get the context with memories, run the task, learn of it, and commit ``latest_result``; return the result.

        A task that raises is learned of as failed, and its error goes on. An execution that is told again, under the
        same ``operation_id`` or by a task that runs again, counts once, as it was first told. Raises WorkflowNotFound
        before it runs.
        """
        manager = self.context_manager
        handle = manager.workflow(workflow_id, **whom(agent_id))
        _ = handle.etag  # raises, before the task runs, if its result could not be kept
        context = manager.get_context_with_memory(workflow_id, agent_id, task)
        begun = time.monotonic()
        try:
            with handle:
                result = self._executed(handle.agent.agent_id, task, input_data, context)
            insights.lesson_of(result)
        except Exception as error:
            # Its kind alone: what an error says may hold what it was about, and everybody may recall it.
            failed = {"status": "error", "error": type(error).__name__}
            try:
                self._learn(workflow_id, agent_id, task, failed, time.monotonic() - begun, operation_id)
            except CtxqueueError as unlearned:  # the task's own error is what its caller goes by
                error.add_note(f"and it was not learned of: {unlearned}")
            raise
        try:
            seconds = insights.seconds_of(result, time.monotonic() - begun)
            self._learn(workflow_id, agent_id, task, result, seconds, operation_id)
        finally:  # what was worked out is kept, also where it cannot be learned of
            manager.update_context(workflow_id, agent_id, {"latest_result": dict(result)}, "replace")
        return result

    def _executed(
        self, agent_id: str, task: str, input_data: Mapping[str, Any], context: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        if executing.is_task(self._execute):
            return executing.executed(self._execute, agent_id, task, input_data, context)
        return self._execute(agent_id, task, input_data, context)

    def _learn(
        self,
        workflow_id: str,
        agent_id: str | Agent,
        task: str,
        result: Mapping[str, Any],
        execution_time: float,
        operation_id: str | None,
    ) -> None:
        if self.learning_enabled:
            self.context_manager.learn_from_execution(
                workflow_id, agent_id, task, result, execution_time, operation_id=operation_id
            )
