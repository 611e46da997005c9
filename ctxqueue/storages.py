"""The reference document's storages: a workflow read and written as one piece.

For code that is written against them; a manager over the same store does all else, at the same time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from ctxqueue.drivers import AsyncDriver, Driver
from ctxqueue.flows import ending, storing
from ctxqueue.flows.terms import Terms
from ctxqueue.handles import namespace_and_settings, packed_metadata, sealed
from ctxqueue.models import checked_name
from ctxqueue.stores.base import open_async_store, open_store

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ctxqueue.models import ContextEntry, WorkflowContext


class ContextStorage(Protocol):
    """What the reference document's manager asks of a back end; `SharedContextManager` takes one."""

    def store_context(self, workflow_id: str, context: WorkflowContext) -> bool:
        """Write a whole workflow as one commit; raises VersionConflict if it has changed since it was read."""
        ...

    def get_context(self, workflow_id: str) -> WorkflowContext | None:
        """Return a whole workflow, None if there is none."""
        ...

    def update_entry(self, workflow_id: str, entry: ContextEntry) -> bool:
        """Write one entry; False if there is no such workflow."""
        ...

    def delete_context(self, workflow_id: str) -> bool:
        """Remove a workflow with all that belongs to it; False if there is none."""
        ...


class _Storage:
    """The four methods over a store of one namespace."""

    def __init__(self, url: str, config: Mapping[str, Any] | None = None) -> None:
        namespace, settings = namespace_and_settings(config)
        self.store = sealed(open_store(url, namespace), config, namespace)
        self.namespace = namespace
        self.terms = Terms(namespace, self.store.shards, self.store.shard_of, settings)
        self._run = Driver(self.store).run

    def store_context(self, workflow_id: str, context: WorkflowContext) -> bool:
        """Write a whole workflow as one commit; raises VersionConflict if it has changed since it was read."""
        checked_name(workflow_id, "workflow_id")
        metadata = packed_metadata(context.metadata)
        return self._run(storing.store_context(self.terms, workflow_id, context, metadata))

    def get_context(self, workflow_id: str) -> WorkflowContext | None:
        """Return a whole workflow, None if there is none; sensitive values in clear."""
        return self._run(storing.get_context(self.terms, checked_name(workflow_id, "workflow_id")))

    def update_entry(self, workflow_id: str, entry: ContextEntry) -> bool:
        """Write one entry in its agent's name; False if there is no such workflow. Last write wins."""
        return self._run(storing.update_entry(self.terms, checked_name(workflow_id, "workflow_id"), entry))

    def delete_context(self, workflow_id: str) -> bool:
        """Remove a workflow with all that belongs to it; False if there is none."""
        return self._run(ending.remove(self.terms, checked_name(workflow_id, "workflow_id")))

    def close(self) -> None:
        """Close the connections."""
        self.store.close()


class MemoryContextStorage(_Storage):
    """In the memory of this process; those of one name share what they hold."""

    def __init__(self, name: str = "", config: Mapping[str, Any] | None = None) -> None:
        """Raise ConfigurationError for a wrong ``config``."""
        super().__init__(f"memory://{name}", config)


class RedisContextStorage(_Storage):
    """On Redis or Valkey, a Cluster, or behind Sentinels."""

    def __init__(self, redis_url: str = "redis://localhost:6379/0", config: Mapping[str, Any] | None = None) -> None:
        """Take a ``redis://`` URL, or one of its relatives, without I/O; raises ConfigurationError."""
        super().__init__(redis_url, config)


class DatabaseContextStorage(_Storage):
    """In an SQL database."""

    def __init__(self, database_url: str, config: Mapping[str, Any] | None = None) -> None:
        """Take a ``sqlite:///`` or ``postgresql://`` URL, without I/O; raises ConfigurationError."""
        super().__init__(database_url, config)


class AsyncContextStorage(Protocol):
    """What the reference document's manager asks of a back end; `AsyncSharedContextManager` takes one."""

    async def store_context(self, workflow_id: str, context: WorkflowContext) -> bool:
        """Write a whole workflow as one commit; raises VersionConflict if it has changed since it was read."""
        ...

    async def get_context(self, workflow_id: str) -> WorkflowContext | None:
        """Return a whole workflow, None if there is none."""
        ...

    async def update_entry(self, workflow_id: str, entry: ContextEntry) -> bool:
        """Write one entry; False if there is no such workflow."""
        ...

    async def delete_context(self, workflow_id: str) -> bool:
        """Remove a workflow with all that belongs to it; False if there is none."""
        ...


class _AsyncStorage:
    """The four methods over a store of one namespace."""

    def __init__(self, url: str, config: Mapping[str, Any] | None = None) -> None:
        namespace, settings = namespace_and_settings(config)
        self.store = sealed(open_async_store(url, namespace), config, namespace, asynchronous=True)
        self.namespace = namespace
        self.terms = Terms(namespace, self.store.shards, self.store.shard_of, settings)
        self._run = AsyncDriver(self.store).arun

    async def store_context(self, workflow_id: str, context: WorkflowContext) -> bool:
        """Write a whole workflow as one commit; raises VersionConflict if it has changed since it was read."""
        checked_name(workflow_id, "workflow_id")
        metadata = packed_metadata(context.metadata)
        return await self._run(storing.store_context(self.terms, workflow_id, context, metadata))

    async def get_context(self, workflow_id: str) -> WorkflowContext | None:
        """Return a whole workflow, None if there is none; sensitive values in clear."""
        return await self._run(storing.get_context(self.terms, checked_name(workflow_id, "workflow_id")))

    async def update_entry(self, workflow_id: str, entry: ContextEntry) -> bool:
        """Write one entry in its agent's name; False if there is no such workflow. Last write wins."""
        return await self._run(storing.update_entry(self.terms, checked_name(workflow_id, "workflow_id"), entry))

    async def delete_context(self, workflow_id: str) -> bool:
        """Remove a workflow with all that belongs to it; False if there is none."""
        return await self._run(ending.remove(self.terms, checked_name(workflow_id, "workflow_id")))

    async def close(self) -> None:
        """Close the connections."""
        await self.store.close()


class AsyncMemoryContextStorage(_AsyncStorage):
    """In the memory of this process; those of one name share what they hold."""

    def __init__(self, name: str = "", config: Mapping[str, Any] | None = None) -> None:
        """Raise ConfigurationError for a wrong ``config``."""
        super().__init__(f"memory://{name}", config)


class AsyncRedisContextStorage(_AsyncStorage):
    """On Redis or Valkey, a Cluster, or behind Sentinels."""

    def __init__(self, redis_url: str = "redis://localhost:6379/0", config: Mapping[str, Any] | None = None) -> None:
        """Take a ``redis://`` URL, or one of its relatives, without I/O; raises ConfigurationError."""
        super().__init__(redis_url, config)


class AsyncDatabaseContextStorage(_AsyncStorage):
    """In an SQL database."""

    def __init__(self, database_url: str, config: Mapping[str, Any] | None = None) -> None:
        """Take a ``sqlite:///`` or ``postgresql://`` URL, without I/O; raises ConfigurationError."""
        super().__init__(database_url, config)
