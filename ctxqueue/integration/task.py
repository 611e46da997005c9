"""The task class: claims its run, parks until its keys are there, runs the body, and finishes."""

from __future__ import annotations

import asyncio
import logging
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, overload

from celery.app.task import Context
from celery.exceptions import Ignore, Retry

from ctxqueue.clock import MICROSECONDS
from ctxqueue.effects import Position
from ctxqueue.errors import (
    CapacityError,
    ConfigurationError,
    DependencyNotReady,
    DependencyTimeout,
    WorkflowClosed,
)
from ctxqueue.flows import attempts
from ctxqueue.flows.publishing import item_id
from ctxqueue.handles import current_handle
from ctxqueue.identity import Attempt, WorkflowRef, current_attempt, current_workflow, declared_agent, staged_eagerly
from ctxqueue.integration import events, noting, signatures, stepping, waiting
from ctxqueue.integration.deliveries import Delivery, Parked
from ctxqueue.integration.durable import Promising, seconds_until
from ctxqueue.integration.headers import CAUSE, LEG, NAMESPACE, WORKFLOW, Carried, carried_by, causing
from ctxqueue.integration.leases import keeper
from ctxqueue.integration.messages import sending_again, stored
from ctxqueue.integration.privacy import PrivateTask, run_body
from ctxqueue.rules.conditions import Condition, as_condition, keys_of
from ctxqueue.rules.dependencies import resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from ctxqueue.aio import AsyncWorkflowHandle
    from ctxqueue.context import WorkflowHandle
    from ctxqueue.handles import Handle
    from ctxqueue.integration.install import ContextQueue
    from ctxqueue.models import Agent

logger = logging.getLogger(__name__)

T = TypeVar("T")

SHORTEST_WAIT = 0.001
"""Seconds."""


