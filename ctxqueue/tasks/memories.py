"""``ctxqueue.embed``, ``.remember``, ``.recall``, ``.consolidate``, ``.reembed``: memory done where the model is.

Messages and results only name memories and what was asked for: texts and queries are in the store, where those read
them who may. The model and numpy are loaded once a process, with its first task of these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery.exceptions import SoftTimeLimitExceeded

from ctxqueue.errors import EmbedderError, StoreUnavailable
from ctxqueue.flows import embedding
from ctxqueue.integration import memory_answers as answers
from ctxqueue.integration import memory_requests as asked
from ctxqueue.remembered import agent_told
from ctxqueue.tasks.options import again, with_result

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from celery import Task

    from ctxqueue.integration.install import ContextQueue

PASSING = (StoreUnavailable, EmbedderError)
"""After these it is worth trying again."""


def register(queue: ContextQueue) -> None:
    """Add the tasks to the queue's app."""
    _register_storing(queue)
    _register_asking(queue)


def _register_storing(queue: ContextQueue) -> None:
    @queue.app.task(name=asked.EMBED, base=queue.PlainTask, **with_result(300, 330))
    def embed(self: Task[..., Any], memory_ids: Sequence[str]) -> dict[str, Any]:
        """Make vectors for memories that were stored without."""
        memory = queue.memory
        try:
            with answers.one_thread():
                embedded = memory.driver.run(embedding.embed(memory.memory_terms, memory_ids))
        except PASSING as error:
            again(self, error)
        return {"memory_ids": list(memory_ids), "embedded": embedded}

    @queue.app.task(name=asked.REMEMBER, base=queue.PlainTask, **with_result(300, 330))
    def remember(
        self: Task[..., Any], value: Any, options: Mapping[str, Any], agent: Sequence[Any] | None = None
    ) -> dict[str, Any]:
        """Remember what the task before has returned: texts, or mappings of `remember`'s arguments."""
        items = [
            answers.with_options(each, options) for each in (value if isinstance(value, list | tuple) else [value])
        ]
        try:
            with answers.one_thread(), answers.acting_as(agent):
                ids = queue.memory.remember_many(items)
        except PASSING as error:
            again(self, error)
        return {"memory_ids": ids}

    @queue.app.task(name=asked.CONSOLIDATE, base=queue.PlainTask, **with_result(300, 330))
    def consolidate(
        self: Task[..., Any], workflow_id: str, agent_id: str, memory_type: str, agent: Sequence[Any] | None = None
    ) -> dict[str, Any]:
        """Turn what is worth keeping of a working memory into long-term memories, as the agent that was told."""
        memory = queue.memory
        try:
            with answers.one_thread():
                who = agent_id if agent is None else agent_told(agent)
                ids = memory.consolidate(workflow_id, who, memory.summariser, memory_type=memory_type)
        except PASSING as error:
            again(self, error)
        return {"memory_ids": ids}

    @queue.app.task(name=asked.REEMBED, base=queue.PlainTask, **{**with_result(3_000, 3_060), "max_retries": None})
    def reembed(self: Task[..., Any]) -> dict[str, Any]:
        """Move all memories to the model that the app's settings name; after fifty minutes, in another run."""
        memory = queue.memory
        try:
            with answers.one_thread():
                return {"moved": memory.reembed(memory.embedder)}
        except PASSING as error:
            again(self, error)
        except SoftTimeLimitExceeded as error:
            raise self.retry(exc=error, countdown=0) from error


def _register_asking(queue: ContextQueue) -> None:
    def answered(self: Task[..., Any], *told: Any) -> None:
        answers.forget(queue, self, told)

    options: dict[str, Any] = {**with_result(60, 90), "on_success": answered, "on_failure": answered}

    @queue.app.task(name=asked.RECALL, base=queue.PlainTask, **options)
    def recall(self: Task[..., Any], request_id: str) -> dict[str, Any]:
        """Answer a recall that was asked for: ids, scores and what those are made of."""
        try:
            with answers.one_thread():
                return answers.recalled(queue.memory, answers.request_of(self, queue.memory, request_id), request_id)
        except PASSING as error:
            again(self, error)
