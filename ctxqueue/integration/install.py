"""Putting ctxqueue into a Celery app: one call, and nothing else there changes.

Long by the signatures of `ContextQueue`, which is all that an app is handed; what they do stands in files of its own.
"""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property, partial
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast, overload

import msgspec
from celery import Celery
from celery.backends.base import DisabledBackend
from celery.signals import import_modules

from ctxqueue.clock import MICROSECONDS, microseconds
from ctxqueue.context import ENVIRONMENT_URL, SharedContextManager, WorkflowHandle
from ctxqueue.errors import ConfigurationError
from ctxqueue.handles import agent_of
from ctxqueue.integration import (
    agents,
    auditing,
    cancelling,
    enqueuing,
    events,
    headers,
    observed,
    refusals,
    schedule,
)
from ctxqueue.integration.backend import celerys_url
from ctxqueue.integration.canvases import Canvases
from ctxqueue.integration.installed import installing, queues
from ctxqueue.integration.on_commit import CarriedOnCommit
from ctxqueue.integration.privacy import SignedTask
from ctxqueue.integration.signatures import signer_of
from ctxqueue.integration.task import ContextTask
from ctxqueue.models import checked_name
from ctxqueue.rules.conditions import as_condition
from ctxqueue.rules.guards import Guards
from ctxqueue.rules.policies import policy_of
from ctxqueue.settings import Settings
from ctxqueue.stores.base import open_store
from ctxqueue.tasks import (
    canvas_launches,
    cleanup_sweeps,
    context_updates,
    dependency_callbacks,
    inbox_drains,
    memories,
    memory_learning,
    memory_retention,
)
from ctxqueue.tasks.context_updates import UpdateSignatures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import timedelta

    from celery import Task
    from celery.result import AsyncResult

    from ctxqueue.agents import AsyncContextAwareAgent, ContextAwareAgent
    from ctxqueue.integration.agents import RegisteredAgent
    from ctxqueue.integration.aio import AsyncContextQueue
    from ctxqueue.integration.memories import QueuedMemoryManager
    from ctxqueue.keyring import Keyring
    from ctxqueue.models import Agent, DeadLetter, Page, ParkedTask
    from ctxqueue.pending import PendingUpdate
    from ctxqueue.rules.policy import Policy
    from ctxqueue.stores.base import Store


def install(
    app: Celery,
    *,
    backend_url: str | None = None,
    namespace: str | None = None,
    keyring: Keyring | Mapping[str, Any] | None = None,
    policy: Policy | Mapping[str, Any] | str | None = None,
) -> ContextQueue:
    """Put ctxqueue into an app: its tasks, its beat entries, and headers that carry the workflow. No I/O.

    The store is ``backend_url``, else the setting ``ctxqueue_backend_url``, else the environment's
    CTXQUEUE_BACKEND_URL, else the app's own Redis result backend or broker. ``keyring``, else the setting
    ``ctxqueue_keyring``: values are encrypted with it, see `ctxqueue.Keyring`. ``policy``, else ``ctxqueue_policy``, is
    what agents may do: a path to a TOML file or a mapping. Installing again returns the same
    object; raises ConfigurationError if it was installed with another URL or namespace.
    """
    if not isinstance(app, Celery):  # also celery.current_app, which stands for one
        raise ConfigurationError(f"install() was given a {type(app).__name__}: give it the Celery app")
    with installing:
        queue = queues.get(app)
        if queue is None:
            queue = ContextQueue(app, backend_url, namespace)
            queue.given_keyring = keyring
            queue.given_policy = policy
            queue.prepare()
            queues[app] = queue
        elif (backend_url or queue.given_url, namespace or queue.given_namespace) != (
            queue.given_url,
            queue.given_namespace,
        ):
            raise ConfigurationError("ctxqueue is installed in this app with another backend_url or namespace")
        elif keyring is not None and keyring is not queue.given_keyring and keyring != queue.given_keyring:
            raise ConfigurationError("ctxqueue is installed in this app with another keyring")
        elif policy is not None and policy != queue.given_policy:
            raise ConfigurationError("ctxqueue is installed in this app with another policy")
        return queue


