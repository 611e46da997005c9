"""Other people's tasks under our claims: a message that is delivered twice runs once."""

from __future__ import annotations

from functools import partial, wraps
from inspect import signature
from typing import TYPE_CHECKING, Any, TypeVar, cast

from celery import Task
from celery._state import get_current_task

from ctxqueue.effects import Position
from ctxqueue.errors import ConfigurationError
from ctxqueue.flows import attempts
from ctxqueue.flows.publishing import item_id
from ctxqueue.handles import current_handle
from ctxqueue.identity import Attempt, WorkflowRef, current_attempt, current_workflow
from ctxqueue.integration import signatures
from ctxqueue.integration.deliveries import Delivery
from ctxqueue.integration.headers import carried_by
from ctxqueue.integration.installed import installed
from ctxqueue.integration.leases import keeper
from ctxqueue.integration.messages import stored
from ctxqueue.integration.task import ContextTask
from ctxqueue.models import OPERATOR

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ctxqueue.handles import Handle
    from ctxqueue.integration.install import ContextQueue

F = TypeVar("F", bound="Callable[..., Any]")


def claimed(task: F) -> F:
    """Let a plain Celery task be carried out once for each message, however often that is delivered.

    Under ``@app.task`` or ``@shared_task``, bound or not, also with decorators in between that use ``functools.wraps``;
    or over it::

        @shared_task
        @ctxqueue.claimed
        def send_report(report_id): ...

    A message that comes while it is carried out is kept for the case that this attempt dies; one that comes after its
    end gets the saved result, or error (up to 64 KB; else the body runs again). Writes to workflows in the body take
    effect once, as in an agent's task, and `ContextQueue.cancel` calls it off. Give the task ``acks_late``: without it
    a worker that dies takes the message with it, and a store that is away fails the task with StoreUnavailable.

    In an app without `install`, in eager mode, and where the function is called directly it changes nothing: then the
    body just runs. A task of `ContextQueue.task` is claimed anyway.
    """
    if isinstance(task, Task):
        body: Any = claimed(task.run)
        vars(task)["run"] = body
        return task

    @wraps(task)
    def carried_out(*args: Any, **kwargs: Any) -> Any:
        running: Any = get_current_task()
        queue, request = _delivered(running, carried_out)
        if queue is None:
            return task(*args, **kwargs)
        running.request_stack.push(request)  # a task class's own __call__ may have laid an empty one over it
        try:
            return _attempt(queue, running, lambda: task(*args, **kwargs))
        finally:
            running.request_stack.pop()

    carried_out.ctxqueue_claimed = True  # type: ignore[attr-defined]  # as on ContextTask; functools.wraps hands it on
    carried_out.__signature__ = signature(task)  # type: ignore[attr-defined]  # Celery looks at this, not at what is wrapped
    return cast("F", carried_out)


def _delivered(running: Any, body: Callable[..., Any]) -> tuple[ContextQueue | None, Any]:
    """Return ctxqueue in the app whose worker carries out a message by this body, and the message."""
    if running is None or isinstance(running, ContextTask):
        return None, None
    bodies = (running.run, getattr(running, "_orig_run", None))  # the latter under autoretry_for
    if not any(body in _layers(each) for each in bodies):
        return None, None
    request = next((each for each in reversed(running.request_stack.stack) if not each.called_directly), None)
    if request is None or request.is_eager:
        return None, None
    attempt = current_attempt.get()
    if attempt is not None and attempt.run_id == carried_by(request).run_id:
        return None, None  # a body that calls its own task
    return installed(running.app), request


def _layers(body: Any) -> Iterator[Any]:
    """Yield a function and those that decorators, or Celery for ``pydantic=True``, have wrapped."""
    while body is not None:
        body = getattr(body, "__func__", body)
        yield body
        body = getattr(body, "__wrapped__", None)


def _operators_hold(queue: ContextQueue, workflow_id: str) -> Callable[[bool], Handle]:
    """Return what makes the hold of ``ctx.workflow(id)`` without an agent: a plain task has none."""

    def hold(in_loop: bool) -> Handle:  # noqa: FBT001 - `ctxqueue.current` calls it
        return (queue.aio if in_loop else queue).handle(workflow_id, OPERATOR)

    return hold


def _attempt(queue: ContextQueue, task: Any, body: Callable[[], Any]) -> Any:
    signatures.check(queue.app, task.request)
    manager, carried = queue.manager, carried_by(task.request)
    terms = manager.terms
    if carried.workflow_id and carried.namespace != terms.namespace:
        raise ConfigurationError(
            f"task {task.name} belongs to namespace {carried.namespace!r}, this worker to {terms.namespace!r}:"
            " set ctxqueue_namespace alike"
        )
    position = Position(task.request.retries or 0, carried.leg)
    item = item_id(terms.app, carried.workflow_id, carried.run_id, position)
    task_id = str(task.request.id)
    ticket = attempts.Ticket(carried.workflow_id, carried.run_id, position, item, task_id, carried.after_epoch)
    delivery = Delivery(queue, task)
    with delivery.given_back_without_a_store():
        begun = manager.driver.run(attempts.claim(terms, ticket, OPERATOR, None, partial(stored, task, carried.leg)))
    answer = begun.claimed
    if answer.answer != "run":
        return delivery.not_ours(answer, carried)
    attempt = Attempt(carried.run_id, position.retries, carried.workflow_id, answer.epoch)
    reference = WorkflowRef(carried.namespace, carried.workflow_id, None) if carried.workflow_id else None
    with keeper.keeping(manager, attempt):
        workflow, making = current_workflow.set(reference), current_attempt.set(attempt)
        holding = current_handle.set(_operators_hold(queue, carried.workflow_id) if reference else None)
        try:
            return delivery.finished(attempt, body, delivery.given_up(answer, attempt))
        finally:
            current_handle.reset(holding)
            current_attempt.reset(making)
            current_workflow.reset(workflow)
