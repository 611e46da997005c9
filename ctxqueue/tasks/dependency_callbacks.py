"""``ctxqueue.dependency_callbacks``: publishes released tasks that a crash left in the outbox. Set going by beat."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ctxqueue.flows import sweeping

if TYPE_CHECKING:
    from ctxqueue.integration.install import ContextQueue

NAME = "ctxqueue.dependency_callbacks"

MESSAGES_A_RUN = 10_000

logger = logging.getLogger(__name__)


def register(queue: ContextQueue) -> None:
    """Add the task to the queue's app."""

    @queue.app.task(
        name=NAME,
        base=queue.PlainTask,
        shared=False,
        ignore_result=True,
        acks_late=True,
        reject_on_worker_lost=True,
        soft_time_limit=60,
        time_limit=90,
    )
    def dependency_callbacks(limit: int = MESSAGES_A_RUN) -> None:
        manager = queue.manager
        sent = manager.driver.run(sweeping.resend(manager.terms, limit))
        log = logger.info if sent else logger.debug
        log("dependency callbacks: %d messages sent again", sent)
