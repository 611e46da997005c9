"""What the blocking and the async face have in common: everything but how a flow is carried out.

One method for each of theirs, which checks what was given and chooses the flow: so the two cannot differ. As long as
the faces have methods.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypedDict, TypeVar

from ctxqueue import binding, codec, typed
from ctxqueue.errors import (
    ConfigurationError,
    EntryNotFound,
    IdentityMismatch,
    InvalidInput,
    InvalidName,
    ValueTooLarge,
    WorkflowExists,
)
from ctxqueue.flows import (
    audit_log,
    auditing,
    drawing,
    ending,
    erasing,
    histories,
    inbox,
    noting,
    parked,
    reading,
    states,
    surveying,
    sweeping,
    updating,
    viewing,
    writing,
)
from ctxqueue.flows.staging import Step
from ctxqueue.flows.terms import Terms
from ctxqueue.flows.transactions import Transaction, staged, staging
from ctxqueue.flows.transactions import current as open_transactions
from ctxqueue.identity import (
    WorkflowRef,
    current_attempt,
    current_workflow,
    declared_agent,
    note_read,
    staged_eagerly,
)
from ctxqueue.keyring import keyring_of
from ctxqueue.models import OPERATOR, Agent, CommitResult, Page, Put, checked_name
from ctxqueue.records import Stamp, decode_entry, encode_record
from ctxqueue.remembered import Reader
from ctxqueue.rules.graph import stale
from ctxqueue.rules.guards import Guards
from ctxqueue.rules.policies import policy_of
from ctxqueue.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextvars import Context, Token
    from datetime import datetime

    from ctxqueue.audited import AuditRecord
    from ctxqueue.effects import Flow
    from ctxqueue.models import (
        Backlog,
        Change,
        ContextEntry,
        ContextScope,
        DeadLetter,
        EraseReport,
        ParkedTask,
        RotationReport,
        SweepReport,
        WorkflowContext,
        WorkflowSummary,
    )
    from ctxqueue.rules.policy import Policy
    from ctxqueue.rules.visibility import ContextFilterRegistry
    from ctxqueue.stores.base import AsyncStore, Store
    from ctxqueue.views import AgentContext

S = TypeVar("S")
T = TypeVar("T")

MAX_METADATA = 64 * 1024
"""Bytes of a workflow's own metadata."""

ENVIRONMENT_URL = "CTXQUEUE_BACKEND_URL"


def resolved_url(given: str | None) -> str:
    """Return the given URL, else the environment's; raises ConfigurationError if there is none."""
    url = given or os.environ.get(ENVIRONMENT_URL)
    if not url:
        raise ConfigurationError(f"no backend URL: give connect('redis://...') or set {ENVIRONMENT_URL}")
    return url


def opened(storage_or_url: Any, namespace: str, open_by_url: Callable[[str, str], S]) -> S:
    """Return the store that was given, or the one that a URL names; raises ConfigurationError for anything else."""
    if isinstance(storage_or_url, str):
        return open_by_url(storage_or_url, namespace)
    inner = getattr(storage_or_url, "store", storage_or_url)  # a ContextStorage stands on a store
    if not hasattr(inner, "perform"):
        raise ConfigurationError(
            f"the storage is a {type(storage_or_url).__name__}: give a URL, a ContextStorage or an open store"
        )
    if inner is not storage_or_url and storage_or_url.namespace != namespace:
        raise ConfigurationError(
            f"the storage has namespace {storage_or_url.namespace!r}, the manager {namespace!r}: give both the same"
        )
    store: S = inner
    return store


def sealed(store: S, config: Mapping[str, Any] | None, namespace: str, *, asynchronous: bool = False) -> S:
    """Return a store that encrypts with the ``keyring`` of a manager's config, if it has one.

    One that does so already goes on with its own. Raises ConfigurationError.
    """
    keyring = keyring_of((config or {}).get("keyring"))
    if keyring is None or hasattr(store, "sealing"):
        return store
    from ctxqueue.stores.sealed import AsyncSealedStore, SealedStore  # noqa: PLC0415 - only who has keys needs it

    kind: Any = AsyncSealedStore if asynchronous else SealedStore
    laid_over: S = kind(store, keyring, namespace)
    return laid_over


