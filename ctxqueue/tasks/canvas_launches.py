"""``ctxqueue.launch_canvas``: sends what a trigger or subscription holds, when its condition has come true.

Once, or once a firing; and ``ctxqueue.trigger_run_ended``, by which what was sent tells of its end.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from celery.exceptions import Reject
from kombu.exceptions import OperationalError

from ctxqueue.errors import AccessDenied, BadSignature, CtxqueueError
from ctxqueue.flows import recurring, signatures, subscriptions, triggers
from ctxqueue.identity import derived_run_id
from ctxqueue.integration.canvases import Canvases, Ending, caused_by
from ctxqueue.integration.claims import claimed
from ctxqueue.integration.names import LAUNCH_CANVAS, LOOK_LATER, RUN_ENDED
from ctxqueue.tasks.options import silent

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Task
    from celery.canvas import Signature

    from ctxqueue.flows.signatures import Launch
    from ctxqueue.integration.install import ContextQueue

NAME = LAUNCH_CANVAS

TRIES = 4
"""Then it is set aside with its reason."""
PAUSE = 1.0
"""Seconds until the next one."""

logger = logging.getLogger(__name__)


class _Place(NamedTuple):
    workflow_id: str
    trigger_id: str


def register(queue: ContextQueue) -> None:
    """Add the tasks to the queue's app."""

    @queue.app.task(name=NAME, base=queue.PlainTask, bind=True, max_retries=None, **silent(60, 90))
    @claimed
    def launch_canvas(
        self: Task[..., Any],
        workflow_id: str,
        trigger_id: str,
        late: bool,  # noqa: FBT001 - as its messages have it
        firing: list[Any] | None = None,
    ) -> None:
        run, canvases, place = queue.manager.driver.run, Canvases(queue), _Place(workflow_id, trigger_id)
        if firing is not None:
            number, cause, depth = firing
            again = run(signatures.launched_again(workflow_id, trigger_id, cause, depth))
            if again is not None:
                launch, is_awaited = again
                ending = Ending(*place, derived_run_id(trigger_id, str(number)), number, is_awaited)
                _send(queue, self, place, launch, lambda: canvases.thawed_again(launch.canvas, ending))
            return
        try:
            once = run(triggers.launched(queue.manager.terms, workflow_id, trigger_id, late=late))
        except AccessDenied as error:
            logger.warning("trigger %s in workflow %r is set aside: %s", trigger_id, workflow_id, error)
            run(triggers.ended(*place, "FAILED", str(error)))
            return
        if once is None or _send(queue, self, place, once, lambda: canvases.thawed(once.canvas)):
            run(triggers.ended(workflow_id, trigger_id, "EXPIRED" if late else "FIRED"))

    @queue.app.task(name=RUN_ENDED, base=queue.PlainTask, **silent(60, 90))
    def trigger_run_ended(workflow_id: str, trigger_id: str, number: int, parts: list[int], of: int) -> None:
        # As an errback it is called in the worker whose task has failed: what it raises would end up nowhere.
        try:
            flow = recurring.run_ended(queue.manager.terms, workflow_id, trigger_id, number, tuple(parts), of)
            queue.manager.driver.run(flow)
        except CtxqueueError as error:
            logger.warning("the end of firing %d of trigger %s is not noted: %s", number, trigger_id, error)

    @queue.app.task(name=LOOK_LATER, base=queue.PlainTask, **silent(60, 90))
    def look_later(workflow_id: str, subscription_id: str) -> None:
        terms, run = queue.manager.terms, queue.manager.driver.run
        run(subscriptions.judge(terms, workflow_id, subscription_id, by_timer=True))


def _send(
    queue: ContextQueue,
    task: Task[..., Any],
    place: _Place,
    launch: Launch,
    thawed: Callable[[], Signature[Any]],
) -> bool:
    """Send a canvas; False: it cannot be, and is set aside. Raises Reject, Retry for another try."""
    given = (launch.cause,) if launch.pass_cause else ()
    if task.request.is_eager:  # it runs here, and what it raises is for who tests it
        canvas = thawed()
        if queue.watcher is not None:
            queue.watcher.launched(str(canvas.task), place.workflow_id, tuple(launch.cause["keys"]))
        with caused_by(launch.cause, launch.depth):
            canvas.apply_async(args=given)
        return True
    try:
        canvas = thawed()
        with caused_by(launch.cause, launch.depth):
            canvas.apply_async(args=given)
    except OperationalError as error:
        time.sleep(PAUSE)  # else it would come again at once, and again
        raise Reject(error, requeue=True) from error
    except Exception as error:  # a user's canvas, whatever is wrong with it: the others go on
        if task.request.retries + 1 < TRIES:
            raise task.retry(exc=error, countdown=PAUSE) from error
        logger.exception("trigger %s in workflow %r is set aside", place.trigger_id, place.workflow_id)
        # Of others the kind alone: what they say may quote of the canvas.
        told = str(error) if isinstance(error, BadSignature) else "it cannot be sent"
        reason = f"{type(error).__name__}: {told}"
        queue.manager.driver.run(triggers.ended(*place, "FAILED", reason))
        return False
    return True
