"""``ctxqueue.launch_canvas``: sends what a trigger holds, once, when its condition has come true or its time is up."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from celery.exceptions import Reject
from kombu.exceptions import OperationalError

from ctxqueue.flows import triggers
from ctxqueue.integration.canvases import LAUNCH_CANVAS, Canvases, caused_by
from ctxqueue.integration.claims import claimed
from ctxqueue.tasks.options import silent

if TYPE_CHECKING:
    from celery import Task

    from ctxqueue.integration.install import ContextQueue

NAME = LAUNCH_CANVAS

TRIES = 4
"""Then it is set aside with its reason."""
PAUSE = 1.0
"""Seconds until the next one."""

logger = logging.getLogger(__name__)


def register(queue: ContextQueue) -> None:
    """Add the task to the queue's app."""

    @queue.app.task(name=NAME, base=queue.PlainTask, bind=True, max_retries=None, **silent(60, 90))
    @claimed
    def launch_canvas(self: Task[..., Any], workflow_id: str, trigger_id: str, late: bool) -> None:  # noqa: FBT001
        run = queue.manager.driver.run
        launch = run(triggers.launched(workflow_id, trigger_id, late=late))
        if launch is not None:
            try:
                canvas = Canvases(queue).thawed(launch.canvas)
                with caused_by(launch.cause, launch.depth):
                    canvas.apply_async(args=(launch.cause,) if launch.pass_cause else ())
            except OperationalError as error:
                time.sleep(PAUSE)  # else it would come again at once, and again
                raise Reject(error, requeue=True) from error
            except Exception as error:  # a user's canvas, whatever is wrong with it: the others go on
                if self.request.retries + 1 < TRIES:
                    raise self.retry(exc=error, countdown=PAUSE) from error
                logger.exception("trigger %s in workflow %r is set aside", trigger_id, workflow_id)
                run(triggers.ended(workflow_id, trigger_id, "FAILED", f"{type(error).__name__}: it cannot be sent"))
                return
        run(triggers.ended(workflow_id, trigger_id, "EXPIRED" if late else "FIRED"))
