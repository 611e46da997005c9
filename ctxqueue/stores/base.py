"""What a store is, and which one a URL names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol, TypeVar

from ctxqueue.errors import ConfigurationError, InvalidName

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ctxqueue.effects import Effect

T = TypeVar("T")

SCHEMES = ("memory://", "redis://", "rediss://", "unix://")

NAMESPACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")


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

    def shard_of(self, workflow_id: str, /) -> int:
        """Return the shard that a workflow lives in."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


def checked_namespace(namespace: str) -> str:
    """Return the namespace; raises InvalidName if it cannot be part of a hash tag, which no store allows."""
    if not isinstance(namespace, str) or not NAMESPACE.match(namespace):
        raise InvalidName(f"namespace {namespace!r:.80} must be 1 to 64 letters, digits, '_', '.' or '-'")
    return namespace


def open_store(url: str, namespace: str) -> Store:
    """Return the store that a URL names, without I/O; raises ConfigurationError, InvalidName."""
    if _kind(url) == "memory":
        from ctxqueue.stores.inprocess.store import open_inprocess  # noqa: PLC0415 - only the store in use is loaded

        return open_inprocess(url.partition("://")[2], checked_namespace(namespace))
    from ctxqueue.stores.redis.store import RedisStore  # noqa: PLC0415

    return RedisStore(url, namespace)


def open_async_store(url: str, namespace: str) -> AsyncStore:
    """Return the store that a URL names, for event loops, without I/O; raises ConfigurationError, InvalidName."""
    if _kind(url) == "memory":
        from ctxqueue.stores.inprocess.aio import AsyncInprocessStore  # noqa: PLC0415
        from ctxqueue.stores.inprocess.store import open_inprocess  # noqa: PLC0415

        return AsyncInprocessStore(open_inprocess(url.partition("://")[2], checked_namespace(namespace)))
    from ctxqueue.stores.redis.aio import AsyncRedisStore  # noqa: PLC0415

    return AsyncRedisStore(url, namespace)


def _kind(url: str) -> str:
    if not isinstance(url, str) or "://" not in url:
        raise ConfigurationError(f"the backend URL has no scheme: use one of {', '.join(SCHEMES)}")
    scheme = url.partition("://")[0]
    if f"{scheme}://" not in SCHEMES:
        raise ConfigurationError(f"no store for {scheme}:// URLs: use one of {', '.join(SCHEMES)}")
    return "memory" if scheme == "memory" else "redis"
