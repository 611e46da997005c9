"""``ctxqueue.cleanup_sweep``: expired entries go, overdue messages are sent on their way. Set going by beat."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import TYPE_CHECKING

from ctxqueue.integration.chords import renew_waiting

if TYPE_CHECKING:
    from ctxqueue.integration.install import ContextQueue

NAME = "ctxqueue.cleanup_sweep"

ENTRIES_A_RUN = 10_000

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
    def cleanup_sweep(limit: int = ENTRIES_A_RUN) -> None:
        report = queue.manager.cleanup_expired_contexts(limit=limit)
        chords = renew_waiting(queue.app)
        logger.debug("cleanup sweep: %d chords with parked members are kept", chords)
        log = logger.info if report.scanned else logger.debug
        log("cleanup sweep: %s", asdict(report))