class ContextTask(PrivateTask):
    """What `ContextQueue.task` lays over the app's own task class."""

    abstract = True
    ctxqueue_claimed = True
    """Each of its messages is a run; see `headers.is_claimed`."""

    context_queue: ContextQueue
    agent: Agent | None = None
    """Who it acts as; `ContextQueue.task` names it."""
    needs: Any = None
    """A condition, or a callable that makes one of the task's arguments."""
    needs_timeout: float | None = None
    durable: bool = False
    """Whether the store keeps each message until a worker has claimed it."""
    awaits: bool = False
    """Whether its body is a coroutine."""

    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:  # type: ignore[override]
        """Publish; with ``durable`` the message is stored first. Raises StoreUnavailable, and publishes nothing."""
        app: Any = self.app
        if not self.durable or app.conf.task_always_eager or sending_again.get():
            return super().apply_async(args, kwargs, **options)
        connection, given = options.pop("connection", None), options.pop("producer", None)
        if connection is not None:
            given = app.amqp.Producer(connection, auto_declare=False)
        with app.producer_or_acquire(given or options.pop("publisher", None)) as producer:
            return super().apply_async(args, kwargs, producer=Promising(self.context_queue, producer), **options)

    def apply(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:  # type: ignore[override]
        """Carry out here and now; under the pytest plugin with its retries, which Celery would raise as errors."""
        try:
            return super().apply(args, kwargs, **options)
        except Retry as retry:
            again: Any = getattr(retry, "sig", None)
            if again is None or self.context_queue.watcher is None:
                raise
            return again.apply(retries=(options.get("retries") or 0) + 1)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Carry out one message of a run; called directly, just the body."""
        if self.request.called_directly:
            return super().__call__(*args, **kwargs)
        if self.request.is_eager:
            return self._run_eagerly(args, kwargs)
        carried, attempt = carried_by(self.request), current_attempt.get()
        if attempt is not None and attempt.run_id == carried.run_id:
            return self._call_itself(args, kwargs)
        return self._attempt(carried, args, kwargs)

    def _call_itself(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Carry out the body that calls its own task, as a plain function: its message is under way already."""
        # Not push_request(): from 5.7 on it would hand the message's own on, as if this were another delivery of it.
        self.request_stack.push(Context(args=args, kwargs=kwargs))
        try:
            return super().__call__(*args, **kwargs)
        finally:
            self.request_stack.pop()

    @property
    def context(self) -> WorkflowHandle:
        """The workflow that the message belongs to, in the hands of the task's agent.

        Raises ConfigurationError if the task was published outside any workflow.
        """
        return self.context_queue.handle(self._workflow_id(), self.named_agent())

    @property
    def acontext(self) -> AsyncWorkflowHandle:
        """The same for a coroutine: its calls are awaited. Raises ConfigurationError likewise."""
        return self.context_queue.aio.handle(self._workflow_id(), self.named_agent())

    def named_agent(self) -> Agent:
        """Who runs the task; raises ConfigurationError for one that was declared without."""
        if self.agent is None:
            raise ConfigurationError(
                f"task {self.name} has no agent: declare it by @ctx.task(agent_type=...), with base= for a class of"
                " your own"
            )
        return self.agent

    def _workflow_id(self) -> str:
        reference = current_workflow.get()
        if reference is None:
            raise ConfigurationError(
                f"task {self.name} belongs to no workflow: publish it inside 'with ctx.workflow(id):'"
            )
        self._check_namespace(reference.namespace)
        return reference.workflow_id

    def _context_here(self, in_loop: bool) -> Handle:  # noqa: FBT001 - `ctxqueue.current` calls it
        return self.acontext if in_loop else self.context

    def _check_namespace(self, namespace: str) -> None:
        ours = self.context_queue.manager.terms.namespace
        if namespace != ours:
            raise ConfigurationError(
                f"task {self.name} belongs to namespace {namespace!r}, this worker to {ours!r}:"
                " set ctxqueue_namespace alike"
            )

    @property
    def cause(self) -> dict[str, Any] | None:
        """What sent this task, if a trigger or a subscription did.

        Of a trigger its id as ``trigger``, ``workflow``, and of the newest commit among what it had waited for
        ``revision`` and ``agent``; the ``keys`` that are there, and ``missing`` if its time was up. Of a subscription
        its id as ``subscription``, ``workflow``, the ``keys`` that others have changed, and ``revision`` and ``agent``
        of the newest of these changes.
        """
        cause: dict[str, Any] | None = self.request.get(CAUSE)
        if cause is None and self.request.is_eager:
            cause = (causing.get() or {}).get(CAUSE)
        return cause

    @property
    def waited(self) -> float:
        """Seconds that this run was parked before it was last released; 0 if it never was."""
        attempt = current_attempt.get()
        return attempt.waited if attempt else 0.0

    @overload
    def once(self, name: str, step: Callable[[], Coroutine[Any, Any, T]]) -> Coroutine[Any, Any, T]: ...

    @overload
    def once(self, name: str, step: Callable[[], T]) -> T: ...

    def once(self, name: str, step: Callable[[], Any]) -> Any:
        """Carry out a step, and keep its result with the run: a body that runs again gets that one.

        For what is expensive, or another each time: a model's answer, a number drawn, an id made up. It holds for a
        message that comes again, for a parked task that goes on and for ``self.retry()``. A step that raises keeps
        nothing; one that was cut off before its result was kept is carried out again. What is returned has gone through
        the codec, the first time too. In an ``async def`` body it is awaited, ``await self.once(name, step)``, and the
        step may be a coroutine function; in a thread of such a body it blocks. Where the task is called directly or
        eagerly there is no run, and the step is just carried out.

        Raises InvalidName, NotSerializable, ValueTooLarge, CapacityError (1,000 calls a run), AttemptSuperseded;
        ConfigurationError for a step that is to be awaited where nobody can.
        """
        if self.awaits and asyncio._get_running_loop() is not None:  # noqa: SLF001 - get_running_loop() raises
            return stepping.aonce(self.context_queue, name, step)
        return stepping.once(self.context_queue, name, step)

    def wait_for(self, condition: str | Condition, *, timeout: float = 3_600.0) -> Any:
        """Go on once a condition holds, and return the view of the workflow then; until then hold no worker.

        If it does not hold yet the body ends here, the store keeps the message, and once the condition holds the body
        runs again from its start: what it has written is not written twice, and `once` keeps its expensive steps.
        A transaction that is open is given up, to be made again. ``timeout`` is in seconds, from the first time that
        this wait was come to: then DependencyTimeout is raised here, with what is missing. A coroutine awaits it.

        Raises ConditionError, AccessDenied for a key that the agent may not read, WorkflowClosed; in eager mode and
        where the task is called directly, DependencyNotReady in place of waiting.
        """
        return waiting.wait_for(self, condition, timeout)

    def looked_at(self, workflow_id: str, condition: Condition, missing: tuple[str, ...]) -> None:
        """Tell a test what an eager task needs and lacks."""
        watcher = self.context_queue.watcher
        if watcher is not None:
            watcher.needs_looked_at(self.name, workflow_id, tuple(keys_of(condition)), missing)

    def signature_from_request(self, *args: Any, **kwargs: Any) -> Any:
        """Keep what the publisher let be seen of the arguments: Celery would show them whole, here and in a retry."""
        signature = super().signature_from_request(*args, **kwargs)
        given = vars(self.request)
        if signature.options.get("retries", 0) > (self.request.retries or 0) and given.get(LEG):
            signature.options["headers"] = {**signature.options["headers"], LEG: 0}  # it was not parked yet
        for name in ("argsrepr", "kwargsrepr", "compression", "ignore_result"):
            if given.get(name) is not None:
                signature.options.setdefault(name, given[name])
        return signature

    def condition(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Condition | None:
        """Return what this call needs; raises ConditionError."""
        needs = self.needs
        if callable(needs):
            needs = needs(*args, **kwargs)
        return None if needs is None else as_condition(needs)

    # --- one message -------------------------------------------------------------------------------------------

    def _run_eagerly(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        headers = self.request.headers or {}
        if WORKFLOW in headers:  # it was bound to a workflow, which may be another than that of the caller
            token = current_workflow.set(WorkflowRef(headers[NAMESPACE], headers[WORKFLOW], self.agent))
            try:
                return self._run_here(args, kwargs)
            finally:
                current_workflow.reset(token)
        return self._run_here(args, kwargs)

    def _run_here(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        condition = self.condition(args, kwargs)
        if condition is not None:
            handle = self.context
            missing = self.context_queue.manager.driver.run(
                attempts.missing(handle.terms, handle.workflow_id, handle.agent, condition)
            )
            self.looked_at(handle.workflow_id, condition, missing)
            if missing:
                raise DependencyNotReady(f"task {self.name} needs {', '.join(missing)}")
        holding = current_handle.set(self._context_here if current_workflow.get() else None)
        transactions: list[Any] = []
        staging = staged_eagerly.set(transactions)
        acting = declared_agent.set(self.agent)
        try:
            result = self._run_body(args, kwargs)
            for transaction in transactions:
                self.context_queue.manager.driver.run(transaction.commit())
            return result
        finally:
            declared_agent.reset(acting)
            staged_eagerly.reset(staging)
            current_handle.reset(holding)

    def _run_body(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return run_body(self, super().__call__, args, kwargs)

    def _noting(self, attempt: Attempt, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = self._run_body(args, kwargs)
        if attempt.reads:
            noting.note(self, attempt)
        return result

    def _attempt(self, carried: Carried, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        signatures.check(self.app, self.request)
        manager = self.context_queue.manager
        delivery = Delivery(self.context_queue, self)
        if carried.workflow_id:
            self._check_namespace(carried.namespace)
        condition, late = self._condition_of(carried, args, kwargs)
        agent = self.named_agent()
        position = Position(self.request.retries or 0, carried.leg)
        item = item_id(manager.terms.app, carried.workflow_id, carried.run_id, position)
        task_id, may_wait = str(self.request.id), self._needs_timeout()
        ticket = attempts.Ticket(
            carried.workflow_id, carried.run_id, position, item, task_id, carried.after_epoch, may_wait
        )
        with delivery.given_back_without_a_store():
            claimed, missing, unknown = manager.driver.run(
                attempts.claim(manager.terms, ticket, agent, condition, partial(stored, self, carried.leg))
            )
        if claimed.answer not in ("run", "timeout", "closed"):
            return delivery.not_ours(claimed, carried)
        needed = frozenset(keys_of(condition)) if condition else frozenset()
        attempt = Attempt(
            carried.run_id,
            position.retries,
            carried.workflow_id,
            claimed.epoch,
            needed,
            claimed.parked_us / MICROSECONDS,
            carried.leg,
            passes=carried.released,
            reads=noting.reads(self.app),
        )
        late = late or unknown
        if claimed.answer in ("run", "timeout") and missing and attempt.passed():
            missing = ()
        if claimed.answer == "run" and missing and condition is not None:
            try:
                missing = self._park(attempt, condition, missing)
            except WorkflowClosed:
                late = self._closed(carried, missing)  # so its run ends, once for all deliveries
            except (CapacityError, ConfigurationError) as error:
                late = error
        if carried.leg:
            events.resumed(self, attempt.waited)
        if claimed.answer == "closed":
            late = self._closed(carried, missing)
        elif missing and late is None:
            late = DependencyTimeout(f"task {self.name} waited in vain for {', '.join(missing)}")
        late = delivery.given_up(claimed, attempt) or late
        with keeper.keeping(manager, attempt), self._bound(carried, attempt):
            return delivery.finished(attempt, lambda: self._noting(attempt, args, kwargs), late)

    def _closed(self, carried: Carried, missing: tuple[str, ...]) -> WorkflowClosed:
        return WorkflowClosed(
            f"workflow {carried.workflow_id!r} was closed or removed before {', '.join(missing)} came, which task"
            f" {self.name} needs"
        )

    def _condition_of(
        self, carried: Carried, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Condition | None, Exception | None]:
        """Return what the message needs, or why that cannot be said: so its run ends, once for all deliveries."""
        try:
            condition = self.condition(args, kwargs)
            if condition is not None:
                resolve(self.context_queue.manager.terms.policy, condition, self.named_agent())
        except Exception as error:  # noqa: BLE001 - a callable of the user's may raise anything
            return None, error
        if condition is None or carried.workflow_id:
            return condition, None
        return None, ConfigurationError(
            f"task {self.name} needs keys but belongs to no workflow: publish it inside 'with ctx.workflow(id):'"
        )

    def _needs_timeout(self) -> float:
        """Return for how long the task may wait, in seconds: not after its message has expired."""
        given = self.needs_timeout
        timeout = self.context_queue.manager.terms.settings.needs_timeout if given is None else given
        if isinstance(timeout, timedelta):
            timeout = timeout.total_seconds()
        expires: Any = self.request.expires
        return timeout if expires is None else max(SHORTEST_WAIT, min(timeout, seconds_until(self.app, expires)))

    def _park(self, attempt: Attempt, condition: Condition, missing: tuple[str, ...]) -> tuple[str, ...]:
        timeout = self._needs_timeout()
        try:
            return waiting.park(self, attempt, condition, missing, timeout, waiting.NEEDED)
        except Parked:
            raise Ignore from None

    @contextmanager
    def _bound(self, carried: Carried, attempt: Attempt) -> Iterator[None]:
        reference = WorkflowRef(carried.namespace, carried.workflow_id, self.agent) if carried.workflow_id else None
        workflow = current_workflow.set(reference)
        making = current_attempt.set(attempt)
        holding = current_handle.set(self._context_here if reference else None)
        acting = declared_agent.set(self.agent)
        try:
            yield
        finally:
            declared_agent.reset(acting)
            current_handle.reset(holding)
            current_attempt.reset(making)
            current_workflow.reset(workflow)
