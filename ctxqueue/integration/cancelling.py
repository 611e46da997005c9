"""Cancelling a task: its result becomes REVOKED, and what depends on it ends as Celery lets it end."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from celery.backends.base import DisabledBackend
from celery.backends.rpc import RPCBackend
from celery.exceptions import TaskRevokedError
from celery.signals import task_revoked
from celery.states import PENDING, READY_STATES, REVOKED

from ctxqueue.errors import CtxqueueError
from ctxqueue.flows import attempts
from ctxqueue.integration import events, headers
from ctxqueue.integration.installed import installed
from ctxqueue.integration.names import RUN_ENDED
from ctxqueue.models import checked_name

if TYPE_CHECKING:
    from celery import Task

    from ctxqueue.integration.install import ContextQueue

logger = logging.getLogger(__name__)

REASON = "cancelled"


def cancel(queue: ContextQueue, task_id: str) -> bool:
    """Call a task off; False if it has ended."""
    checked_name(task_id, "task_id")
    if queue.app.conf.task_always_eager:  # then all have ended, and no backend knows of them
        return False
    manager, backend = queue.manager, queue.app.backend
    answer = manager.driver.run(attempts.cancel(manager.terms, task_id))
    if answer == "ended":
        return False
    if isinstance(backend, DisabledBackend):
        return True
    if answer == "unseen":
        state: str = queue.app.AsyncResult(task_id).state
        if state in READY_STATES and state != REVOKED:
            manager.driver.run(attempts.uncancel(manager.terms, task_id))
            return False
    # Its worker says the same, once it learns of it; until then this is what a caller sees.
    if not isinstance(backend, RPCBackend):  # there only a worker, which has the task's message, knows whom to tell
        backend.store_result(task_id, TaskRevokedError(REASON), REVOKED)
    return True


def is_known(queue: ContextQueue, task_id: str) -> bool:
    """Whether a worker has had a task of this id, as the store or the result backend has it."""
    manager = queue.manager
    if manager.driver.run(attempts.is_known(checked_name(task_id, "task_id"))):
        return True
    if isinstance(queue.app.backend, DisabledBackend | RPCBackend):
        return False
    return bool(queue.app.AsyncResult(task_id).state != PENDING)


def revoked(task: Task[..., Any]) -> None:
    """Let a cancelled task's result, chain, chord and monitors know."""
    request: Any = task.request
    ignored = vars(request).get("ignore_result")
    keep = not (task.ignore_result if ignored is None else ignored)
    task.backend.mark_as_failure(
        request.id, TaskRevokedError(REASON), request=request, store_result=keep, call_errbacks=False, state=REVOKED
    )
    for errback in request.errbacks or ():
        if errback.get("task") == RUN_ENDED:  # whatever sent it is told, else it would wait for its end
            task.app.signature(errback).apply_async()
    task_revoked.send(sender=task, request=request, terminated=False, signum=None, expired=False)
    events.revoked(task)


def connect_signal() -> None:
    """Start to remember what Celery revokes; calling it again changes nothing."""
    task_revoked.connect(_remember, weak=False, dispatch_uid="ctxqueue.revoked")


def _remember(sender: Any = None, request: Any = None, expired: bool = False, **_signal: object) -> None:  # noqa: FBT001, FBT002 - as Celery calls it
    """Call off what a worker was told to discard: it forgets that when it ends, and another may never have heard."""
    queue = installed(sender.app) if sender is not None and headers.is_claimed(sender.name) else None
    if queue is None or expired:
        return
    try:
        queue.manager.driver.run(attempts.cancel(queue.manager.terms, str(request.id)))
    except CtxqueueError as problem:
        logger.warning("that %s [%s] was revoked is not recorded: %s", sender.name, request.id, problem)