def namespace_and_settings(config: Mapping[str, Any] | None) -> tuple[str, Settings]:
    """Read a manager's ``config``, but for its keyring and policy: ``namespace`` and the fields of `Settings`.

    Raises ConfigurationError.
    """
    if config is not None and not isinstance(config, Mapping):
        raise ConfigurationError(f"config is a {type(config).__name__}: give a mapping of settings")
    options = dict(config or {})
    namespace = options.pop("namespace", "default")
    options.pop("keyring", None)
    options.pop("policy", None)
    try:
        return namespace, Settings(**options)
    except TypeError as error:
        raise ConfigurationError(f"config: {error}") from None


current_handle: ContextVar[Callable[[bool], Handle] | None] = ContextVar("ctxqueue_handle", default=None)
"""Makes the handle of the running task, or gives that of the ``with`` block; told whether an event loop runs here."""


_entered: ContextVar[tuple[tuple[Token[WorkflowRef | None], Token[Callable[[bool], Handle] | None]], ...]] = ContextVar(
    "ctxqueue_entered", default=()
)
"""What ends the ``with`` blocks that are open here, the innermost last."""


def current() -> Any:
    """Return the running task's hold on its workflow, or that of the ``with wf:`` around; in a coroutine the async one.

    A task under `claimed` has no agent: there it is the operator's, as ``ctx.workflow(id)`` is. Raises
    ConfigurationError outside both. For tools that are called without one, in threads with `copy_context`.
    """
    make = current_handle.get()
    if make is None:
        raise ConfigurationError(
            "there is no current workflow: this is neither a task that was published inside 'with ctx.workflow(id):'"
            " nor such a block, or a thread that was started without ctxqueue.copy_context().run"
        )
    return make(asyncio._get_running_loop() is not None)  # noqa: SLF001 - get_running_loop() raises


def copy_context() -> Context:
    """Return what `current` and the identity of calls go by, to be entered in one other thread.

    ``executor.submit(ctxqueue.copy_context().run, tool, argument)``: its calls then count as the task's. Tools that
    write the same keys at the same time each give an ``operation_id``, lest a task that runs again mixes them up.
    """
    return contextvars.copy_context()


def _wait_for_replicas(store: Any, replicas: int) -> None:
    store = getattr(store, "inner", store)
    if getattr(store, "wait_replicas", None) is None:
        raise ConfigurationError(
            f"ctxqueue_wait_replicas is {replicas}, but the store at {store.where} does not wait for replicas:"
            " redis:// and sentinel:// do"
        )
    store.wait_replicas = replicas


class Identity(TypedDict):
    """An agent, as `Manager.workflow` is told of one."""

    agent_id: str
    agent_type: str | None
    agent_role: str | None
    groups: tuple[str, ...]


