"""Bringing the operator what write guards did not let pass: by the log, by metrics, and by a task's events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery import current_task

from ctxqueue.flows import guarding
from ctxqueue.integration import events

if TYPE_CHECKING:
    from celery import Celery

    from ctxqueue.flows.guarding import Refusal


def tell(app: Celery, namespace: str, refusal: Refusal) -> None:
    """Tell of one; the same one may be told of twice, where a commit was tried again."""
    guarding.log(refusal)
    conf: Any = app.conf
    if conf.get("ctxqueue_metrics"):
        from ctxqueue.observability.metrics import count_refused_write  # noqa: PLC0415 - only who counts loads it

        count_refused_write(namespace, refusal.guard, refusal.kind)
    if current_task:
        events.refused(current_task, refusal)
