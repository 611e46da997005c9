"""The in-process store for event loops: nothing in it waits, so it is the same store."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from ctxqueue.effects import Effect
    from ctxqueue.stores.inprocess.store import InprocessStore
    from ctxqueue.stores.waking import AsyncWake

T = TypeVar("T")


class AsyncInprocessStore:
    """Carries out effects on an in-process store."""

    def __init__(self, store: InprocessStore) -> None:
        self._store = store
        self.shards = store.shards
        self.where = store.where

    async def verify(self) -> None:
        """Nothing to reach."""

    async def perform(self, effect: Effect[T]) -> T:
        """Carry out one effect."""
        return self._store.perform(effect)

    def listening(self, channel: str) -> AbstractAsyncContextManager[AsyncWake]:
        """Return a block in which one can wait to be woken by a name."""
        return self._store.alistening(channel)

    async def follow(self, workflow_id: str, revision: int, seconds: float) -> None:
        """Return when a workflow has gone beyond a revision, or after so many seconds."""
        await self._store.afollow(workflow_id, revision, seconds)

    def shard_of(self, workflow_id: str) -> int:
        """Return the only shard."""
        return self._store.shard_of(workflow_id)

    async def close(self) -> None:
        """Keep everything: another handle may share this store."""
