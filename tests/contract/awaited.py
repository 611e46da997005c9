"""An async store as a blocking one, so that the contract's tests go through it."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from ctxqueue.context import SharedContextManager
from ctxqueue.stores.base import open_async_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractAsyncContextManager

    from ctxqueue.effects import Effect
    from ctxqueue.stores.base import AsyncStore
    from ctxqueue.stores.waking import AsyncWake

T = TypeVar("T")


class Awaited:
    """An async store as a blocking one: a thread's loop does the awaiting."""

    def __init__(self, store: AsyncStore, loop: asyncio.AbstractEventLoop) -> None:
        self._store = store
        self._loop = loop
        self.shards = store.shards
        self.where = store.where

    def verify(self) -> None:
        asyncio.run_coroutine_threadsafe(self._store.verify(), self._loop).result()

    def perform(self, effect: Effect[T]) -> T:
        return asyncio.run_coroutine_threadsafe(self._store.perform(effect), self._loop).result()

    @contextmanager
    def listening(self, channel: str) -> Iterator[AwaitedWake]:
        block = self._store.listening(channel)
        wake = asyncio.run_coroutine_threadsafe(block.__aenter__(), self._loop).result()
        try:
            yield AwaitedWake(wake, self._loop)
        finally:
            asyncio.run_coroutine_threadsafe(_left(block), self._loop).result()

    def follow(self, workflow_id: str, revision: int, seconds: float) -> None:
        waits = self._store.follow(workflow_id, revision, seconds)
        asyncio.run_coroutine_threadsafe(waits, self._loop).result()

    def shard_of(self, workflow_id: str) -> int:
        return self._store.shard_of(workflow_id)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._store.close(), self._loop).result()


class AwaitedWake:
    def __init__(self, wake: AsyncWake, loop: asyncio.AbstractEventLoop) -> None:
        self._wake = wake
        self._loop = loop

    def wait(self, seconds: float) -> bool:
        return asyncio.run_coroutine_threadsafe(self._wake.wait(seconds), self._loop).result()


async def _left(block: AbstractAsyncContextManager[AsyncWake]) -> None:
    await block.__aexit__(None, None, None)


@contextmanager
def awaiting(url: str) -> Iterator[SharedContextManager]:
    """Open the async store that a URL names; each effect is awaited in a loop of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        with SharedContextManager(Awaited(open_async_store(url, "default"), loop)) as manager:
            yield manager
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