class Manager:
    """Everything of one namespace in one store."""

    terms: Terms

    def _set_terms(
        self, store: Store | AsyncStore, namespace: str, settings: Settings, config: Mapping[str, Any] | None = None
    ) -> None:
        if settings.wait_replicas:
            _wait_for_replicas(store, settings.wait_replicas)
        given = (config or {}).get("policy")
        policy = policy_of(given)
        guards = Guards(policy.guards)
        self.terms = Terms(namespace, store.shards, store.shard_of, settings, policy=policy, guards=guards)
        self.terms.policy_source = str(given) if isinstance(given, str | Path) else ""
        sealing = getattr(store, "sealing", None)
        self.terms.merges_in_store = sealing is None or not sealing.all

    @property
    def context_filters(self) -> ContextFilterRegistry:
        """What is relevant for which agent type and role; add your own to it."""
        return self.terms.filters

    @property
    def guards(self) -> Guards:
        """What is asked of writes; add your own to it. With a Celery app: `ContextQueue.guards`, which forks keep."""
        return self.terms.guards

    def _create(self, workflow_id: str, initial_data: Mapping[str, Any] | None) -> Flow[WorkflowContext]:
        checked_name(workflow_id, "workflow_id")
        made, context = yield from ending.open_workflow(self.terms, workflow_id, packed_metadata(initial_data))
        if not made:
            raise WorkflowExists(f"workflow {workflow_id!r} exists: use workflow({workflow_id!r})")
        return context

    def _sweep(self, limit: int) -> Flow[SweepReport]:
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
            raise InvalidInput(f"limit is {limit!r}: give a whole number above 0")
        yield from audit_log.trim_some(self.terms)
        return (yield from sweeping.sweep(self.terms, limit))

    def check_operator(self) -> None:
        """Raise IdentityMismatch inside an agent's task: what follows shows, or does, more than an agent may."""
        acting_on_record(self.terms, None, None, None, ())

    def _dead_letters(self, workflow_id: str, limit: int, cursor: str | None) -> Flow[Page[DeadLetter]]:
        self.check_operator()
        return inbox.dead_letters(workflow_id, limit, cursor)

    def _revive(self, letter_id: str, *, drop: bool) -> Flow[bool]:
        self.check_operator()
        return inbox.revive(letter_id, drop=drop)

    def _summary(self, workflow_id: str) -> Flow[WorkflowSummary]:
        self.check_operator()
        return surveying.summary(workflow_id)

    def _backlog(self) -> Flow[Backlog]:
        return surveying.backlog(self.terms)

    def _workflows(self, prefix: str, limit: int, cursor: str | None) -> Flow[Page[WorkflowSummary]]:
        self.check_operator()
        return surveying.workflows(self.terms, prefix, limit, cursor)

    def _parked(self, workflow_id: str, limit: int, cursor: str | None) -> Flow[Page[ParkedTask]]:
        self.check_operator()
        page = yield from parked.parked(workflow_id, limit, cursor)
        return Page(tuple(task for task, _ in page), page.next_cursor)

    def _rotation(self, store: Any) -> Flow[RotationReport]:
        """Return what is to be carried out on the store beneath the encryption."""
        if not hasattr(store, "sealing"):
            raise ConfigurationError("this manager has no keyring: there are no keys to rotate")
        from ctxqueue.stores.rotating import Rotation  # noqa: PLC0415 - only who has keys needs it

        return Rotation(store.sealing, store.shards).run()

    def _unread(self, workflow_id: str, limit: int, cursor: str | None) -> Flow[Page[ContextEntry]]:
        self.check_operator()
        return noting.unread(self.terms, workflow_id, limit, cursor)

    def _audit(
        self, since: datetime | None, until: datetime | None, limit: int, cursor: str | None
    ) -> Flow[Page[AuditRecord]]:
        self.check_operator()
        return audit_log.page(self.terms, since, until, limit, cursor)

    def _audit_gone(self) -> Flow[int | None]:
        self.check_operator()
        return audit_log.gone(self.terms)

    def _policy_noted(self) -> Flow[None]:
        return auditing.note_policy(self.terms)

    def _erase(self, agent_id: str | None, user_id: str | None, namespace: str | None) -> Flow[EraseReport]:
        self.check_operator()
        if namespace not in (None, self.terms.namespace):
            raise InvalidInput(f"this manager is that of namespace {self.terms.namespace!r}, not of {namespace!r:.60}")
        return erasing.erase(self.terms, erasing.Subject(agent_id, user_id, everything=namespace is not None))


def agent_of(agent_id: str | None, agent_type: str | None, agent_role: str | None, groups: Sequence[str]) -> Agent:
    """Return the agent that was named, the operator if none was; raises InvalidName, InvalidInput."""
    if agent_id is None:
        if agent_type is not None or agent_role is not None or groups:
            raise InvalidInput("agent_type, agent_role and groups go with an agent_id")
        return OPERATOR
    if isinstance(groups, str) or not isinstance(groups, Iterable):
        raise InvalidInput(f"groups is {groups!r:.60}: give a list of groups")
    return Agent(agent_id, agent_type or "", agent_role, tuple(groups))


def acting_on_record(
    terms: Terms, agent_id: str | None, agent_type: str | None, agent_role: str | None, groups: Sequence[str]
) -> Agent:
    """Do as `acting` does, and record who tried to act as somebody else."""
    try:
        return acting(terms.policy, agent_id, agent_type, agent_role, groups)
    except IdentityMismatch as error:
        auditing.tell(terms, "", declared_agent.get() or OPERATOR, error)
        raise


