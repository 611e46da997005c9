"""The blocking face: a manager opens a store, a handle is one agent's hold on one workflow.

Long, as all that can be called stands here with what it takes and raises; what a call does is a flow elsewhere.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

from ctxqueue.after_commit import AfterCommit
from ctxqueue.callbacks import Callbacks, is_local
from ctxqueue.drivers import Driver
from ctxqueue.flows.subscribing import load_all as load_subscriptions
from ctxqueue.flows.subscribing import notifications
from ctxqueue.flows.triggers import load_all
from ctxqueue.handles import (
    ENVIRONMENT_URL,
    Handle,
    Manager,
    TransactionBlock,
    acting_on_record,
    namespace_and_settings,
    opened,
    resolved_url,
    sealed,
    whom,
)
from ctxqueue.models import Put
from ctxqueue.notifications import ContextNotificationManager
from ctxqueue.recording import Recorder
from ctxqueue.stores.base import open_store
from ctxqueue.subscriptions import Subscription, checked_local, subscribe
from ctxqueue.subscriptions import of_kept as of_subscription
from ctxqueue.tracking import ContextDependencyTracker
from ctxqueue.triggers import Trigger, When, of_kept
from ctxqueue.waiting import wait_for
from ctxqueue.watching import Watch

if TYPE_CHECKING:
    import builtins
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime, timedelta

    from ctxqueue.audited import AuditRecord
    from ctxqueue.callbacks import LocalSubscription
    from ctxqueue.effects import Flow
    from ctxqueue.flows.transactions import Transaction
    from ctxqueue.keyring import Keyring
    from ctxqueue.models import (
        Agent,
        Backlog,
        Change,
        CommitResult,
        ContextEntry,
        ContextPriority,
        ContextScope,
        DeadLetter,
        EraseReport,
        Notification,
        Page,
        ParkedTask,
        RotationReport,
        SweepReport,
        WorkflowContext,
        WorkflowSummary,
    )
    from ctxqueue.rules.conditions import Condition
    from ctxqueue.rules.policy import Policy
    from ctxqueue.storages import ContextStorage
    from ctxqueue.stores.base import Store
    from ctxqueue.views import AgentContext

T = TypeVar("T")

__all__ = ["ENVIRONMENT_URL", "SharedContextManager", "WorkflowHandle", "connect"]


def connect(
    backend_url: str | None = None,
    *,
    namespace: str = "default",
    keyring: Keyring | Mapping[str, Any] | None = None,
    policy: Policy | Mapping[str, Any] | str | None = None,
) -> SharedContextManager:
    """Open a store and reach its server; use as a context manager or ``close()`` it.

    ``backend_url`` is ``memory://``, ``redis://``, ``rediss://``, ``unix://``, ``redis+cluster://``, ``sentinel://``,
    ``sqlite:///`` or ``postgresql://``; left out, the environment's CTXQUEUE_BACKEND_URL. ``keyring``: values are
    encrypted with it, see `Keyring`. ``policy`` is what agents may do: a path to a TOML file, or a mapping. Raises
    ConfigurationError, StoreUnavailable, StoreAuthError, UnsafeServer.
    """
    config = {"namespace": namespace, "keyring": keyring, "policy": policy}
    manager = SharedContextManager(resolved_url(backend_url), config)
    try:
        manager.store.verify()
        manager.driver.at_first_contact(manager._policy_noted())  # noqa: SLF001 - its own
    except BaseException:  # raised on: nobody has this manager to close it by
        manager.close()
        raise
    return manager


class SharedContextManager(Manager):
    """Everything of one namespace in one store. Thread-safe; no I/O before the first call."""

    def __init__(self, storage_or_url: str | Store | ContextStorage, config: Mapping[str, Any] | None = None) -> None:
        """Take a URL, a storage or an open store; ``config``: ``namespace``, ``keyring``, fields of `Settings`."""
        namespace, settings = namespace_and_settings(config)
        self.store: Store = sealed(opened(storage_or_url, namespace, open_store), config, namespace)
        self._set_terms(self.store, namespace, settings, config)
        self.driver = Driver(self.store)
        self.terms.recorder = self.recorder = Recorder(blocking=self.driver)
        self.callbacks = Callbacks(self)
        """The functions of this process that are called when others change something."""
        self.notification_manager = ContextNotificationManager(self)
        self.dependency_tracker = ContextDependencyTracker(self)

    def workflow(
        self,
        workflow_id: str,
        *,
        agent_id: str | None = None,
        agent_type: str | None = None,
        agent_role: str | None = None,
        groups: Sequence[str] = (),
    ) -> WorkflowHandle:
        """Return an agent's hold on a workflow, without I/O. With no agent: the operator's.

        Raises InvalidName, and inside a task IdentityMismatch for another agent than its own, unless it may act as it.
        """
        return WorkflowHandle(self, workflow_id, acting_on_record(self.terms, agent_id, agent_type, agent_role, groups))

    def create_workflow_context(
        self, workflow_id: str, initial_data: Mapping[str, Any] | None = None
    ) -> WorkflowContext:
        """Make a workflow with ``initial_data`` as its metadata; raises WorkflowExists."""
        return self.driver.run(self._create(workflow_id, initial_data))

    def get_context_for_agent(
        self, workflow_id: str, agent_id: str | Agent, agent_role: str | None = None
    ) -> dict[str, Any]:
        """Return the agent's view with the keys workflow_id, agent_id, context_data, metadata, dependencies.

        ``agent_id`` may be an `Agent`, which has its type and groups too. Raises WorkflowNotFound.
        """
        return self.workflow(workflow_id, **whom(agent_id, agent_role)).view().as_dict()

    def update_context(
        self, workflow_id: str, agent_id: str | Agent, updates: Mapping[str, Any], merge_strategy: str = "smart_merge"
    ) -> CommitResult:
        """Merge values in, in the agent's name; see `WorkflowHandle.update`."""
        return self.workflow(workflow_id, **whom(agent_id)).update(updates, merge_strategy=merge_strategy)

    def subscribe_to_context_changes(
        self, workflow_id: str, agent_id: str | Agent, keys: str | Iterable[str], callback: Any
    ) -> Subscription | LocalSubscription:
        """Tell an agent of what others change; see `ContextNotificationManager.subscribe_to_context_changes`."""
        return self.notification_manager.subscribe_to_context_changes(workflow_id, agent_id, keys, callback)

    def cleanup_expired_contexts(self, *, limit: int = 1_000) -> SweepReport:
        """Remove up to ``limit`` expired entries and send overdue messages on their way; beat does it by itself."""
        begun = time.monotonic()
        report = self.driver.run(self._sweep(limit))
        return replace(report, seconds=time.monotonic() - begun)

    def erase(
        self, *, agent_id: str | None = None, user_id: str | None = None, namespace: str | None = None
    ) -> EraseReport:
        """Remove what an agent wrote or kept for itself, or entries with ``metadata["user_id"]``, earlier values too.

        Its stored updates, dead letters, triggers and subscriptions go, and memories. ``namespace``, which must be the
        manager's own: all of it, with all workflows. One that was cut off is called again. Raises InvalidInput.
        """
        return self.driver.run(self._erase(agent_id, user_id, namespace))

    def summary(self, workflow_id: str) -> WorkflowSummary:
        """Return how much a workflow holds, as the operator sees it; raises WorkflowNotFound."""
        return self.driver.run(self._summary(workflow_id))

    def workflows(self, *, prefix: str = "", limit: int = 100, cursor: str | None = None) -> Page[WorkflowSummary]:
        """Return all workflows, as the operator sees them, in an order of the store's; at most 1,000 a page.

        Go on with ``cursor=page.next_cursor`` until that is None. Raises InvalidInput for a foreign cursor.
        """
        return self.driver.run(self._workflows(prefix, limit, cursor))

    def unread(self, workflow_id: str, *, limit: int = 100, cursor: str | None = None) -> Page[ContextEntry]:
        """Return entries that no agent but their writer was handed in a task, and that nothing depends on.

        It goes by what tasks note under the setting ``ctxqueue_note_reads``. A page may hold fewer than ``limit``, or
        none and a cursor. For the operator. Raises WorkflowNotFound.
        """
        return self.driver.run(self._unread(workflow_id, limit, cursor))

    def backlog(self) -> Backlog:
        """Return what the namespace has yet to do: how much is overdue, what waits to be published; ages in seconds."""
        return self.driver.run(self._backlog())

    def parked(self, workflow_id: str, *, limit: int = 100, cursor: str | None = None) -> Page[ParkedTask]:
        """Return the tasks that wait in a workflow, as the operator sees them; raises WorkflowNotFound.

        A page may hold more than ``limit``, or none and a cursor. `ContextQueue.parked` knows their names too.
        """
        return self.driver.run(self._parked(workflow_id, limit, cursor))

    def audit(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page[AuditRecord]:
        """Return who read, wrote, revealed or was denied what is sensitive, in order of time, for the operator.

        From ``since`` to before ``until``, which have their time zone; go on with ``cursor=page.next_cursor`` until
        that is None. Raises InvalidInput, inside an agent's task IdentityMismatch.
        """
        return self.driver.run(self._audit(since, until, limit, cursor))

    def audit_gone(self) -> int | None:
        """Return how many records have gone from the audit log by its limit or age, of those that its shards number.

        If it rises though none of what is left is as old as ``ctxqueue_audit_age``, somebody floods it. None in a
        database, whose records have no numbers. For the operator.
        """
        return self.driver.run(self._audit_gone())

    def rotate_keys(self) -> RotationReport:
        """Encrypt all that stands in the store with the keyring's newest key; neither versions nor logs change.

        What waits for a short time only (messages, stored updates, journals) is not touched: keep the older key for the
        horizon and the longest wait. One that was cut off can be called again. Raises ConfigurationError without a
        keyring.
        """
        store: Any = self.store
        rotation = self._rotation(store)
        return Driver(store.inner).run(rotation)

    def dead_letters(self, workflow_id: str, *, limit: int = 100, cursor: str | None = None) -> Page[DeadLetter]:
        """Return a workflow's updates that were begun too often without an outcome; raises WorkflowNotFound."""
        return self.driver.run(self._dead_letters(workflow_id, limit, cursor))

    def replay_dead_letter(self, letter_id: str) -> bool:
        """Let a dead letter be tried again, by the next sweep; False if there is none of this id."""
        return self.driver.run(self._revive(letter_id, drop=False))

    def drop_dead_letter(self, letter_id: str) -> bool:
        """Remove a dead letter for good; False if there is none of this id."""
        return self.driver.run(self._revive(letter_id, drop=True))

    def close(self) -> None:
        """Close the connections, and call functions that wait for changes no more."""
        self.callbacks.close()
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


class WorkflowHandle(Handle):
    """One agent's hold on one workflow; cheap to make, thread-safe.

    ``with handle:`` makes it the workflow of all messages published inside, which carry it on through chains,
    groups, chords and retries. Calls on a workflow that was never opened raise WorkflowNotFound; writes to a closed
    one WorkflowClosed, what the policy forbids AccessDenied, what a guard does not let pass WriteRefused or
    GuardFailed. Any call may raise StoreUnavailable, within a task AttemptSuperseded or StaleOperation.
    """

    __slots__ = ("_callbacks", "_driver", "_run")

    def __init__(self, manager: SharedContextManager, workflow_id: str, agent: Agent) -> None:
        super().__init__(manager.terms, workflow_id, agent)
        self._callbacks = manager.callbacks
        self._driver = manager.driver
        self._run = manager.driver.run

    def open(self, metadata: Mapping[str, Any] | None = None) -> WorkflowContext:
        """Make the workflow if it is absent; ``metadata`` counts only then. Raises InvalidInput, WorkflowClosed."""
        return self._run(self._open(metadata))

    def put(
        self,
        key: str,
        value: Any,
        *,
        priority: str | ContextPriority | None = None,
        scope: str | ContextScope | None = None,
        group: str | None = None,
        ttl: float | timedelta | None = None,
        pinned: bool = False,
        depends_on: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
        sensitive: bool | None = None,
        expected_version: int | None = None,
        operation_id: str | None = None,
    ) -> ContextEntry:
        """Write one entry whole. Last write wins, unless ``expected_version`` (0: absent) is given.

        ``ttl`` is in seconds. Raises VersionConflict, InvalidInput, CapacityError, QuotaExceeded,
        CircularDependencyError.
        """
        put = Put(value, priority, scope, group, ttl, pinned, depends_on, metadata, sensitive, expected_version)
        return self._run(self._put(key, put, operation_id))

    def create(
        self,
        key: str,
        value: Any,
        *,
        priority: str | ContextPriority | None = None,
        scope: str | ContextScope | None = None,
        group: str | None = None,
        ttl: float | timedelta | None = None,
        pinned: bool = False,
        depends_on: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
        sensitive: bool | None = None,
        operation_id: str | None = None,
    ) -> ContextEntry:
        """Write one entry that must not be there yet; raises EntryExists, and what `put` raises."""
        put = Put(value, priority, scope, group, ttl, pinned, depends_on, metadata, sensitive)
        return self._run(self._put(key, put, operation_id, create=True))

    def update(
        self,
        updates: Mapping[str, Any],
        *,
        merge_strategy: str = "smart_merge",
        operation_id: str | None = None,
    ) -> CommitResult:
        """Merge values into what stands there, all as one commit; concurrent updates all take effect.

        A value may be a `Put` with options of its own. Strategies: ``smart_merge``, ``replace``, ``append``,
        ``deep_merge``, ``union``, ``increment``, ``maximum``, ``minimum``, ``keep``, and registered reducers. Raises
        UnknownStrategy, VersionConflict (by a `Put` with ``expected_version``), InvalidInput, CapacityError,
        QuotaExceeded, CircularDependencyError.
        """
        return self._run(self._update(updates, merge_strategy, operation_id))

    @overload
    def get(
        self, key: str, default: None = None, *, scope: str | ContextScope | None = None,
        group: str | None = None, type: Any = None, reveal: bool = False,
    ) -> ContextEntry | None: ...  # fmt: skip

    @overload
    def get(
        self, key: str, default: T, *, scope: str | ContextScope | None = None,
        group: str | None = None, type: Any = None, reveal: bool = False,
    ) -> ContextEntry | T: ...  # fmt: skip

    def get(
        self,
        key: str,
        default: Any = None,
        *,
        scope: str | ContextScope | None = None,
        group: str | None = None,
        type: Any = None,  # noqa: A002 - as documented
        reveal: bool = False,
    ) -> Any:
        """Return the innermost entry the agent may see (private, group, workflow, global), else ``default``.

        ``scope`` and ``group`` look in one place only. A sensitive value arrives as a `Secret`, in clear with
        ``reveal=True``. With ``type``, a dataclass, pydantic model or any annotation that msgspec converts to, the
        entry's value is of that type; InvalidInput if it does not fit. Raises WorkflowNotFound, AccessDenied for a
        group that the agent is not in.
        """
        return self._run(self._get(key, default, scope, group, type, reveal=reveal))

    def __getitem__(self, key: str) -> Any:
        """Return the value that `get` finds; raises EntryNotFound."""
        return self._run(self._value(key))

    def delete(
        self,
        key: str,
        *,
        scope: str | ContextScope | None = None,
        group: str | None = None,
        expected_version: int | None = None,
        purge: bool = False,
    ) -> bool:
        """Remove one entry, where `put` would write it; False if it was not there. Raises VersionConflict.

        ``purge`` forgets its earlier values too, also of one that was deleted before.
        """
        return self._run(self._delete(key, scope, group, expected_version, purge=purge))

    def list(
        self,
        *,
        prefix: str = "",
        scope: str | ContextScope | None = None,
        limit: int = 100,
        cursor: str | None = None,
        reveal: bool = False,
    ) -> Page[ContextEntry]:
        """Return entries the agent may see, innermost scope first, then by key; at most 1,000 a page.

        Go on with ``cursor=page.next_cursor`` until that is None. Raises InvalidInput for a foreign cursor.
        """
        return self._run(self._list(prefix, scope, limit, cursor, reveal=reveal))

    def view(self, *, reveal: bool = False) -> AgentContext:
        """Return all that the agent may see and that is relevant for its type and role, at one revision."""
        return self._run(self._view(reveal=reveal))

    def at(self, revision: int, *, reveal: bool = False) -> AgentContext:
        """Return what the agent would have seen at a revision, without the global context, which has its own.

        Raises RevisionTrimmed if the log or the history of a value does not reach back so far, HistoryDiverged.
        """
        return self._run(self._at(revision, reveal=reveal))

    def history(
        self,
        key: str,
        *,
        limit: int = 20,
        scope: str | ContextScope | None = None,
        group: str | None = None,
        reveal: bool = False,
    ) -> builtins.list[ContextEntry]:
        """Return the entry's versions that are kept, newest first; also those of an entry that was deleted.

        Of several scopes the innermost that has one that the agent may see. Expired values are not among them.
        """
        return self._run(self._history(key, limit, scope, group, reveal=reveal))

    def changes(self, from_revision: int = 0, *, limit: int = 100, cursor: str | None = None) -> Page[Change]:
        """Return what has changed after a revision, oldest first, at most 1,000 a page.

        Go on with ``cursor=page.next_cursor``, or with the last change's revision once that is None. Raises
        RevisionTrimmed if the log begins later, HistoryDiverged if the revision is not part of this history.
        """
        return self._run(self._changes(from_revision, limit, cursor))

    def watch(
        self, pattern: str = "*", *, from_revision: int | str | None = None, timeout: float | None = None
    ) -> Watch:
        """Return an iterator over what changes from now on, or after ``from_revision``: each `Change`, once, in order.

        ``from_revision`` is a revision (0: all that the log has), a watch's ``cursor`` or an etag. ``pattern`` is of
        keys, as ``"rate_*"``; one that begins with ``global_`` watches the global context. What the agent may not see,
        or has not asked for, shows as `Progress` alone. It ends once nothing has come for ``timeout`` seconds, or the
        workflow is closed; after StoreUnavailable it can be gone on with. Raises RevisionTrimmed where the log does not
        reach back any more, HistoryDiverged, WorkflowNotFound, InvalidInput.
        """
        return Watch(self._driver, self, pattern, from_revision, timeout)

    def stale(self) -> builtins.list[str]:
        """Return the keys of entries that depend on one which is newer than they are."""
        return self._run(self._stale())

    def graph(self, format: str = "mermaid") -> str:  # noqa: A002 - as documented
        """Return entries, what depends on what, and who waits for what, as Mermaid or Graphviz DOT.

        What this agent may not read is not in it; at most 500 that wait are. Raises InvalidInput for another format.
        """
        return self._run(self._graph(format))

    @property
    def etag(self) -> str:
        """What tells the workflow's present state from every other one; raises WorkflowNotFound."""
        return self._run(self._etag())

    def set_agent_state(self, **state: Any) -> CommitResult:
        """Lay values over what the agent keeps for itself here; read it as ``view().agent_state``."""
        return self._run(self._set_agent_state(state))

    def transaction(self) -> TransactionContext:
        """Stage the writes of this agent to this workflow inside the block, to go out as one commit.

        Wrong input raises at once. In a task they are committed once its body has returned, before the task has ended:
        a body that raises or retries writes nothing, and one that runs again, perhaps with other keys, gets the first
        outcome. Elsewhere they are committed at the end of the block, unless that raises. Reads see what is
        committed. Entries and results are returned as of version 0, a delete as True. Several writes of a key count as
        one. Raises MixedWorkflows for the global context together with other scopes, CommitTooLarge,
        InvalidInput for ``purge``, ``operation_id`` and a version expected of what the block has written.
        """
        return TransactionContext(self, self._run)

    def when(self, condition: str | Condition) -> When:
        """Return what takes a signature to be sent once a condition holds.

        ``wf.when(all_of("revenue", "rates")).then(calculate.s())``. Raises ConditionError.
        """
        return When(self._run, self, condition)

    def wait_for(self, condition: str | Condition, *, timeout: float = 30.0) -> AgentContext:
        """Block until a condition holds, and return the view of the workflow then; woken, not polled, but on SQL.

        ``timeout`` is in seconds. A task holds its worker meanwhile: there, ``self.wait_for`` does not. Raises
        DependencyTimeout with what is missing, ConditionError, AccessDenied, WorkflowNotFound, WorkflowClosed.
        """
        return wait_for(self._driver, self, condition, timeout)

    def triggers(self) -> builtins.list[Trigger]:
        """Return this agent's triggers, the operator all, the oldest first; of those that have ended the last 100."""
        return [Trigger(self._run, *of_kept(self, kept)) for kept in self._run(load_all(self.workflow_id, self.agent))]

    def subscribe(
        self, patterns: str | Iterable[str], signature: Any, *, debounce: float = 0.0, when: Any = None
    ) -> Subscription | LocalSubscription:
        """Send a signature, any canvas, whenever others have changed keys that match, as this agent may see them.

        ``patterns`` are keys, or patterns of keys as for `at_least`. With ``debounce`` it waits until there was no
        change for so many seconds, ten times that at most. ``when`` says what has to hold besides:
        ``changed_by(0.01)``, a condition, or a function of a module, ``(cause, view) -> bool``; one that raises sets
        the subscription aside. The agent's own changes do not count. A task finds the keys in ``self.cause``. At most
        50 an agent and workflow; they end with the workflow.

        A function in the place of the signature is called as ``(workflow_id, updating_agent_id, key)``, in a thread of
        this process and as long as that lives; ``debounce`` and ``when`` go with a signature.

        Raises InvalidInput, InvalidName, InvalidDuration, AccessDenied for a key that the agent may not read,
        WorkflowNotFound, WorkflowClosed, CapacityError, ConfigurationError outside a Celery app.
        """
        if is_local(signature):
            return self._callbacks.subscribe(self, checked_local(self, patterns, debounce, when), signature)
        return Subscription(self._run, *self._run(subscribe(self, patterns, signature, debounce, when)))

    def subscriptions(self) -> builtins.list[Subscription]:
        """Return this agent's subscriptions, the operator all, the oldest first, and those that ended lately."""
        found = self._run(load_subscriptions(self.workflow_id, self.agent))
        return [Subscription(self._run, *of_subscription(self, each)) for each in found]

    def notifications(self) -> builtins.list[Notification]:
        """Return what this agent's subscriptions have told of, the newest first: the last hundred."""
        return self._run(notifications(self.terms, self.workflow_id, self.agent))

    def close(self) -> None:
        """Refuse further writes; triggers are called off, parked tasks fail with WorkflowClosed.

        Reads go on until the horizon has passed.
        """
        self._run(self._close())

    def remove(self) -> None:
        """Remove the workflow and all in it, history and log too; of one that is not there nothing.

        ``open`` then makes another one of this name.
        """
        self._run(self._remove())

    def on_commit(self, *, using: str | None = None) -> AfterCommit:
        """Return what does this handle's writes once the surrounding Django transaction has committed.

        They are lost if it rolls back. ``using`` names the database, as for Django. Raises ConfigurationError
        without Django.
        """
        return AfterCommit(self, using)


class TransactionContext(TransactionBlock):
    """See `WorkflowHandle.transaction`."""

    def __init__(self, handle: WorkflowHandle, run: Callable[[Flow[CommitResult | None]], CommitResult | None]) -> None:
        super().__init__(handle)
        self._run = run

    def __enter__(self) -> Transaction:
        return self._begin()

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        flow = self._end(error)
        if flow is not None:
            self._run(flow)
