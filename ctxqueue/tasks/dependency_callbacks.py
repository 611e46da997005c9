"""``ctxqueue.dependency_callbacks``: publishes released tasks that a crash left in the outbox. Set going by beat."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ctxqueue.flows import sweeping
from ctxqueue.tasks.options import silent

if TYPE_CHECKING:
    from ctxqueue.integration.install import ContextQueue

NAME = "ctxqueue.dependency_callbacks"

MESSAGES_A_RUN = 10_000

logger = logging.getLogger(__name__)


def register(queue: ContextQueue) -> None:
    """Add the task to the queue's app."""

    @queue.app.task(name=NAME, base=queue.PlainTask, **silent(60, 90))
    def dependency_callbacks(limit: int = MESSAGES_A_RUN) -> None:
        manager = queue.manager
        sent = manager.driver.run(sweeping.resend(manager.terms, limit))
        log = logger.info if sent else logger.debug
        log("dependency callbacks: %d messages sent again", sent)
