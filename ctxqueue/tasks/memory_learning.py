"""``ctxqueue.memory_learning``: how an execution went is stored, and the skill that it showed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ctxqueue.errors import EmbedderError, StoreUnavailable
from ctxqueue.integration import memory_answers as answers
from ctxqueue.integration import memory_requests as asked
from ctxqueue.tasks.options import again, with_result

if TYPE_CHECKING:
    from celery import Task

    from ctxqueue.integration.install import ContextQueue

NAME = asked.LEARN


def register(queue: ContextQueue) -> None:
    """Add the task to the queue's app."""

    def answered(self: Task[..., Any], *told: Any) -> None:
        answers.forget(queue, self, told)

    # Where it fails, what was asked stays, and is asked again by `ctxqueue.memory_retention` until it expires.
    @queue.app.task(name=NAME, base=queue.PlainTask, on_success=answered, **with_result(300, 330))
    def memory_learning(self: Task[..., Any], request_id: str) -> dict[str, Any]:
        memory = queue.memory
        try:
            with answers.one_thread():
                return answers.learned(memory, answers.request_of(self, memory, request_id), request_id)
        except (StoreUnavailable, EmbedderError) as error:
            again(self, error)
