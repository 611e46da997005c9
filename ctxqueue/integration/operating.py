"""What a worker does for whoever runs it: ``celery inspect ctxqueue_stats``, and a page for Prometheus.

Named by its path in ``app.steps``, so that only a worker loads it.
"""

from __future__ import annotations

import logging
import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from celery import bootsteps
from celery.worker.control import inspect_command

from ctxqueue.errors import CtxqueueError
from ctxqueue.integration.installed import installed
from ctxqueue.observability.inquiries import Inquiry

if TYPE_CHECKING:
    from celery.worker import WorkController

MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"

PATIENCE = 5.0
"""Seconds: meanwhile a worker takes no messages."""

logger = logging.getLogger(__name__)


@inspect_command()
def ctxqueue_stats(state: Any) -> dict[str, Any]:
    """Tell the store's whereabouts, and what of the namespace is overdue."""
    queue = installed(state.app)
    if queue is None:
        return {"installed": False}
    conf = state.app.conf
    told: dict[str, Any] = {
        "installed": True,
        "metrics": bool(conf.get("ctxqueue_metrics")),
        "tracing": bool(conf.get("ctxqueue_tracing")),
    }
    try:
        manager = queue.manager
        told |= {"namespace": manager.terms.namespace, "store": manager.store.where}
        return {**told, **asdict(Inquiry(manager.backlog, PATIENCE).answer())}
    except CtxqueueError as failure:
        return {**told, "failure": str(failure)}


class Operating(bootsteps.StartStopStep):
    """Serves this worker's counts, those of its processes too."""

    def __init__(self, parent: WorkController, **options: Any) -> None:
        super().__init__(parent, **options)
        self.server: Any = None

    def include_if(self, parent: Any) -> bool:
        """Take part where there are counts; a missing extra ends the worker here, and says what to install."""
        return bool(parent.app.conf.get("ctxqueue_metrics"))

    def start(self, parent: Any) -> None:
        """Serve them, where a port is set."""
        from ctxqueue.observability import metrics, serving  # noqa: PLC0415

        metrics.shared()
        forks = parent.pool_cls.__module__ == "celery.concurrency.prefork"
        if forks and not os.environ.get(MULTIPROCESS):
            logger.error(
                "ctxqueue_metrics: this worker forks and %s is not set in its environment: what its processes count"
                " is shown nowhere. Set it to a folder of this worker's own, empty at its start",
                MULTIPROCESS,
            )
        port = parent.app.conf.get("ctxqueue_metrics_port")
        if port is None:
            return
        host = parent.app.conf.get("ctxqueue_metrics_host") or "127.0.0.1"
        try:
            self.server = serving.serve(serving.registry(), int(port), host)
        except OSError as error:  # the tasks are what a worker is for
            logger.error("ctxqueue_metrics: cannot listen on %s:%s: %s", host, port, error)  # noqa: TRY400
        else:
            logger.info("ctxqueue_metrics: http://%s:%s/metrics", host, self.server.port)

    def stop(self, _parent: Any) -> None:
        """Stop serving."""
        if self.server is not None:
            self.server.close()
            self.server = None

    def terminate(self, parent: Any) -> None:
        """Stop serving."""
        self.stop(parent)