class Watcher(Protocol):
    """What a test hangs in to see which tasks ran and which lacked keys."""

    def needs_looked_at(self, task: str, workflow_id: str, needed: tuple[str, ...], missing: tuple[str, ...]) -> None:
        """Take note of an eager task that has ``needs``."""
        ...

    def launched(self, task: str, workflow_id: str, keys: tuple[str, ...]) -> None:
        """Take note of what a trigger or a subscription sends."""
        ...


class ContextQueue:
    """ctxqueue in one Celery app."""

    def __init__(self, app: Celery, given_url: str | None, given_namespace: str | None) -> None:
        self.app = app
        self.given_url = given_url
        self.given_namespace = given_namespace
        self.given_keyring: Keyring | Mapping[str, Any] | None = None
        self.given_policy: Policy | Mapping[str, Any] | str | None = None
        self.guards = Guards()
        """What is asked of writes by this app's processes; register yours where its tasks are declared."""
        self._reset()
        os.register_at_fork(after_in_child=self._reset)
        self._manager: tuple[int, SharedContextManager] | None = None
        self._aio: AsyncContextQueue | None = None
        self._memory: QueuedMemoryManager | None = None
        self.watcher: Watcher | None = None
        """Told of eager tasks with ``needs``, and of what triggers and subscriptions send."""

    def _reset(self) -> None:
        self._opening = threading.RLock()  # a new one after a fork: who held it then is not there to let it go

    def prepare(self) -> None:
        """Connect signals; register tasks and beat entries once the app is final, however early this is called."""
        headers.connect_signal(self.app)
        self.app.steps["worker"].update((observed.WORKER_STEP, auditing.WORKER_STEP))
        events.connect_signal()
        cancelling.connect_signal()
        if self._is_final:
            Settings.read(self.app.conf.get)  # raises before anything is registered
            _ = self.policy
            self._register()
        else:
            self.app.on_after_finalize.connect(self._register, weak=False)
        self.app.on_after_configure.connect(self._reschedule, weak=False)
        import_modules.connect(self._about_to_work, sender=self.app, weak=False)

    def _reschedule(self, **_signal: object) -> None:
        """Add our entries to a configuration that comes after the tasks."""
        observed.connect(self.app)
        if self._is_final:
            schedule.add_entries(self.app)

    def _about_to_work(self, **_signal: object) -> None:
        """Look at the schedule once more as a worker or beat starts: a module may have set its own after ours."""
        if self._is_final:
            schedule.restore_entries(self.app)

    @property
    def _is_final(self) -> bool:
        return bool(self.app.finalized)  # type: ignore[attr-defined]  # celery-types leaves it out

    def _register(self, **_signal: object) -> None:
        modules = (
            *(context_updates, inbox_drains, cleanup_sweeps, dependency_callbacks),
            *(canvas_launches, memories, memory_learning, memory_retention),
        )
        for module in modules:
            module.register(self)
        schedule.add_entries(self.app)
        observed.connect(self.app)

    @property
    def manager(self) -> SharedContextManager:
        """This process's manager; made when first used, again after a fork."""
        with self._opening:
            if self._manager is None or self._manager[0] != os.getpid():
                self._manager = (os.getpid(), self._managing())
                self._aio = self._memory = None
            return self._manager[1]

    @property
    def aio(self) -> AsyncContextQueue:
        """The same for event loops, also of this process; see `AsyncContextQueue`."""
        with self._opening:
            _ = self.manager  # after a fork both are new
            if self._aio is None:
                from ctxqueue.integration.aio import AsyncContextQueue  # noqa: PLC0415 - only who awaits needs it

                self._aio = AsyncContextQueue(self)
            return self._aio

    @property
    def memory(self) -> QueuedMemoryManager:
        """This process's memories, over the same store; made when first used, again after a fork."""
        with self._opening:
            _ = self.manager  # after a fork both are new
            if self._memory is None:
                from ctxqueue.integration.memories import QueuedMemoryManager  # noqa: PLC0415 - only who remembers does

                self._memory = QueuedMemoryManager(self)
            return self._memory

    @contextmanager
    def on_store(self, store: Store, watcher: Watcher | None = None) -> Iterator[None]:
        """Let this process use another store for a while, and tell ``watcher`` of eager tasks: for tests."""
        with self._opening:
            kept = self._manager, self._aio, self._memory, self.watcher
            self._manager, self._aio, self._memory = (os.getpid(), self._managing(store)), None, None
            self.watcher = watcher
        try:
            yield
        finally:
            with self._opening:
                self._manager, self._aio, self._memory, self.watcher = kept

    def _managing(self, store: Store | None = None) -> SharedContextManager:
        conf = self.app.conf
        namespace = self.given_namespace or conf.get("ctxqueue_namespace") or "default"
        settings = Settings.read(conf.get)
        keyring = self.given_keyring or conf.get("ctxqueue_keyring")
        config = {
            "namespace": namespace,
            "keyring": keyring,
            "policy": self.policy,
            **msgspec.structs.asdict(settings),
        }
        manager = SharedContextManager(store or open_store(self.url, namespace), config)
        manager.terms = replace(
            manager.terms,
            app=self.app.main or "celery",
            canvases=Canvases(self),
            signer=signer_of(self.app),
            guards=self.guards,
            tell=partial(refusals.tell, self.app, namespace),
            whence=auditing.whence,
            policy_source=given if isinstance(given := self._given_policy, str) else "",
        )
        self.guards.set_policy(manager.terms.policy.guards)
        manager.driver = manager.recorder.blocking = observed.driver_of(self, namespace, manager.store)
        return manager

    @cached_property
    def no_results(self) -> Any:
        """A result backend that nobody listens to; made once, as making one takes as long as half a round trip."""
        return DisabledBackend(app=self.app)

    @property
    def policy(self) -> Policy:
        """What agents may do; raises ConfigurationError."""
        return policy_of(self._given_policy)

    @property
    def _given_policy(self) -> Policy | Mapping[str, Any] | str | None:
        given = self.given_policy
        return self.app.conf.get("ctxqueue_policy") if given is None else given

    @property
    def url(self) -> str:
        """The store's; raises ConfigurationError if there is none."""
        conf = self.app.conf
        url = self.given_url or conf.get("ctxqueue_backend_url") or os.environ.get(ENVIRONMENT_URL)
        if url:
            return str(url)
        if url := celerys_url(conf):
            return url
        raise ConfigurationError(
            "ctxqueue has no store: set ctxqueue_backend_url = 'redis://...' in the app's configuration,"
            f" or {ENVIRONMENT_URL} in the environment"
        )

    @property
    def Task(self) -> type[Task[..., Any]]:  # noqa: N802 - as Celery names its own
        """The app's own task class with our attempts laid over it."""
        return self._over(self.app.Task)

    @property
    def PlainTask(self) -> type[Any]:  # noqa: N802 - as Celery names its own
        """The app's own task class for what is no agent's: only the arguments are hidden."""
        base: type[Any] = self.app.Task
        return base if issubclass(base, SignedTask) else type("PlainTask", (SignedTask, base), {"abstract": True})

    def _over(self, base: type[Any]) -> type[Any]:
        if issubclass(base, ContextTask):
            if getattr(base, "context_queue", self) is not self:
                raise ConfigurationError(f"{base.__name__} is of another app's ctxqueue: give base= one of this app's")
            return base
        layers = (ContextTask, CarriedOnCommit) if hasattr(base, "apply_async_on_commit") else (ContextTask,)
        return type("ContextTask", (*layers, base), {"abstract": True, "context_queue": self})

    def workflow(
        self,
        workflow_id: str,
        *,
        agent_id: str | None = None,
        agent_type: str | None = None,
        agent_role: str | None = None,
        groups: Sequence[str] = (),
    ) -> WorkflowHandle:
        """Return an agent's hold on a workflow, without I/O; see `SharedContextManager.workflow`."""
        return self.manager.workflow(
            workflow_id, agent_id=agent_id, agent_type=agent_type, agent_role=agent_role, groups=groups
        )

    def handle(self, workflow_id: str, agent: Agent) -> WorkflowHandle:
        """Return the hold of an agent that is known already."""
        return WorkflowHandle(self.manager, workflow_id, agent)

    def task(
        self,
        *,
        agent_type: str,
        agent_id: str | None = None,
        agent_role: str | None = None,
        groups: Sequence[str] = (),
        needs: Any = None,
        needs_timeout: float | timedelta | None = None,
        durable: bool = False,
        **celery_options: Any,
    ) -> Callable[[Callable[..., Any]], Any]:
        """Declare a Celery task that acts as an agent; it is always bound, and may be a coroutine (`self.acontext`).

        ``needs`` parks it until the keys are there, at most ``needs_timeout`` seconds (default 1 h) and not after its
        ``expires``; then it fails with DependencyTimeout. A callable gets the task's arguments and returns the
        condition. With ``durable`` the store keeps each message until a worker has claimed it, and sends it again if
        the broker has lost it; while the store is away, publishing raises StoreUnavailable. Celery's options go
        through; ``acks_late`` and ``reject_on_worker_lost`` are on unless given, and ``retry_on_worker_lost``, whatever
        the app says, is off: a retry is meant, and makes new calls.
        """
        agent = agent_of(agent_id or checked_name(agent_type, "agent_type"), agent_type, agent_role, groups)
        defaults = {"acks_late": True, "reject_on_worker_lost": True, "retry_on_worker_lost": False, "shared": False}
        options = {**defaults, **celery_options}
        base = self._over(options.pop("base", None) or self.app.Task)
        attributes = {
            "agent": agent,
            "needs": _checked(needs),
            "needs_timeout": _checked_timeout(needs_timeout),
            "durable": durable,
        }

        def declare(body: Callable[..., Any]) -> Any:
            kind = {"base": base, "bind": True, "awaits": iscoroutinefunction(body)}
            return cast("Any", self.app.task(**{**options, **attributes, **kind}))(_called(body))

        return declare

    def register_agent(self, agent: ContextAwareAgent | AsyncContextAwareAgent, **task_options: Any) -> RegisteredAgent:
        """Make Celery tasks of an agent: ``agents.<name>.execute`` and ``agents.<name>.handle_change``.

        In them it acts on this app's manager, whichever it was made with; a wait parks the task. The options
        (``needs``, ``durable``, ``queue`` ...) are those of `task`, and go to the first. What an execution returns is
        the task's result, without its ``context_updates``, which stand in the context. Raises InvalidInput.
        """
        return agents.register(self, agent, task_options)

    def cancel(self, task_id: str) -> bool:
        """Call off a task of an agent, or one under `claimed`: in the broker, parked, released, running or retrying.

        True: it will not complete. Its result is REVOKED at once: ``get()`` raises Celery's TaskRevokedError; a chain
        ends, a chord fails. A body that runs goes on to its next write to its workflow, or its end, which is refused.
        False: it has ended, and its result stays.

        An id that no worker has seen is True too, as its message may be on its way: whenever one comes within the next
        ``ctxqueue_horizon`` + ``ctxqueue_needs_timeout`` seconds (25 h), it is answered so. An id that nobody has
        published is no different: nothing of it will run. Tasks that nobody claims run all the same, plain ones and
        ctxqueue's own. Raises InvalidName, StoreUnavailable.
        """
        return cancelling.cancel(self, task_id)

    @overload
    def enqueue_update(
        self,
        workflow_id: str,
        agent_id: str | Agent,
        updates: Mapping[str, Any],
        *,
        merge_strategy: str = "smart_merge",
        operation_id: str | None = None,
        coalesce: Literal[False] = False,
        as_task: bool = False,
        **apply_async_options: Any,
    ) -> AsyncResult[dict[str, Any]]: ...

    @overload
    def enqueue_update(
        self,
        workflow_id: str,
        agent_id: str | Agent,
        updates: Mapping[str, Any],
        *,
        merge_strategy: str = "smart_merge",
        operation_id: str | None = None,
        coalesce: bool,
        as_task: Literal[True],
        **apply_async_options: Any,
    ) -> AsyncResult[dict[str, Any]]: ...

    @overload
    def enqueue_update(
        self,
        workflow_id: str,
        agent_id: str | Agent,
        updates: Mapping[str, Any],
        *,
        merge_strategy: str = "smart_merge",
        operation_id: str | None = None,
        coalesce: Literal[True],
        as_task: Literal[False] = False,
        **apply_async_options: Any,
    ) -> PendingUpdate: ...

    def enqueue_update(
        self,
        workflow_id: str,
        agent_id: str | Agent,
        updates: Mapping[str, Any],
        *,
        merge_strategy: str = "smart_merge",
        operation_id: str | None = None,
        coalesce: bool = False,
        as_task: bool = False,
        **apply_async_options: Any,
    ) -> AsyncResult[dict[str, Any]] | PendingUpdate:
        """Let a worker do the update; its result is ``{"revision", "versions", "replayed"}`` or the typed error.

        The update waits in the store until it has been done; its message only names it. With ``coalesce`` many are
        done in one commit, and a `PendingUpdate` says what became of this one; with ``as_task`` too, an AsyncResult.
        Wrong input is refused here, before anything is stored; so is an update of a workflow that was never opened
        (WorkflowNotFound) or is closed, and one that is too many (InboxFull).
        """
        update = enqueuing.prepared(
            *(self, self.manager.terms, workflow_id, agent_id, updates, merge_strategy, operation_id),
            coalesce=coalesce,
            as_task=as_task,
            options=apply_async_options,
        )
        return enqueuing.enqueue(self, update)

    @property
    def update(self) -> UpdateSignatures:
        """Signatures that update a key with the result of the task before them: ``ctx.update.s(...)``."""
        return UpdateSignatures(self)

    def parked(self, workflow_id: str, *, limit: int = 100, cursor: str | None = None) -> Page[ParkedTask]:
        """Return the tasks that wait in a workflow, as the operator sees them; raises WorkflowNotFound.

        A page may hold more than ``limit``, or none and a cursor.
        """
        from ctxqueue.integration import parked  # noqa: PLC0415 - only the operator looks

        return parked.parked(self, workflow_id, limit, cursor)

    def release(self, workflow_id: str, run_id: str) -> bool:
        """Let a task that waits go on at once, as if what it waits for were there; False if it waits no more.

        Its body has to do without, or wait for the next thing. `cancel` calls it off instead. Raises WorkflowNotFound.
        """
        from ctxqueue.integration import parked  # noqa: PLC0415 - only the operator does

        return parked.release(self, workflow_id, run_id)

    def dead_letters(self, workflow_id: str, *, limit: int = 100, cursor: str | None = None) -> Page[DeadLetter]:
        """Return the updates of a workflow that were set aside; see `SharedContextManager.dead_letters`."""
        return self.manager.dead_letters(workflow_id, limit=limit, cursor=cursor)

    def replay_dead_letter(self, letter_id: str) -> bool:
        """Let a dead letter be tried again; see `SharedContextManager.replay_dead_letter`."""
        return self.manager.replay_dead_letter(letter_id)

    def drop_dead_letter(self, letter_id: str) -> bool:
        """Remove a dead letter; see `SharedContextManager.drop_dead_letter`."""
        return self.manager.drop_dead_letter(letter_id)


def _called(body: Callable[..., Any]) -> Callable[..., Any]:
    if not iscoroutinefunction(body):
        return body
    from ctxqueue.integration.loops import blocking  # noqa: PLC0415 - only who awaits needs it

    return blocking(body)


def _checked(needs: Any) -> Any:
    if callable(needs):
        return staticmethod(needs)  # as a class's plain attribute it would become a method
    return None if needs is None else as_condition(needs)


def _checked_timeout(timeout: float | timedelta | None) -> float | None:
    return None if timeout is None else microseconds(timeout, "needs_timeout") / MICROSECONDS
