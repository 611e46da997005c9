"""A task that waits: for what it needs before its body runs, or for what the body comes to need.

The store takes the task's message, and the worker is free. Once the condition holds the message comes back, one leg
further, and the body runs again from its start.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from celery.exceptions import Ignore

from ctxqueue.effects import Position
from ctxqueue.errors import AttemptSuperseded, DependencyNotReady, DependencyTimeout
from ctxqueue.flows import attempts
from ctxqueue.flows.publishing import item_id
from ctxqueue.identity import current_attempt
from ctxqueue.integration import chords, events
from ctxqueue.integration.deliveries import Delivery, Parked
from ctxqueue.integration.messages import stored
from ctxqueue.rules.conditions import as_condition, keys_of

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from ctxqueue.identity import Attempt
    from ctxqueue.integration.task import ContextTask
    from ctxqueue.rules.conditions import Condition
    from ctxqueue.views import AgentContext

NEEDED = ""
"""The wait for what the task needs; those in its body are numbered."""


def park(
    task: ContextTask, attempt: Attempt, condition: Condition, missing: tuple[str, ...], timeout: float, wait: str
) -> tuple[str, ...]:
    """Park the run and raise Parked; return what is missing if it is not to be parked after all.

    The state is written before the run is parked: afterwards it could overwrite the result of the resumed task.
    """
    manager = task.context_queue.manager
    delivery = Delivery(task.context_queue, task)
    chords.keep_counted(task, timeout)
    events.waiting(task, missing)
    item = item_id(manager.terms.app, attempt.home, attempt.run_id, Position(attempt.retries, attempt.leg + 1))
    message = stored(task, attempt.leg + 1)
    flow = attempts.park(manager.terms, attempt, task.named_agent(), condition, item, message, timeout, wait)
    try:
        with delivery.given_back_without_a_store():
            armed, keys = manager.driver.run(flow)
    except AttemptSuperseded as error:
        delivery.refused(attempt)
        raise Ignore from error
    if armed.answer == "parked":
        raise Parked
    return keys or missing if armed.answer == "timeout" else ()


def wait_for(task: ContextTask, given: str | Condition, timeout: float) -> AgentContext | Awaitable[AgentContext]:
    """Return the view once the condition holds, or park the run; where a loop runs, what is to be awaited."""
    condition = as_condition(given)
    if asyncio._get_running_loop() is None:  # noqa: SLF001 - get_running_loop() raises
        return _wait(task, condition, timeout)
    return _awaited(task, condition, timeout)


async def _awaited(task: ContextTask, condition: Condition, timeout: float) -> AgentContext:  # noqa: ASYNC109
    request = task.request

    def in_thread() -> AgentContext:
        task.request_stack.push(request)  # Celery keeps it by thread
        try:
            return _wait(task, condition, timeout)
        finally:
            task.request_stack.pop()

    return await asyncio.to_thread(in_thread)


def _wait(task: ContextTask, condition: Condition, timeout: float) -> AgentContext:
    handle = task.context
    manager, attempt = task.context_queue.manager, current_attempt.get()
    if attempt is None:  # eager, or called directly: there is nothing that could be parked
        missing = manager.driver.run(attempts.missing(handle.terms, handle.workflow_id, task.named_agent(), condition))
        task.looked_at(handle.workflow_id, condition, missing)
        if missing:
            raise DependencyNotReady(f"task {task.name} waits for {', '.join(missing)}")
        return handle.view()
    with attempt.counting:
        attempt.waits += 1
        wait = f"{attempt.retries}.{attempt.waits}"
        attempt.needed |= frozenset(keys_of(condition))
    lacking = manager.driver.run(attempts.lacking(manager.terms, attempt, task.named_agent(), condition, timeout, wait))
    if lacking.keys and attempt.passed():
        return handle.view()
    keys = lacking.keys if lacking.late else ()
    if lacking.keys and not lacking.late:
        keys = park(task, attempt, condition, lacking.keys, timeout, wait)
    if keys:
        raise DependencyTimeout(f"task {task.name} waited in vain for {', '.join(keys)}")
    return handle.view()
