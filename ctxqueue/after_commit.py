"""Writes that wait for Django's transaction: they run once it has committed, and are lost with it if it rolls back."""

from __future__ import annotations

from copy import deepcopy
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from msgspec import structs

from ctxqueue import codec
from ctxqueue.errors import ConfigurationError
from ctxqueue.flows import updating, writing
from ctxqueue.models import Put

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import timedelta

    from ctxqueue.context import WorkflowHandle
    from ctxqueue.models import ContextPriority, ContextScope


def on_commit_of(using: str | None) -> Callable[[Callable[[], object]], None]:
    """Return what defers a call until Django's transaction has committed; raises ConfigurationError."""
    try:
        transaction = import_module("django.db.transaction")
    except ImportError as error:
        raise ConfigurationError(
            "on_commit() waits for Django's transaction, and Django is not installed: pip install django"
        ) from error
    return partial(_deferred, transaction.on_commit, using)


def _deferred(on_commit: Callable[..., None], using: str | None, call: Callable[[], object]) -> None:
    on_commit(call, using=using)


def _as_it_is(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is given as it is now: its caller may go on to change it before the commit."""
    return {name: _copied(value) for name, value in given.items()}


def _copied(value: Any) -> Any:
    if isinstance(value, Put):
        return structs.replace(value, value=_copied(value.value))
    try:
        return deepcopy(value)
    except Exception:  # noqa: BLE001 - an object may refuse as it likes, one with a lock by a TypeError
        return codec.unpack(codec.pack(value))


class AfterCommit:
    """The writes of a handle, each deferred until the surrounding transaction has committed; in order.

    They return nothing, for nothing has been written yet; values are taken as they are at the call. What is wrong with
    the input is raised at once; what the store refuses is raised by Django's commit, as from any
    ``transaction.on_commit`` callback. Without a transaction they run at once. A process that dies between Django's
    commit and these writes has lost them: for what must not be lost, enqueue the update inside a table of your own, or
    write it by a task that can be retried.
    """

    __slots__ = ("_defer", "_handle")

    def __init__(self, handle: WorkflowHandle, using: str | None) -> None:
        self._handle = handle
        self._defer = on_commit_of(using)

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
    ) -> None:
        """Do `WorkflowHandle.put` after the commit."""
        options: dict[str, Any] = {
            "priority": priority,
            "scope": scope,
            "group": group,
            "ttl": ttl,
            "pinned": pinned,
            "depends_on": depends_on,
            "metadata": metadata,
            "sensitive": sensitive,
            "expected_version": expected_version,
        }
        handle = self._handle
        self._look(key, Put(value, **options))
        given = _as_it_is({**options, "value": value})
        self._defer(partial(handle.put, key, **given, operation_id=operation_id))

    def create(self, key: str, value: Any, *, operation_id: str | None = None, **options: Any) -> None:
        """Do `WorkflowHandle.create` after the commit, which raises EntryExists; ``options`` are those of `put`."""
        handle = self._handle
        self._look(key, Put(value, **options))
        given = _as_it_is({**options, "value": value})
        self._defer(partial(handle.create, key, **given, operation_id=operation_id))

    def update(
        self, updates: Mapping[str, Any], *, merge_strategy: str = "smart_merge", operation_id: str | None = None
    ) -> None:
        """Do `WorkflowHandle.update` after the commit."""
        handle = self._handle
        updating.checked_changes(handle.terms, handle.workflow_id, handle.agent, updates, merge_strategy)
        given = _as_it_is(updates)
        self._defer(partial(handle.update, given, merge_strategy=merge_strategy, operation_id=operation_id))

    def delete(
        self,
        key: str,
        *,
        scope: str | ContextScope | None = None,
        group: str | None = None,
        expected_version: int | None = None,
        purge: bool = False,
    ) -> None:
        """Do `WorkflowHandle.delete` after the commit."""
        handle = self._handle
        writing.deleted(handle.terms, handle.workflow_id, handle.agent, key, scope, group)
        self._defer(
            partial(handle.delete, key, scope=scope, group=group, expected_version=expected_version, purge=purge)
        )

    def set_agent_state(self, **state: Any) -> None:
        """Do `WorkflowHandle.set_agent_state` after the commit."""
        self._defer(partial(self._handle.set_agent_state, **_as_it_is(state)))

    def _look(self, key: str, put: Put) -> None:
        terms, agent = self._handle.terms, self._handle.agent
        change = writing.checked(terms, agent, key, put)
        writing.guarded(terms, self._handle.workflow_id, agent, change, change.packed)