def acting(
    policy: Policy, agent_id: str | None, agent_type: str | None, agent_role: str | None, groups: Sequence[str]
) -> Agent:
    """Return the agent that was named; inside a task the one that it was declared for, or one that a grant allows.

    Raises what `agent_of` raises, IdentityMismatch.
    """
    wanted, declared = agent_of(agent_id, agent_type, agent_role, groups), declared_agent.get()
    if declared is None or wanted == declared:
        return wanted
    if (
        agent_id == declared.agent_id
        and agent_type in (None, declared.agent_type)
        and agent_role in (None, declared.agent_role)
        and set(wanted.groups) <= set(declared.groups)
    ):
        return declared
    if policy.may_act_as(declared, wanted):
        return wanted
    role = f" in role {wanted.agent_role!r}" if wanted.agent_role else ""
    who = "the operator: name the task's own agent" if wanted.is_operator else f"{wanted.agent_id!r}{role}"
    raise IdentityMismatch(
        f"a task of agent {declared.agent_id!r} may not act as {who}, or let the policy grant it by [[act_as]]"
    )


def remembering_as(policy: Policy, agent_id: str | Agent | None, user_id: str | None) -> Reader:
    """Return who remembers or recalls. Inside a task it is the agent that this was declared for, if none is named.

    Raises InvalidName, and inside a task IdentityMismatch as `acting` does.
    """
    declared = declared_agent.get()
    if declared is not None and agent_id is None and user_id is None and not policy.may_act_as(declared, OPERATOR):
        return Reader(declared.agent_id, None, declared)
    if agent_id is None:
        return Reader.checked(None, user_id)._replace(agent=declared)
    agent = acting(policy, **whom(agent_id))
    return Reader.checked(agent.agent_id, user_id)._replace(agent=agent)


def named(agent_id: str) -> str:
    """Return the id of an agent that must be named; raises InvalidName: None would be the operator."""
    return checked_name(agent_id, "agent_id")


def whom(agent_id: str | Agent, agent_role: str | None = None) -> Identity:
    """Return how `Manager.workflow` is told of an agent that must be named: by its id, or as a whole `Agent`.

    Raises InvalidName, and InvalidInput for a role besides that of an `Agent`.
    """
    if not isinstance(agent_id, Agent):
        return {"agent_id": named(agent_id), "agent_type": None, "agent_role": agent_role, "groups": ()}
    if agent_id.is_operator:
        raise InvalidName("the operator is no agent: name one")
    if agent_role not in (None, agent_id.agent_role):
        raise InvalidInput(f"agent_role is {agent_role!r:.60}, and the Agent has {agent_id.agent_role!r}: give one")
    return {
        "agent_id": agent_id.agent_id,
        "agent_type": agent_id.agent_type,
        "agent_role": agent_id.agent_role,
        "groups": agent_id.groups,
    }


