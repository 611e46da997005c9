"""What the blocking and the async face have in common: everything but how a flow is carried out."""

from __future__ import annotations

import asyncio
import contextvars
import os
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Self, TypeVar

from ctxqueue import codec
from ctxqueue.errors import ConfigurationError, EntryNotFound, InvalidInput, ValueTooLarge, WorkflowExists
from ctxqueue.flows import ending, erasing, histories, inbox, reading, states, sweeping, updating, viewing, writing
from ctxqueue.flows.terms import Terms
from ctxqueue.identity import WorkflowRef, current_workflow
from ctxqueue.models import OPERATOR, Agent, checked_name
from ctxqueue.rules.graph import stale
from ctxqueue.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextvars import Context, Token

    from ctxqueue.effects import Flow
    from ctxqueue.models import (
        Change,
        CommitResult,
        ContextEntry,
        ContextScope,
        DeadLetter,
        EraseReport,
        Page,
        Put,
        SweepReport,
        WorkflowContext,
    )
    from ctxqueue.rules.visibility import ContextFilterRegistry
    from ctxqueue.stores.base import AsyncStore, Store
    from ctxqueue.views import AgentContext

S = TypeVar("S")

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


def namespace_and_settings(config: Mapping[str, Any] | None) -> tuple[str, Settings]:
    """Read a manager's ``config``: ``namespace`` and the fields of `Settings`; raises ConfigurationError."""
    if config is not None and not isinstance(config, Mapping):
        raise ConfigurationError(f"config is a {type(config).__name__}: give a mapping of settings")
    options = dict(config or {})
    namespace = options.pop("namespace", "default")
    try:
        return namespace, Settings(**options)
    except TypeError as error:
        raise ConfigurationError(f"config: {error}") from None


current_handle: ContextVar[Callable[[bool], Handle] | None] = ContextVar("ctxqueue_handle", default=None)
"""Makes the handle of the running task, or gives that of the ``with`` block; told whether an event loop runs here."""


