"""Updates on their way to a worker: stored first, then published; what the broker loses, the store sends again."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from celery import states
from celery.result import EagerResult
from celery.utils import uuid
from celery.utils.time import maybe_make_aware
from kombu.exceptions import OperationalError

from ctxqueue.effects import Outgoing
from ctxqueue.errors import AccessDenied, CtxqueueError, InvalidInput
from ctxqueue.flows import auditing, inbox, stored
from ctxqueue.handles import acting_on_record, whom
from ctxqueue.identity import new_run_id
from ctxqueue.integration.messages import frozen
from ctxqueue.integration.options import ROUTING, check
from ctxqueue.pending import AsyncPendingUpdate, PendingUpdate
from ctxqueue.threads import in_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from celery import Celery
    from celery.result import AsyncResult

    from ctxqueue.drivers import AsyncDriver
    from ctxqueue.effects import Flow
    from ctxqueue.flows.stored import UpdateRef
    from ctxqueue.flows.terms import Terms
    from ctxqueue.integration.install import ContextQueue
    from ctxqueue.models import Agent, CommitResult

CONTEXT_UPDATE = "ctxqueue.context_update"
DRAIN_INBOX = "ctxqueue.drain_inbox"

REPORT = "report"
"""Last argument of a message that says what a drain has done."""

logger = logging.getLogger(__name__)


class Prepared(NamedTuple):
    """One update, checked and packed, and how it is published."""

    ref: UpdateRef
    store: Flow[bool]
    args: tuple[Any, ...]
    options: dict[str, Any]
    waits_for_task: bool
    """Its message is published now, rather than by the drain."""


def prepared(
    queue: ContextQueue,
    terms: Terms,
    workflow_id: str,
    agent_id: str | Agent,
    updates: Mapping[str, Any],
    merge_strategy: str,
    operation_id: str | None,
    *,
    coalesce: bool,
    as_task: bool,
    options: dict[str, Any],
) -> Prepared:
    """Check all that can be checked without I/O; raises InvalidInput."""
    if options:
        check(options)
    operation = f"update:{new_run_id()}" if operation_id is None else operation_id
    agent = acting_on_record(terms, **whom(agent_id))
    try:
        ref = inbox.checked(terms, workflow_id, agent, updates, merge_strategy, operation)
    except AccessDenied as error:
        auditing.tell(terms, workflow_id, agent, error)
        raise
    payload = stored.packed(workflow_id, agent, updates, merge_strategy, ref, terms.signer)
    args: tuple[Any, ...] = (ref.home, ref.agent_id, ref.operation_id)
    outgoing, life_us = inbox.NO_MESSAGE, 0
    if as_task or not coalesce:
        args = (*args, REPORT) if coalesce else args
        # Nothing but names: shown where messages are watched.
        options = {"task_id": uuid(), "argsrepr": repr(args), "kwargsrepr": "{}", **options}
        life_us = _made_absolute(queue.app, options)
        item = f"{terms.app}\0{ref.home}\0{ref.update_id}\0update"
        outgoing = Outgoing(item, frozen(queue.app, CONTEXT_UPDATE, args, options))
    elif options.keys() - ROUTING:
        raise InvalidInput(
            f"{', '.join(sorted(options.keys() - ROUTING))}: with coalesce=True these need as_task=True, as the"
            " update has no task of its own"
        )
    drain = None
    if coalesce:
        routing = tuple(sorted((name, options[name]) for name in ROUTING & options.keys())) if options else ()
        drain = drain_message(queue.app, terms.app, ref.home, routing)
    store = inbox.enqueue(terms, ref, payload, outgoing=outgoing, drain=drain, life_us=life_us)
    return Prepared(ref, store, args, options, waits_for_task=not coalesce)


@lru_cache(maxsize=1_024)
def drain_message(app: Celery, app_name: str, home: str, routing: tuple[tuple[str, Any], ...]) -> Outgoing:
    """Return what sets a workflow's drain going."""
    options = {"argsrepr": repr((home,)), "kwargsrepr": "{}", **dict(routing)}
    message = frozen(app, DRAIN_INBOX, (home,), options)
    return Outgoing(f"{app_name}\0{home}\0\0drain", message)


def _made_absolute(app: Celery, options: dict[str, Any]) -> int:
    """Let times count from now on, also for a message that is sent again; return how long it is worth sending, or 0."""
    countdown, expires = options.pop("countdown", None), options.get("expires")
    if countdown is not None:
        options["eta"] = app.now() + _seconds(countdown, "countdown")
    if expires is None:
        return 0
    if not isinstance(expires, datetime):
        expires = app.now() + _seconds(expires, "expires")
    options["expires"] = expires
    left = maybe_make_aware(expires) - app.now()
    return max(1, int(left.total_seconds() * 1_000_000))


