"""``ctxqueue.memory_retention``: memories that are too old or too many go, archived before. Set going by beat."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from ctxqueue.integration.memory_answers import ask_again
from ctxqueue.tasks.options import silent

if TYPE_CHECKING:
    from ctxqueue.integration.install import ContextQueue

NAME = "ctxqueue.memory_retention"

ROWS_A_RUN = 100_000
INDEXED_A_RUN = 20_000
"""Rows that pgvector's index is given; it takes a millisecond or more for each."""

logger = logging.getLogger(__name__)


def register(queue: ContextQueue) -> None:
    """Add the task to the queue's app."""

    @queue.app.task(name=NAME, base=queue.PlainTask, **silent(600, 660))
    def memory_retention(limit: int = ROWS_A_RUN, dry_run: bool = False) -> dict[str, Any]:  # noqa: FBT001, FBT002 - by message
        archive = queue.app.conf.get("ctxqueue_memory_archive")
        report = queue.memory.apply_retention(limit=limit, dry_run=dry_run, archive=archive)
        indexed = 0 if dry_run else queue.memory.refresh_index(limit=INDEXED_A_RUN)
        removed = {kind: dict(counts) for kind, counts in report.removed.items()}
        log = logger.info if report.total else logger.debug
        log("memory retention: %s", removed)
        if indexed:
            logger.info("%d memories were entered in the index of vectors", indexed)
        if not dry_run and (sent := ask_again(queue)):
            logger.info("what %d executions taught is asked for again", sent)
        return {"removed": removed, "complete": report.complete, "dry_run": dry_run}
