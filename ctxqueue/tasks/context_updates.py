"""``ctxqueue.context_update``: an update done by a worker, with its result."""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any

from celery.utils.time import get_exponential_backoff_interval

from ctxqueue import codec
from ctxqueue.errors import StoreUnavailable
from ctxqueue.flows import updating
from ctxqueue.models import Agent, Put, checked_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from celery import Task
    from celery.result import AsyncResult

    from ctxqueue.integration.install import ContextQueue

NAME = "ctxqueue.context_update"

LONGEST_PAUSE = 600
"""Seconds between two tries while the store is away."""

OPTIONS = tuple(name for name in Put.__struct_fields__ if name != "value")


def register(queue: ContextQueue) -> None:
    """Add the task to the queue's app."""

    @queue.app.task(
        name=NAME,
        base=queue.PlainTask,
        bind=True,
        shared=False,
        acks_late=True,
        reject_on_worker_lost=True,
        ignore_result=False,
        soft_time_limit=60,
        time_limit=90,
        max_retries=10,
    )
    def context_update(
        self: Task[..., Any],
        workflow_id: str,
        agent_id: str,
        payload: str,
        merge_strategy: str,
        operation_id: str | None = None,
    ) -> dict[str, Any]:
        # One message is one operation, however often it is delivered or retried.
        operation = operation_id
        if operation is None:
            operation = f"update:{self.request.get('ctxqueue_run') or self.request.id}"
        handle = queue.workflow(workflow_id, agent_id=agent_id)
        try:
            result = handle.update(unpacked(payload), merge_strategy=merge_strategy, operation_id=operation)
        except StoreUnavailable as error:
            # Celery would show the payload in the next message.
            shown = {name: self.request.get(name) for name in ("argsrepr", "kwargsrepr")}
            pause = get_exponential_backoff_interval(1, self.request.retries, LONGEST_PAUSE, full_jitter=True)
            raise self.retry(exc=error, countdown=pause, **shown) from error
        return {"revision": result.revision, "versions": dict(result.versions), "replayed": result.replayed}


def enqueue(
    queue: ContextQueue,
    workflow_id: str,
    agent_id: str,
    updates: Mapping[str, Any],
    merge_strategy: str,
    operation_id: str | None,
    options: dict[str, Any],
) -> AsyncResult[dict[str, Any]]:
    """Publish one update; raises InvalidInput for what the worker would refuse whatever stands there."""
    checked_name(workflow_id, "workflow_id")
    # The update itself, as far as its first effect: what it refuses until then it refuses whatever stands there.
    flow = updating.update(
        queue.manager.terms, workflow_id, Agent(agent_id), updates, merge_strategy, operation_id or "checked"
    )
    next(flow)
    flow.close()
    # Values are nobody's business who watches messages go by.
    shown = f"({workflow_id!r}, {agent_id!r}, <{len(updates)} keys>)"
    task: Task[..., Any] = queue.app.tasks[NAME]
    return task.apply_async(
        (workflow_id, agent_id, packed(updates), merge_strategy, operation_id),
        **{"argsrepr": shown, "kwargsrepr": "{}", **options},
    )


def packed(updates: Mapping[str, Any]) -> str:
    """Return updates as text that every message serialiser takes."""
    plain = {key: _packed_put(value) if isinstance(value, Put) else [value] for key, value in updates.items()}
    return b64encode(codec.pack(plain)).decode()


def _packed_put(put: Put) -> list[Any]:
    given = {name: getattr(put, name) for name in OPTIONS if getattr(put, name) is not None}
    if "ttl" in given and not isinstance(given["ttl"], int | float):
        given["ttl"] = given["ttl"].total_seconds()
    return [put.value, given]


def unpacked(payload: str) -> dict[str, Any]:
    """Undo `packed`."""
    plain = codec.unpack(b64decode(payload))
    return {key: Put(parts[0], **parts[1]) if len(parts) > 1 else parts[0] for key, parts in plain.items()}
