"""A store whose values are encrypted: laid over any other, it sends on what is sealed and returns what is opened."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar, cast

from ctxqueue import effects as fx
from ctxqueue.stores.sealing import Sealing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractAsyncContextManager, AbstractContextManager

    from ctxqueue.effects import Effect
    from ctxqueue.keyring import Keyring
    from ctxqueue.stores.base import AsyncStore, Store
    from ctxqueue.stores.waking import AsyncWake, Wake

T = TypeVar("T")


class _Sealed:
    """What both faces have in common."""

    def __init__(self, store: Any, keyring: Keyring, namespace: str) -> None:
        self.inner = store
        self.sealing = Sealing(keyring, namespace)

    @property
    def shards(self) -> Sequence[int]:
        """The units of placement that sweeps go through."""
        shards: Sequence[int] = self.inner.shards
        return shards

    @property
    def where(self) -> str:
        """The server, for messages: never with a password."""
        where: str = self.inner.where
        return where

    def shard_of(self, workflow_id: str) -> int:
        """Return the shard that a workflow lives in."""
        shard: int = self.inner.shard_of(workflow_id)
        return shard

    @property
    def servers_info(self) -> Any:
        """What asks each server of itself, where the store has servers; raises AttributeError where it has none."""
        inner: Any = self.inner
        return inner.servers_info

    def _into(self, effect: Effect[T]) -> Effect[T]:
        way = self.sealing.ways.get(type(effect))
        if isinstance(effect, fx.Batch):
            return cast("Effect[T]", fx.Batch(tuple(self._into(each) for each in effect.effects)))
        sealed: Effect[T] = way[0](effect) if way and way[0] else effect
        return sealed

    def _out(self, effect: Effect[T], reply: T) -> T:
        if isinstance(effect, fx.Batch):
            pairs = zip(effect.effects, cast("tuple[Any, ...]", reply), strict=True)
            return cast("T", tuple(self._out(each, its_reply) for each, its_reply in pairs))
        way = self.sealing.ways.get(type(effect))
        opened: T = way[1](effect, reply) if way and way[1] else reply
        return opened


class SealedStore(_Sealed):
    """Encrypts what goes into a store and decrypts what comes out; who holds the keyring alone can read it."""

    inner: Store

    def verify(self) -> None:
        """Reach the server and refuse an unsafe one; raises StoreError."""
        self.inner.verify()

    def perform(self, effect: Effect[T]) -> T:
        """Carry out one effect; raises StoreError."""
        if isinstance(effect, fx.Commit):
            return cast("T", self._committed(effect))
        return self._out(effect, self.inner.perform(self._into(effect)))

    def _committed(self, effect: fx.Commit) -> Any:
        flow = self.sealing.committed(effect)
        try:
            asked = next(flow)
            while True:
                asked = flow.send(self.inner.perform(asked))
        except StopIteration as stop:
            return stop.value

    @contextmanager
    def ahead(self, effect: Effect[T]) -> Iterator[Callable[[], T]]:
        """Send one effect, if the store can, and yield what returns its reply."""
        ahead = getattr(self.inner, "ahead", None)
        if ahead is None or isinstance(effect, fx.Commit):
            yield lambda: self.perform(effect)
            return
        with ahead(self._into(effect)) as reply:
            yield lambda: self._out(effect, reply())

    def listening(self, channel: str) -> AbstractContextManager[Wake]:
        """Return a block in which one can wait to be woken by a name; raises StoreError."""
        return self.inner.listening(channel)

    def follow(self, workflow_id: str, revision: int, seconds: float) -> None:
        """Return when a workflow's log may have gone beyond a revision, or after so many seconds."""
        self.inner.follow(workflow_id, revision, seconds)

    def close(self) -> None:
        """Let go of connections."""
        self.inner.close()


class AsyncSealedStore(_Sealed):
    """The same for event loops."""

    inner: AsyncStore

    async def verify(self) -> None:
        """Reach the server and refuse an unsafe one; raises StoreError."""
        await self.inner.verify()

    async def perform(self, effect: Effect[T]) -> T:
        """Carry out one effect; raises StoreError."""
        if isinstance(effect, fx.Commit):
            return cast("T", await self._committed(effect))
        return self._out(effect, await self.inner.perform(self._into(effect)))

    async def _committed(self, effect: fx.Commit) -> Any:
        flow = self.sealing.committed(effect)
        try:
            asked = next(flow)
            while True:
                asked = flow.send(await self.inner.perform(asked))
        except StopIteration as stop:
            return stop.value

    def listening(self, channel: str) -> AbstractAsyncContextManager[AsyncWake]:
        """Return a block in which one can wait to be woken by a name; raises StoreError."""
        return self.inner.listening(channel)

    async def follow(self, workflow_id: str, revision: int, seconds: float) -> None:
        """Return when a workflow's log may have gone beyond a revision, or after so many seconds."""
        await self.inner.follow(workflow_id, revision, seconds)

    async def close(self) -> None:
        """Let go of connections."""
        await self.inner.close()