def current() -> Any:
    """Return the running task's hold on its workflow, or that of the ``with wf:`` around; in a coroutine the async one.

    Raises ConfigurationError outside both. For tools that are called without one, in threads with `copy_context`.
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
    if getattr(store, "wait_replicas", None) is None:
        raise ConfigurationError(
            f"ctxqueue_wait_replicas is {replicas}, but the store at {store.where} does not wait for replicas:"
            " redis:// and sentinel:// do"
        )
    store.wait_replicas = replicas


class Manager:
    """Everything of one namespace in one store."""

    terms: Terms

    def _set_terms(self, store: Store | AsyncStore, namespace: str, settings: Settings) -> None:
        if settings.wait_replicas:
            _wait_for_replicas(store, settings.wait_replicas)
        self.terms = Terms(namespace, store.shards, store.shard_of, settings)

    @property
    def context_filters(self) -> ContextFilterRegistry:
        """What is relevant for which agent type and role; add your own to it."""
        return self.terms.filters

    def _create(self, workflow_id: str, initial_data: Mapping[str, Any] | None) -> Flow[WorkflowContext]:
        checked_name(workflow_id, "workflow_id")
        made, context = yield from ending.open_workflow(self.terms, workflow_id, packed_metadata(initial_data))
        if not made:
            raise WorkflowExists(f"workflow {workflow_id!r} exists: use workflow({workflow_id!r})")
        return context

    def _sweep(self, limit: int) -> Flow[SweepReport]:
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
            raise InvalidInput(f"limit is {limit!r}: give a whole number above 0")
        return (yield from sweeping.sweep(self.terms, limit))

    def _dead_letters(self, workflow_id: str, limit: int, cursor: str | None) -> Flow[Page[DeadLetter]]:
        return inbox.dead_letters(workflow_id, limit, cursor)

    def _revive(self, letter_id: str, *, drop: bool) -> Flow[bool]:
        return inbox.revive(letter_id, drop=drop)

    def _erase(self, agent_id: str | None, user_id: str | None) -> Flow[EraseReport]:
        return erasing.erase(self.terms, erasing.Subject(agent_id, user_id))


def agent_of(agent_id: str | None, agent_type: str | None, agent_role: str | None, groups: Sequence[str]) -> Agent:
    """Return the agent that was named, the operator if none was; raises InvalidName, InvalidInput."""
    if agent_id is None:
        if agent_type is not None or agent_role is not None or groups:
            raise InvalidInput("agent_type, agent_role and groups go with an agent_id")
        return OPERATOR
    if isinstance(groups, str) or not isinstance(groups, Iterable):
        raise InvalidInput(f"groups is {groups!r:.60}: give a list of groups")
    return Agent(agent_id, agent_type or "", agent_role, tuple(groups))


def named(agent_id: str) -> str:
    """Return the id of an agent that must be named; raises InvalidName: None would be the operator."""
    return checked_name(agent_id, "agent_id")


class Handle:
    """One agent's hold on one workflow."""

    __slots__ = ("_terms", "_tokens", "agent", "workflow_id")

    def __init__(self, terms: Terms, workflow_id: str, agent: Agent) -> None:
        self._terms = terms
        self._tokens: list[tuple[Token[WorkflowRef | None], Token[Callable[[bool], Handle] | None]]] = []
        self.workflow_id = checked_name(workflow_id, "workflow_id")
        self.agent = agent

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.workflow_id!r} as {self.agent.agent_id!r}>"

    def __enter__(self) -> Self:
        """Make it the workflow of all messages published inside."""
        reference = WorkflowRef(self._terms.namespace, self.workflow_id, self.agent)
        self._tokens.append((current_workflow.set(reference), current_handle.set(lambda _in_loop: self)))
        return self

    def __exit__(self, *_exc: object) -> None:
        workflow, handle = self._tokens.pop()
        current_workflow.reset(workflow)
        current_handle.reset(handle)

    @property
    def terms(self) -> Terms:
        """What its manager's flows go by."""
        return self._terms

    def _open(self, metadata: Mapping[str, Any] | None) -> Flow[WorkflowContext]:
        _, context = yield from ending.open_workflow(self._terms, self.workflow_id, packed_metadata(metadata))
        return context

    def _put(self, key: str, put: Put, operation_id: str | None, *, create: bool = False) -> Flow[ContextEntry]:
        return writing.put(
            self._terms, self.workflow_id, self.agent, key, put, operation_id=operation_id, create=create
        )

    def _update(self, updates: Mapping[str, Any], merge_strategy: str, operation_id: str | None) -> Flow[CommitResult]:
        return updating.update(self._terms, self.workflow_id, self.agent, updates, merge_strategy, operation_id)

    def _get(
        self, key: str, default: Any, scope: str | ContextScope | None, group: str | None, *, reveal: bool
    ) -> Flow[Any]:
        entry = yield from reading.get(self.workflow_id, self.agent, key, scope, group, reveal=reveal)
        return default if entry is None else entry

    def _value(self, key: str) -> Flow[Any]:
        entry = yield from reading.get(self.workflow_id, self.agent, key)
        if entry is None:
            raise EntryNotFound(
                f"workflow {self.workflow_id!r} has no entry {key!r} that {self.agent.agent_id} may read"
            )
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
        address = writing.target(self.agent, key, scope, group)
        return writing.delete(
            self._terms, self.workflow_id, self.agent, address, expected_version=expected_version, purge=purge
        )

    def _list(
        self, prefix: str, scope: str | ContextScope | None, limit: int, cursor: str | None, *, reveal: bool
    ) -> Flow[Page[ContextEntry]]:
        return reading.list_entries(self.workflow_id, self.agent, prefix, scope, limit, cursor, reveal=reveal)

    def _view(self, *, reveal: bool) -> Flow[AgentContext]:
        return viewing.view(self._terms, self.workflow_id, self.agent, reveal=reveal)

    def _at(self, revision: int, *, reveal: bool) -> Flow[AgentContext]:
        return histories.at(self._terms, self.workflow_id, self.agent, revision, reveal=reveal)

    def _history(
        self, key: str, limit: int, scope: str | ContextScope | None, group: str | None, *, reveal: bool
    ) -> Flow[list[ContextEntry]]:
        return histories.history(self.workflow_id, self.agent, key, limit, scope, group, reveal=reveal)

    def _changes(self, from_revision: int, limit: int, cursor: str | None) -> Flow[Page[Change]]:
        return histories.changes(self.workflow_id, self.agent, from_revision, limit, cursor)

    def _stale(self) -> Flow[list[str]]:
        view = yield from viewing.view(self._terms, self.workflow_id, self.agent)
        return stale(view.readable())

    def _etag(self) -> Flow[str]:
        return reading.etag(self.workflow_id)

    def _set_agent_state(self, state: Mapping[str, Any]) -> Flow[CommitResult]:
        return states.set_agent_state(self._terms, self.workflow_id, self.agent, state)

    def _close(self) -> Flow[None]:
        return ending.close(self._terms, self.workflow_id)

    def _remove(self) -> Flow[None]:
        yield from ending.remove(self._terms, self.workflow_id)


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
