"""``ctxqueue.cleanup_sweep``: expired entries go, overdue messages are sent on their way. Set going by beat."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import TYPE_CHECKING

from ctxqueue.integration.chords import renew_waiting
from ctxqueue.tasks.options import silent

if TYPE_CHECKING:
    from ctxqueue.integration.install import ContextQueue

NAME = "ctxqueue.cleanup_sweep"

ENTRIES_A_RUN = 10_000

logger = logging.getLogger(__name__)


def register(queue: ContextQueue) -> None:
    """Add the task to the queue's app."""

    @queue.app.task(name=NAME, base=queue.PlainTask, **silent(60, 90))
    def cleanup_sweep(limit: int = ENTRIES_A_RUN) -> None:
        report = queue.manager.cleanup_expired_contexts(limit=limit)
        chords = renew_waiting(queue.app)
        logger.debug("cleanup sweep: %d chords with parked members were renewed", chords)
        logger.info("cleanup sweep: %s", asdict(report))