class Handle:
    """One agent's hold on one workflow."""

    __slots__ = ("_terms", "agent", "workflow_id")

    def __init__(self, terms: Terms, workflow_id: str, agent: Agent) -> None:
        self._terms = terms
        self.workflow_id = checked_name(workflow_id, "workflow_id")
        self.agent = agent

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.workflow_id!r} as {self.agent.agent_id!r}>"

    def __enter__(self) -> Self:
        """Make it the workflow of all messages published inside."""
        reference = WorkflowRef(self._terms.namespace, self.workflow_id, self.agent)
        tokens = current_workflow.set(reference), current_handle.set(lambda _in_loop: self)
        _entered.set((*_entered.get(), tokens))
        return self

    def __exit__(self, *_exc: object) -> None:
        *outer, (workflow, handle) = _entered.get()
        _entered.set(tuple(outer))
        current_workflow.reset(workflow)
        current_handle.reset(handle)

    def bind(self, canvas: Any) -> Any:
        """Return a copy of a signature or canvas that belongs to this workflow, wherever it is published.

        ``with handle:`` binds what is published inside; this is for a canvas that others publish, or one of several
        in one group. ``headers=`` given to its ``apply_async`` replaces all headers of a signature, these too, as
        Celery has it. Raises InvalidInput for what is no signature.
        """
        return binding.bound(canvas, self.workflow_id, self._terms.namespace)

    @property
    def terms(self) -> Terms:
        """What its manager's flows go by."""
        return self._terms

    def _open(self, metadata: Mapping[str, Any] | None) -> Flow[WorkflowContext]:
        _, context = yield from ending.open_workflow(self._terms, self.workflow_id, packed_metadata(metadata))
        return context

    def _told(self, make: Callable[[], Flow[T]]) -> Flow[T]:
        """Carry out a flow, and record what its errors deny, or show."""
        return auditing.told(self._terms, self.workflow_id, self.agent, make)

    def _put(self, key: str, put: Put, operation_id: str | None, *, create: bool = False) -> Flow[ContextEntry]:
        return (yield from self._told(lambda: self._put_it(key, put, operation_id, create=create)))

    def _put_it(self, key: str, put: Put, operation_id: str | None, *, create: bool) -> Flow[ContextEntry]:
        staging = self._staging(operation_id)
        if staging is not None:
            step = Step("create" if create else "put", writing.checked(self._terms, self.agent, key, put))
            return staged(staging, _not_yet(self._terms.policy, self.agent, step), step)
        return writing.put(
            self._terms, self.workflow_id, self.agent, key, put, operation_id=operation_id, create=create
        )

    def _update(self, updates: Mapping[str, Any], merge_strategy: str, operation_id: str | None) -> Flow[CommitResult]:
        return (yield from self._told(lambda: self._update_it(updates, merge_strategy, operation_id)))

    def _update_it(
        self, updates: Mapping[str, Any], merge_strategy: str, operation_id: str | None
    ) -> Flow[CommitResult]:
        staging = self._staging(operation_id)
        if staging is not None:
            changes = updating.checked_changes(self._terms, self.workflow_id, self.agent, updates, merge_strategy)
            steps = [Step("update", change, merge_strategy) for change in changes]
            return staged(staging, _staged_result([change.address.key for change in changes]), *steps)
        return updating.update(self._terms, self.workflow_id, self.agent, updates, merge_strategy, operation_id)

    def _get(
        self, key: str, default: Any, scope: str | ContextScope | None, group: str | None, kind: Any, *, reveal: bool
    ) -> Flow[Any]:
        place = self._terms, self.workflow_id, self.agent
        entry = yield from self._told(lambda: reading.get(*place, key, scope, group, reveal=reveal))
        if entry is None:
            return default
        note_read(self.workflow_id, entry)
        return entry if kind is None else typed.as_type(entry, kind)

    def _value(self, key: str) -> Flow[Any]:
        entry = yield from reading.get(self._terms, self.workflow_id, self.agent, key)
        if entry is None:
            raise EntryNotFound(
                f"workflow {self.workflow_id!r} has no entry {key!r} that {self.agent.agent_id} may read"
            )
        note_read(self.workflow_id, entry)
        return entry.value

    def _delete(
        self,
        key: str,
        scope: str | ContextScope | None,
        group: str | None,
        expected_version: int | None,
        *,
        purge: bool,
    ) -> Flow[bool]:
        return (yield from self._told(lambda: self._delete_it(key, scope, group, expected_version, purge=purge)))

    def _delete_it(
        self,
        key: str,
        scope: str | ContextScope | None,
        group: str | None,
        expected_version: int | None,
        *,
        purge: bool,
    ) -> Flow[bool]:
        address = writing.deleted(self._terms, self.workflow_id, self.agent, key, scope, group)
        staging = self._staging()
        if staging is not None:
            if purge:
                raise InvalidInput(f"purge of {key!r} is final at once: call it outside the transaction")
            change = writing.checked_at(self._terms, address, Put(None, expected_version=expected_version))
            return staged(staging, True, Step("delete", change))  # noqa: FBT003 - what delete answers
        return writing.delete(
            self._terms, self.workflow_id, self.agent, address, expected_version=expected_version, purge=purge
        )

    def _list(
        self, prefix: str, scope: str | ContextScope | None, limit: int, cursor: str | None, *, reveal: bool
    ) -> Flow[Page[ContextEntry]]:
        page = yield from reading.list_entries(
            self._terms, self.workflow_id, self.agent, prefix, scope, limit, cursor, reveal=reveal
        )
        for entry in page:
            note_read(self.workflow_id, entry)
        return page

    def _view(self, *, reveal: bool) -> Flow[AgentContext]:
        return viewing.view(self._terms, self.workflow_id, self.agent, reveal=reveal)

    def _at(self, revision: int, *, reveal: bool) -> Flow[AgentContext]:
        return histories.at(self._terms, self.workflow_id, self.agent, revision, reveal=reveal)

    def _history(
        self, key: str, limit: int, scope: str | ContextScope | None, group: str | None, *, reveal: bool
    ) -> Flow[list[ContextEntry]]:
        place = self._terms, self.workflow_id, self.agent
        return (yield from self._told(lambda: histories.history(*place, key, limit, scope, group, reveal=reveal)))

    def _changes(self, from_revision: int, limit: int, cursor: str | None) -> Flow[Page[Change]]:
        return histories.changes(self._terms, self.workflow_id, self.agent, from_revision, limit, cursor)

    def _stale(self) -> Flow[list[str]]:
        view = yield from viewing.look(self._terms, self.workflow_id, self.agent)
        return stale(view.readable())

    def _graph(self, form: str) -> Flow[str]:
        return drawing.graph(self._terms, self.workflow_id, self.agent, form)

    def _etag(self) -> Flow[str]:
        return reading.etag(self.workflow_id)

    def _set_agent_state(self, state: Mapping[str, Any]) -> Flow[CommitResult]:
        return (yield from self._told(lambda: self._set_it(state)))

    def _set_it(self, state: Mapping[str, Any]) -> Flow[CommitResult]:
        staging = self._staging()
        if staging is not None:
            step = Step("update", states.state_change(self._terms, self.agent, state), states.MERGE)
            return staged(staging, _staged_result([step.change.address.key]), step)
        return states.set_agent_state(self._terms, self.workflow_id, self.agent, state)

    def _staging(self, operation_id: str | None = None) -> Transaction | None:
        """Return the open transaction that takes this handle's writes."""
        transaction = staging(self._terms, self.workflow_id, self.agent)
        if transaction is not None and operation_id is not None:
            raise InvalidInput("a write in a transaction has no operation_id: the transaction is one call")
        return transaction

    def _close(self) -> Flow[None]:
        return ending.close(self._terms, self.workflow_id)

    def _remove(self) -> Flow[None]:
        yield from ending.remove(self._terms, self.workflow_id)


