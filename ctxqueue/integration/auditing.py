"""What an app adds to the audit log: from which task and trace something came, and which policy its workers go by."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

from celery import bootsteps
from celery._state import get_current_task

from ctxqueue.errors import CtxqueueError
from ctxqueue.flows.auditing import note_policy
from ctxqueue.integration.installed import installed

if TYPE_CHECKING:
    from celery.worker import WorkController

WORKER_STEP = "ctxqueue.integration.auditing:NotedPolicy"
"""By its path: only a worker loads it."""

logger = logging.getLogger(__name__)


def whence() -> tuple[str, str]:
    """Return the ids of the task that runs here, and of the trace that it runs in; empty where there is none."""
    task = get_current_task()
    task_id = str(task.request.id or "") if task is not None else ""
    tracing = sys.modules.get("opentelemetry.trace")  # nobody who traces has yet to load it
    if tracing is None:
        return task_id, ""
    trace_id = tracing.get_current_span().get_span_context().trace_id
    return task_id, f"{trace_id:032x}" if trace_id else ""


class NotedPolicy(bootsteps.StartStopStep):
    """Notes at a worker's start which policy it goes by."""

    def start(self, parent: WorkController) -> None:
        """Note it; a store that is away does not keep the worker from starting."""
        queue = installed(parent.app)
        if queue is None:
            return
        manager = queue.manager
        try:
            manager.driver.run(note_policy(manager.terms))
            manager.store.close()  # its processes open their own
        except CtxqueueError as error:
            logger.error("which policy this worker goes by is not in the audit log: %s", error)  # noqa: TRY400
