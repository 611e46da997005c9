"""How a Celery task is carried out that stands in a function's place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ctxqueue.identity import current_attempt

if TYPE_CHECKING:
    from collections.abc import Mapping


def is_task(execute: Any) -> bool:
    """Whether what was given is a Celery task."""
    return hasattr(execute, "apply_async")


def executed(
    task: Any, agent_id: str, what: str, input_data: Mapping[str, Any], context: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Publish a task and wait for its result; in a worker, which must not wait for another one, run its body here."""
    arguments = (agent_id, what, dict(input_data), dict(context))
    result: Mapping[str, Any]
    if current_attempt.get() is not None or task.app.current_worker_task is not None:
        result = task(*arguments)
    else:
        result = task.apply_async(args=arguments).get()
    return result
