"""The reference's names for dependencies between entries: what depends on what, and being told when it is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ctxqueue.callbacks import is_local
from ctxqueue.effects import LoadGraph, do
from ctxqueue.flows import subscribing, viewing
from ctxqueue.flows.refusals import unknown_workflow
from ctxqueue.models import Address, checked_name
from ctxqueue.rules.changes import Resolved
from ctxqueue.rules.conditions import key as named_key
from ctxqueue.rules.graph import is_resolved, stale
from ctxqueue.subscriptions import AsyncSubscription, Subscription

if TYPE_CHECKING:
    from ctxqueue.aio import AsyncSharedContextManager
    from ctxqueue.callbacks import LocalSubscription
    from ctxqueue.callbacks_aio import AsyncLocalSubscription
    from ctxqueue.context import SharedContextManager
    from ctxqueue.effects import Flow
    from ctxqueue.handles import Handle
    from ctxqueue.models import WorkflowContext

Graph = dict[str, set[str]]


def _edges(workflow_id: str) -> Flow[list[tuple[str, str]]]:
    """Return (key, key that it depends on), of all scopes."""
    head, edges = yield from do(LoadGraph(checked_name(workflow_id, "workflow_id")))
    if head is None:
        raise unknown_workflow(workflow_id)
    return [
        (Address.decode(address, of_global=False).key, needed) for address, keys in edges.items() for needed in keys
    ]


def _reverse(workflow_id: str) -> Flow[Graph]:
    found: Graph = {}
    for key, needed in (yield from _edges(workflow_id)):
        found.setdefault(key, set()).add(needed)
    return found


def _forward(workflow_id: str) -> Flow[Graph]:
    found: Graph = {}
    for key, needed in (yield from _edges(workflow_id)):
        found.setdefault(needed, set()).add(key)
    return found


def _resolved(handle: Handle, entry_key: str) -> Flow[bool]:
    view = yield from viewing.look(handle.terms, handle.workflow_id, handle.agent)
    return is_resolved(view.readable(), entry_key)


def _stale(handle: Handle) -> Flow[list[str]]:
    view = yield from viewing.look(handle.terms, handle.workflow_id, handle.agent)
    return stale(view.readable())


def _register(handle: Handle, entry_key: str, dependency_key: str, signature: Any) -> Flow[tuple[Any, ...]]:
    when = Resolved(checked_name(entry_key, "entry_key"), named_key(dependency_key).name)
    patterns = (when.dependency_key,)
    place = handle.terms, handle.workflow_id, handle.agent
    name = yield from subscribing.subscribe(*place, patterns, signature, 0.0, when, of_entry=True)
    return handle, name, patterns, "ARMED", ""


def _id_of(context: str | WorkflowContext) -> str:
    return context if isinstance(context, str) else context.workflow_id


class ContextDependencyTracker:
    """What `SharedContextManager.dependency_tracker` is; it sees a workflow as the operator does."""

    def __init__(self, manager: SharedContextManager) -> None:
        self._manager = manager

    def register_dependency_callback(
        self, workflow_id: str, entry_key: str, dependency_key: str, callback: Any
    ) -> Subscription | LocalSubscription:
        """Tell of each write of a key on which an entry depends, once all else is there that the entry depends on.

        Of an entry that is not there yet that is the key alone; what is there already is told at once. A signature is
        kept in the store; a function is called in this process, in a thread of its own, as
        ``callback(workflow_id, entry_key, dependency_key)``. Raises InvalidName, WorkflowNotFound, CapacityError (500
        of a workflow), ConfigurationError for a signature outside a Celery app.
        """
        handle = self._manager.workflow(workflow_id)
        if is_local(callback):
            patterns = (named_key(dependency_key).name,)
            return self._manager.callbacks.subscribe(handle, patterns, callback, checked_name(entry_key, "entry_key"))
        run = self._manager.driver.run
        return Subscription(run, *run(_register(handle, entry_key, dependency_key, callback)))

    def update_dependencies(self, context: str | WorkflowContext, key: str, agent_id: str) -> int:
        """Call the functions of this process that wait for a key and find all there, though nothing has changed.

        What is written is told of without it. ``context`` is a workflow or its id; returns how many were called.
        """
        return self._manager.callbacks.look_again(_id_of(context), checked_name(key, "key"), agent_id)

    def dependency_graph(self, workflow_id: str) -> Graph:
        """Return, by key, the keys of the entries that depend on it."""
        self._manager.check_operator()
        return self._manager.driver.run(_forward(workflow_id))

    def reverse_dependencies(self, workflow_id: str) -> Graph:
        """Return, by key, the keys that its entry depends on."""
        self._manager.check_operator()
        return self._manager.driver.run(_reverse(workflow_id))

    def is_resolved(self, workflow_id: str, entry_key: str) -> bool:
        """Whether all is there that an entry depends on."""
        return self._manager.driver.run(_resolved(self._manager.workflow(workflow_id), entry_key))

    def stale(self, workflow_id: str) -> list[str]:
        """Return the keys of entries of which something that they depend on is newer than they are."""
        return self._manager.driver.run(_stale(self._manager.workflow(workflow_id)))


class AsyncContextDependencyTracker:
    """The same for event loops; a function may be a coroutine function, and runs in the loop that registers it."""

    def __init__(self, manager: AsyncSharedContextManager) -> None:
        self._manager = manager

    async def register_dependency_callback(
        self, workflow_id: str, entry_key: str, dependency_key: str, callback: Any
    ) -> AsyncSubscription | AsyncLocalSubscription:
        """Tell of each write of a key on which an entry depends; see `ContextDependencyTracker`."""
        handle = self._manager.workflow(workflow_id)
        if is_local(callback):
            patterns = (named_key(dependency_key).name,)
            name = checked_name(entry_key, "entry_key")
            return await self._manager.callbacks.subscribe(handle, patterns, callback, name)
        run = self._manager.driver.arun
        return AsyncSubscription(run, *await run(_register(handle, entry_key, dependency_key, callback)))

    async def update_dependencies(self, context: str | WorkflowContext, key: str, agent_id: str) -> int:
        """Call the functions of this process that wait for a key and find all there, though nothing has changed."""
        return await self._manager.callbacks.look_again(_id_of(context), checked_name(key, "key"), agent_id)

    async def dependency_graph(self, workflow_id: str) -> Graph:
        """Return, by key, the keys of the entries that depend on it."""
        self._manager.check_operator()
        return await self._manager.driver.arun(_forward(workflow_id))

    async def reverse_dependencies(self, workflow_id: str) -> Graph:
        """Return, by key, the keys that its entry depends on."""
        self._manager.check_operator()
        return await self._manager.driver.arun(_reverse(workflow_id))

    async def is_resolved(self, workflow_id: str, entry_key: str) -> bool:
        """Whether all is there that an entry depends on."""
        return await self._manager.driver.arun(_resolved(self._manager.workflow(workflow_id), entry_key))

    async def stale(self, workflow_id: str) -> list[str]:
        """Return the keys of entries of which something that they depend on is newer than they are."""
        return await self._manager.driver.arun(_stale(self._manager.workflow(workflow_id)))