def _seconds(given: Any, name: str) -> timedelta:
    try:
        return timedelta(seconds=float(given))
    except (TypeError, ValueError, OverflowError):
        raise InvalidInput(f"{name} is {given!r:.60}: give seconds as a number, for expires also a datetime") from None


def enqueue(queue: ContextQueue, update: Prepared) -> AsyncResult[dict[str, Any]] | PendingUpdate:
    """Store an update and publish what sets it going."""
    driver = queue.manager.driver
    if update.waits_for_task:
        # Celery makes the message ready while the store's answer is on its way.
        with driver.begun(update.store) as store:
            return published(queue.app, update, store)
    stored_now = driver.run(update.store)
    if "task_id" not in update.options:
        return PendingUpdate(driver, update.ref, known=not stored_now)
    if queue.app.conf.task_always_eager:
        return _ended(queue, update, known=not stored_now)
    return queue.app.AsyncResult(update.options["task_id"])


def _ended(queue: ContextQueue, update: Prepared, *, known: bool) -> EagerResult[dict[str, Any]]:
    """Return the result of an update that was done at once: no backend has it."""
    result: Any
    try:
        result = shown(PendingUpdate(queue.manager.driver, update.ref).get(0), replayed=known)
    except CtxqueueError as error:
        result = error
    state = states.FAILURE if isinstance(result, CtxqueueError) else states.SUCCESS
    return EagerResult(update.options["task_id"], result, state, name=CONTEXT_UPDATE)


def shown(result: CommitResult, *, replayed: bool) -> dict[str, Any]:
    """Return a result as a result backend keeps it: no values."""
    return {"revision": result.revision, "versions": dict(result.versions), "replayed": replayed}


async def aenqueue(
    queue: ContextQueue, driver: AsyncDriver, update: Prepared
) -> AsyncResult[dict[str, Any]] | AsyncPendingUpdate:
    """Do the same without blocking the event loop: Celery's own publishing goes to a thread."""
    stored_now = await driver.arun(update.store)
    if update.waits_for_task:
        return await in_thread(published, queue.app, update)
    if "task_id" not in update.options:
        return AsyncPendingUpdate(driver, update.ref, known=not stored_now)
    if queue.app.conf.task_always_eager:
        return await in_thread(_ended, queue, update, known=not stored_now)
    return queue.app.AsyncResult(update.options["task_id"])


def published(app: Celery, update: Prepared, store: Callable[[], object] = lambda: None) -> AsyncResult[dict[str, Any]]:
    """Publish an update's own message once ``store`` has returned; raises what that raises, and publishes nothing.

    A broker or a result backend that is away is no error: the store sends the message again.
    """
    storing = Storing(store)
    try:
        return _published(app, update, storing)
    except (OperationalError, RuntimeError) as error:
        storing.done()
        if isinstance(error, RuntimeError) and not _backend_is_away(app, error):
            raise
        logger.warning("update %s is stored, and is sent again once Celery's servers are back: %s", update.ref, error)
        return app.AsyncResult(update.options["task_id"])
    finally:
        if storing.error is not None:
            # Celery listens for the result already; it stops where the last object for it goes.
            app.AsyncResult(update.options["task_id"])


def _backend_is_away(app: Celery, error: RuntimeError) -> bool:
    """Whether Celery could not begin to listen for the result: then it publishes nothing."""
    return isinstance(error.__cause__, getattr(app.backend, "connection_errors", ()))


def _published(app: Celery, update: Prepared, storing: Storing) -> AsyncResult[dict[str, Any]]:
    task: Any = app.tasks[CONTEXT_UPDATE]
    if app.conf.task_always_eager:  # no producer is asked for anything, and the task runs at once
        storing.done()
    with app.producer_or_acquire() as producer:
        result: AsyncResult[dict[str, Any]] = task.apply_async(
            update.args, producer=Following(producer, storing), **update.options
        )
    storing.done()
    return result


class Storing:
    """An update's way into the store: gone once, however often it is asked for; what that raised is raised again."""

    def __init__(self, what: Callable[[], object]) -> None:
        self._what: Callable[[], object] | None = what
        self.error: CtxqueueError | None = None

    def done(self) -> None:
        """Return once it is done."""
        what, self._what = self._what, None
        try:
            if what is not None:
                what()
        except CtxqueueError as error:
            self.error = error
        if self.error is not None:
            raise self.error


class Following:
    """A producer that publishes once an update is stored."""

    def __init__(self, producer: Any, storing: Storing) -> None:
        self._producer = producer
        self._storing = storing

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)

    def publish(self, body: Any, **options: Any) -> Any:
        """Publish as the producer does."""
        self._storing.done()
        return self._producer.publish(body, **options)
