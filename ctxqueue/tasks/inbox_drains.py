"""``ctxqueue.drain_inbox``: the updates that wait in one workflow's inbox, up to 100 a commit."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from ctxqueue.flows import draining
from ctxqueue.integration.enqueuing import DRAIN_INBOX
from ctxqueue.tasks.options import silent

if TYPE_CHECKING:
    from celery import Task

    from ctxqueue.integration.install import ContextQueue

NAME = DRAIN_INBOX

BATCHES_A_RUN = 100
"""Then it makes room for other tasks, and comes again."""

logger = logging.getLogger(__name__)


def register(queue: ContextQueue) -> None:
    """Add the task to the queue's app."""

    @queue.app.task(name=NAME, base=queue.PlainTask, bind=True, **silent(240, 300))
    def drain_inbox(self: Task[..., Any], workflow_id: str, batches: int = BATCHES_A_RUN) -> None:
        manager = queue.manager
        drained = manager.driver.run(draining.drain(manager.terms, workflow_id, batches))
        log = logger.warning if drained.abandoned else logger.debug
        log("drain of %r: %s", workflow_id, drained._asdict())
        if drained.more:
            came_by: Any = self.request.delivery_info
            self.apply_async((workflow_id, batches), **_way_of(came_by or {}))


def _way_of(delivery: dict[str, Any]) -> dict[str, Any]:
    """Return options by which a message goes the way that another one came."""
    kept = {name: delivery[name] for name in ("exchange", "routing_key", "priority") if delivery.get(name) is not None}
    if kept.get("exchange") == "" and kept.get("routing_key"):  # it was sent to the queue itself
        kept = {"queue": kept["routing_key"], **({"priority": kept["priority"]} if "priority" in kept else {})}
    return kept
