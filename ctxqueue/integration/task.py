"""The task class: claims its run, parks until its keys are there, runs the body, and finishes."""

from __future__ import annotations

import asyncio
import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, overload

from celery import Task
from celery.exceptions import Ignore

from ctxqueue.clock import MICROSECONDS
from ctxqueue.effects import Position
from ctxqueue.errors import (
    AttemptSuperseded,
    ConfigurationError,
    CtxqueueError,
    DependencyNotReady,
    DependencyTimeout,
    WorkflowClosed,
)
from ctxqueue.flows import attempts
from ctxqueue.handles import current_handle
from ctxqueue.identity import Attempt, WorkflowRef, current_attempt, current_workflow
from ctxqueue.integration import events, stepping
from ctxqueue.integration.deliveries import Delivery
from ctxqueue.integration.durable import Promising
from ctxqueue.integration.headers import Carried, carried_by
from ctxqueue.integration.leases import keeper
from ctxqueue.integration.messages import sending_again, stored
from ctxqueue.integration.privacy import PrivateTask
from ctxqueue.rules.dependencies import Condition, as_condition, keys_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from ctxqueue.aio import AsyncWorkflowHandle
    from ctxqueue.context import WorkflowHandle
    from ctxqueue.handles import Handle
    from ctxqueue.integration.install import ContextQueue
    from ctxqueue.models import Agent

logger = logging.getLogger(__name__)

T = TypeVar("T")

GIVE_BACK_SECONDS = 1.0


class ContextTask(PrivateTask):
    """What `ContextQueue.task` lays over the app's own task class."""

    abstract = True

    context_queue: ContextQueue
    agent: Agent
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

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Carry out one message of a run; called directly, just the body."""
        if self.request.called_directly:
            return super().__call__(*args, **kwargs)
        if self.request.is_eager:
            return self._run_eagerly(args, kwargs)
        return self._attempt(carried_by(self.request), args, kwargs)

    @property
    def context(self) -> WorkflowHandle:
        """The workflow that the message belongs to, in the hands of the task's agent.

        Raises ConfigurationError if the task was published outside any workflow.
        """
        return self.context_queue.handle(self._workflow_id(), self.agent)

    @property
    def acontext(self) -> AsyncWorkflowHandle:
        """The same for a coroutine: its calls are awaited. Raises ConfigurationError likewise."""
        return self.context_queue.aio.handle(self._workflow_id(), self.agent)

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

    def signature_from_request(self, *args: Any, **kwargs: Any) -> Any:
        """Keep what the publisher let be seen of the arguments: Celery would show them whole, here and in a retry."""
        signature = super().signature_from_request(*args, **kwargs)
        given = vars(self.request)
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
        condition = self.condition(args, kwargs)
        if condition is not None:
            handle = self.context
            missing = self.context_queue.manager.driver.run(attempts.missing(handle.workflow_id, self.agent, condition))
            watcher = self.context_queue.watcher
            if watcher is not None:
                watcher.needs_looked_at(self.name, handle.workflow_id, tuple(keys_of(condition)), missing)
            if missing:
                raise DependencyNotReady(f"task {self.name} needs {', '.join(missing)}")
        holding = current_handle.set(self._context_here if current_workflow.get() else None)
        try:
            return self._run_body(args, kwargs)
        finally:
            current_handle.reset(holding)

    def _run_body(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run the body, by way of ``__call__`` where the app's task class has its own."""
        inherited = super().__call__
        # Celery's own would lay an empty request over the message's.
        call = self.run if getattr(inherited, "__func__", None) is Task.__call__ else inherited
        return call(*args, **kwargs)

    def _attempt(self, carried: Carried, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        manager = self.context_queue.manager
        delivery = Delivery(self.context_queue, self)
        if carried.workflow_id:
            self._check_namespace(carried.namespace)
        condition = self.condition(args, kwargs)
        if condition is not None and not carried.workflow_id:
            raise ConfigurationError(
                f"task {self.name} needs keys but belongs to no workflow: publish it inside 'with ctx.workflow(id):'"
            )
        position = Position(self.request.retries or 0, carried.leg)
        item = attempts.item_id(manager.terms.app, carried.workflow_id, carried.run_id, position)
        ticket = attempts.Ticket(
            carried.workflow_id, carried.run_id, position, item, str(self.request.id), self.needs_timeout or 0.0
        )
        with delivery.given_back_without_a_store():
            claimed, missing = manager.driver.run(
                attempts.claim(manager.terms, ticket, self.agent, condition, stored(self, carried.leg))
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
        )
        if claimed.answer == "run" and missing and condition is not None:
            missing = self._park(delivery, attempt, position, condition, missing)
        if carried.leg:
            events.resumed(self, attempt.waited)
        late: CtxqueueError | None = None
        if claimed.answer == "closed":
            late = WorkflowClosed(
                f"workflow {carried.workflow_id!r} was closed or removed before {', '.join(missing)} came, which task"
                f" {self.name} needs"
            )
        elif missing:
            late = DependencyTimeout(f"task {self.name} waited in vain for {', '.join(missing)}")
        with keeper.keeping(manager, attempt), self._bound(carried, attempt):
            return delivery.finished(attempt, lambda: self._run_body(args, kwargs) if late is None else _too_late(late))

    def _park(
        self,
        delivery: Delivery,
        attempt: Attempt,
        position: Position,
        condition: Condition,
        missing: tuple[str, ...],
    ) -> tuple[str, ...]:
        """Park the run and raise Ignore; return what is missing if it is not to be parked after all.

        The state is written before the run is parked: afterwards it could overwrite the result of the resumed task.
        """
        manager = self.context_queue.manager
        events.waiting(self, missing)
        following = Position(position.retries, position.leg + 1)
        item = attempts.item_id(manager.terms.app, attempt.home, attempt.run_id, following)
        timeout = self.needs_timeout if self.needs_timeout is not None else manager.terms.settings.needs_timeout
        flow = attempts.park(manager.terms, attempt, self.agent, condition, item, stored(self, following.leg), timeout)
        try:
            with delivery.given_back_without_a_store():
                armed, missing = manager.driver.run(flow)
        except AttemptSuperseded as error:
            delivery.refused(attempt)
            raise Ignore from error
        if armed.answer == "parked":
            raise Ignore
        return missing

    @contextmanager
    def _bound(self, carried: Carried, attempt: Attempt) -> Iterator[None]:
        reference = WorkflowRef(carried.namespace, carried.workflow_id, self.agent) if carried.workflow_id else None
        workflow = current_workflow.set(reference)
        making = current_attempt.set(attempt)
        holding = current_handle.set(self._context_here if reference else None)
        try:
            yield
        finally:
            current_handle.reset(holding)
            current_attempt.reset(making)
            current_workflow.reset(workflow)


def _too_late(error: CtxqueueError) -> NoReturn:
    raise error