class TransactionBlock:
    """A ``with`` block in which the writes of a handle are staged; what it yields has ``result`` once committed."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._transaction = Transaction(handle._terms, handle.workflow_id, handle.agent)  # noqa: SLF001 - its own
        self._token: Token[tuple[Transaction, ...]] | None = None

    def _begin(self) -> Transaction:
        if self._token is not None:
            raise InvalidInput("a transaction has one block: make another transaction()")
        handle = self._handle
        if staging(handle._terms, handle.workflow_id, handle.agent) is not None:  # noqa: SLF001 - its own
            raise InvalidInput(f"a transaction in workflow {handle.workflow_id!r} is open already: its block goes on")
        self._token = open_transactions.set((*open_transactions.get(), self._transaction))
        return self._transaction

    def _end(self, error: BaseException | None) -> Flow[CommitResult | None] | None:
        """Return what commits it, if that is now; in a task it is the task's end."""
        if self._token is not None:
            open_transactions.reset(self._token)
        attempt, staged = current_attempt.get(), staged_eagerly.get()
        if attempt is not None and staged is None:
            staged = attempt.staged
        if error is not None:
            self._transaction.drop()
        if staged is not None:
            staged.append(self._transaction)
            return None
        return self._transaction.commit()


def _staged_result(keys: list[str]) -> CommitResult:
    return CommitResult(0, dict.fromkeys(keys, 0), replayed=False, attempts=0, fired=0)


def _not_yet(policy: Policy, agent: Agent, step: Step) -> ContextEntry:
    """Return an entry as it is staged: at version 0, of revision 0."""
    change = step.change
    what = writing.described(policy, agent, change)
    stamp = Stamp(0, bytes(8))
    record = encode_record(stamp, 0, 0, 0, agent.agent_id.encode(), what.meta, change.packed)
    return decode_entry(change.address, record)


def packed_metadata(metadata: Mapping[str, Any] | None) -> bytes:
    """Return a workflow's metadata as it is stored; raises InvalidInput unless it is a mapping."""
    if metadata is None:
        return b""
    if not isinstance(metadata, Mapping):
        raise InvalidInput(f"metadata is a {type(metadata).__name__}: give a mapping")
    packed = codec.pack(dict(metadata))
    if len(packed) > MAX_METADATA:
        raise ValueTooLarge(f"metadata of a workflow takes {len(packed)} bytes: at most {MAX_METADATA}; use entries")
    return packed
