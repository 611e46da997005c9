"""What a store is, and which one a URL names."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Protocol, TypeVar

from ctxqueue.errors import ConfigurationError, CtxqueueError, forget_hidden
from ctxqueue.stores.namespaces import checked_namespace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractAsyncContextManager, AbstractContextManager

    from ctxqueue.effects import Effect
    from ctxqueue.stores.waking import AsyncWake, Wake

S = TypeVar("S")
T = TypeVar("T")

KINDS = {
    "memory": "memory",
    "redis": "redis",
    "rediss": "redis",
    "unix": "redis",
    "redis+cluster": "cluster",
    "rediss+cluster": "cluster",
    "sentinel": "sentinel",
    "sqlite": "sql",
    "postgresql": "sql",
}
SCHEMES = tuple(f"{scheme}://" for scheme in KINDS)


class Store(Protocol):
    """Carries out store effects; each is atomic."""

    @property
    def shards(self) -> Sequence[int]:
        """The units of placement that sweeps go through."""
        ...

    @property
    def where(self) -> str:
        """The server, for messages: never with a password."""
        ...

    def verify(self) -> None:
        """Reach the server and refuse an unsafe one; raises StoreError."""
        ...

    def perform(self, effect: Effect[T], /) -> T:
        """Carry out one effect; raises StoreError."""
        ...

    def listening(self, channel: str, /) -> AbstractContextManager[Wake]:
        """Return a block in which one can wait to be woken by a name, from its beginning on; raises StoreError."""
        ...

    def follow(self, workflow_id: str, revision: int, seconds: float, /) -> None:
        """Return when a workflow's log may have gone beyond a revision, or after so many seconds."""
        ...

    def shard_of(self, workflow_id: str, /) -> int:
        """Return the shard that a workflow lives in."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


class AsyncStore(Protocol):
    """A store for event loops; as `Store`, awaiting."""

    @property
    def shards(self) -> Sequence[int]:
        """The units of placement that sweeps go through."""
        ...

    @property
    def where(self) -> str:
        """The server, for messages: never with a password."""
        ...

    async def verify(self) -> None:
        """Reach the server and refuse an unsafe one; raises StoreError."""
        ...

    async def perform(self, effect: Effect[T], /) -> T:
        """Carry out one effect; raises StoreError."""
        ...

    def listening(self, channel: str, /) -> AbstractAsyncContextManager[AsyncWake]:
        """Return a block in which one can wait to be woken by a name, from its beginning on; raises StoreError."""
        ...

    async def follow(self, workflow_id: str, revision: int, seconds: float, /) -> None:
        """Return when a workflow's log may have gone beyond a revision, or after so many seconds."""
        ...

    def shard_of(self, workflow_id: str, /) -> int:
        """Return the shard that a workflow lives in."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


def _without_hidden(opens: Callable[[str, str], S]) -> Callable[[str, str], S]:
    """Let errors have nothing in their context that may quote the password of a URL."""

    @wraps(opens)
    def opened(url: str, namespace: str) -> S:
        try:
            return opens(url, namespace)
        except CtxqueueError as error:
            forget_hidden(error)
            raise

    return opened


@_without_hidden
def open_store(url: str, namespace: str) -> Store:
    """Return the store that a URL names, without I/O; raises ConfigurationError, InvalidName."""
    # Only the store in use is loaded.
    match _kind(url):
        case "memory":
            from ctxqueue.stores.inprocess.store import open_inprocess  # noqa: PLC0415

            return open_inprocess(url.partition("://")[2], checked_namespace(namespace))
        case "sql":
            from ctxqueue.stores.sql.store import SqlStore  # noqa: PLC0415

            return SqlStore(url, namespace)
        case "cluster":
            from ctxqueue.stores.redis.cluster import RedisClusterStore  # noqa: PLC0415

            return RedisClusterStore(url, namespace)
        case "sentinel":
            from ctxqueue.stores.redis.sentinel import SentinelStore  # noqa: PLC0415

            return SentinelStore(url, namespace)
    from ctxqueue.stores.redis.store import RedisStore  # noqa: PLC0415

    return RedisStore(url, namespace)


@_without_hidden
def open_async_store(url: str, namespace: str) -> AsyncStore:
    """Return the store that a URL names, for event loops, without I/O; raises ConfigurationError, InvalidName."""
    match _kind(url):
        case "memory":
            from ctxqueue.stores.inprocess.aio import AsyncInprocessStore  # noqa: PLC0415
            from ctxqueue.stores.inprocess.store import open_inprocess  # noqa: PLC0415

            return AsyncInprocessStore(open_inprocess(url.partition("://")[2], checked_namespace(namespace)))
        case "sql":
            from ctxqueue.stores.sql.aio import AsyncSqlStore  # noqa: PLC0415

            return AsyncSqlStore(url, namespace)
        case "cluster":
            from ctxqueue.stores.redis.cluster_aio import AsyncRedisClusterStore  # noqa: PLC0415

            return AsyncRedisClusterStore(url, namespace)
        case "sentinel":
            from ctxqueue.stores.redis.sentinel_aio import AsyncSentinelStore  # noqa: PLC0415

            return AsyncSentinelStore(url, namespace)
    from ctxqueue.stores.redis.aio import AsyncRedisStore  # noqa: PLC0415

    return AsyncRedisStore(url, namespace)


def is_sql(url: str) -> bool:
    """Whether a URL names an SQL database; raises ConfigurationError for one that names no store."""
    return _kind(url) == "sql"


def _kind(url: str) -> str:
    if not isinstance(url, str) or "://" not in url:
        raise ConfigurationError(f"the backend URL has no scheme: use one of {', '.join(SCHEMES)}")
    scheme = url.partition("://")[0]
    if scheme not in KINDS:
        raise ConfigurationError(f"no store for {scheme}:// URLs: use one of {', '.join(SCHEMES)}")
    return KINDS[scheme]
