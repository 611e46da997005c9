"""Waiting on a channel of Redis. A call that comes while the connection is away is lost: whoever waits looks again."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

from redis import exceptions as rx

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

AWAY_SECONDS = 0.5
"""Between two looks while it is away."""


@contextmanager
def listening(client: Any, channel: str) -> Iterator[RedisWake]:
    """Listen inside the block, from its beginning on; raises RedisError."""
    pubsub = client.pubsub()
    try:
        pubsub.subscribe(channel)
        pubsub.get_message(timeout=None)  # it says that the server has done so
        yield RedisWake(pubsub)
    finally:
        pubsub.close()


class RedisWake:
    """See `ctxqueue.stores.waking.Wake`."""

    def __init__(self, pubsub: Any) -> None:
        self._pubsub = pubsub

    def wait(self, seconds: float) -> None:
        """Return when it was called or may have been, or after so many seconds."""
        ends = time.monotonic() + seconds
        while (left := ends - time.monotonic()) > 0:
            try:
                message = self._pubsub.get_message(timeout=left)
            except (rx.ConnectionError, rx.TimeoutError):
                time.sleep(min(left, AWAY_SECONDS))
                return
            if message is not None:
                return  # also where it says that it was connected anew


@asynccontextmanager
async def alistening(client: Any, channel: str) -> AsyncIterator[AsyncRedisWake]:
    """Listen inside the block, from its beginning on; raises RedisError."""
    pubsub = client.pubsub()
    try:
        await pubsub.subscribe(channel)
        await pubsub.get_message(timeout=None)
        yield AsyncRedisWake(pubsub)
    finally:
        await pubsub.aclose()


class AsyncRedisWake:
    """See `ctxqueue.stores.waking.AsyncWake`."""

    def __init__(self, pubsub: Any) -> None:
        self._pubsub = pubsub

    async def wait(self, seconds: float) -> None:
        """Return when it was called or may have been, or after so many seconds."""
        ends = time.monotonic() + seconds
        while (left := ends - time.monotonic()) > 0:
            try:
                message = await self._pubsub.get_message(timeout=left)
            except (rx.ConnectionError, rx.TimeoutError):
                await asyncio.sleep(min(left, AWAY_SECONDS))
                return
            if message is not None:
                return
