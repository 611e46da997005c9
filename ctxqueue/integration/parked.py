"""Tasks that wait, by the names that Celery knows them by; and one that is let go on without what it waited for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
from kombu.exceptions import KombuError

from ctxqueue.effects import Outgoing
from ctxqueue.errors import CtxqueueError
from ctxqueue.flows import parked as flows
from ctxqueue.integration.headers import RELEASED
from ctxqueue.integration.messages import packed, unpacked
from ctxqueue.models import Page, ParkedTask
from ctxqueue.settings import MAX_PAGE

if TYPE_CHECKING:
    from celery import Celery

    from ctxqueue.integration.install import ContextQueue


def parked(queue: ContextQueue, workflow_id: str, limit: int, cursor: str | None) -> Page[ParkedTask]:
    """Return tasks that wait, with their names and Celery's ids; raises WorkflowNotFound."""
    queue.manager.check_operator()
    page = queue.manager.driver.run(flows.parked(workflow_id, limit, cursor, messages=True))
    return Page(tuple(_named(queue.app, task, sent.message) for task, sent in page), page.next_cursor)


def _named(app: Celery, task: ParkedTask, message: bytes) -> ParkedTask:
    try:
        signature = unpacked(message, app)
    except (CtxqueueError, KombuError, msgspec.MsgspecError):  # of another app, whose content this one does not accept
        return task
    return replace(task, task=str(signature.get("task")), task_id=str(signature["options"].get("task_id")))


def release(queue: ContextQueue, workflow_id: str, run_id: str) -> bool:
    """Let a task go on as if what it waits for were there; False if it waits no more."""
    queue.manager.check_operator()
    driver, cursor = queue.manager.driver, None
    while True:
        page = driver.run(flows.parked(workflow_id, MAX_PAGE, cursor, messages=True))
        for task, sent in page:
            if task.run_id == run_id:
                passing = Outgoing(sent.item_id, _passing(queue.app, sent.message))
                return driver.run(flows.release(queue.manager.terms, workflow_id, run_id, passing))
        cursor = page.next_cursor
        if cursor is None:
            return False


def _passing(app: Celery, message: bytes) -> bytes:
    """Return the message with one more wait that ends though it lacks something."""
    signature: dict[str, Any] = unpacked(message, app)
    headers = signature["options"].setdefault("headers", {})
    headers[RELEASED] = (headers.get(RELEASED) or 0) + 1
    return packed(app, dict(signature), signature["options"].get("serializer") or app.conf.task_serializer)
