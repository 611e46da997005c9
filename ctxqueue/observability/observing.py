"""Drivers that tell an observer of each call, of each effect with its reply, and of what takes long.

They take the place of the plain ones where somebody observes; elsewhere nothing of this is loaded.
"""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from ctxqueue.drivers import AsyncDriver, Driver, SendingAhead
from ctxqueue.effects import Batch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from ctxqueue.effects import Effect, Flow, Outgoing, Work

T = TypeVar("T")

CALLS = {
    **{name: name for name in ("put", "update", "delete", "get", "view", "at", "history", "changes", "commit")},
    **{name: name for name in ("remember", "remember_many", "recall", "retire", "sweep", "resend", "drain")},
    **{name: name for name in ("claim", "park", "finish", "register", "fire", "enqueue", "carry_out")},
    "list_entries": "list",
}
"""The flows that are told apart, and the names of what they do; all others are ``other``."""
WORKS = {"encode": "embed", "search": "search"}


def name_of(flow: Flow[Any]) -> str:
    """Return what a flow does: one of a fixed set of names."""
    return CALLS.get(getattr(flow, "__name__", "").lstrip("_"), "other")


class Observer(Protocol):
    """What is told."""

    def call(self, name: str) -> AbstractContextManager[object]:
        """Return a block around a call; it raises what the call raises."""
        ...

    def saw(self, effect: Effect[Any], reply: Any) -> None:
        """Take note of an effect of the store, once it has been carried out."""
        ...

    def worked(self, name: str, seconds: float) -> None:
        """Take note of how long something took that no store does."""
        ...


class Several:
    """Several observers as one."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self.observers = observers

    @contextmanager
    def call(self, name: str) -> Iterator[None]:
        """Return a block around a call."""
        with ExitStack() as stack:
            for observer in self.observers:
                stack.enter_context(observer.call(name))
            yield

    def saw(self, effect: Effect[Any], reply: Any) -> None:
        """Take note of an effect."""
        for observer in self.observers:
            observer.saw(effect, reply)

    def worked(self, name: str, seconds: float) -> None:
        """Take note of how long something took."""
        for observer in self.observers:
            observer.worked(name, seconds)


def _tell(observer: Observer, effect: Effect[Any], reply: Any) -> None:
    if isinstance(effect, Batch):
        for each, answer in zip(effect.effects, reply, strict=True):
            observer.saw(each, answer)
    else:
        observer.saw(effect, reply)


class _Observed:
    def __init__(self, store: Any, observer: Observer) -> None:
        self._store = store
        self._observer = observer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class ObservedStore(_Observed):
    """A store whose effects are told of."""

    def perform(self, effect: Effect[T], /) -> T:
        """Carry out one effect."""
        reply: T = self._store.perform(effect)
        _tell(self._observer, effect, reply)
        return reply


class ObservedAhead(ObservedStore):
    """The same of one that can send an effect ahead."""

    @contextmanager
    def ahead(self, effect: Effect[T], /) -> Iterator[Callable[[], T]]:
        """Send one effect, and yield what returns its reply."""
        with self._store.ahead(effect) as answer:

            def told() -> T:
                reply: T = answer()
                _tell(self._observer, effect, reply)
                return reply

            yield told


class ObservedAsyncStore(_Observed):
    """The same for event loops."""

    async def perform(self, effect: Effect[T], /) -> T:
        """Carry out one effect."""
        reply: T = await self._store.perform(effect)
        _tell(self._observer, effect, reply)
        return reply


class ObservedDriver(Driver):
    """Carries out flows, and tells of them."""

    def __init__(
        self, store: Any, publisher: Callable[[tuple[Outgoing, ...]], tuple[str, ...]], observer: Observer
    ) -> None:
        kind = ObservedAhead if isinstance(store, SendingAhead) else ObservedStore
        super().__init__(kind(store, observer), publisher)
        self._observer = observer

    def run(self, flow: Flow[T]) -> T:
        """Carry out a flow."""
        with self._observer.call(name_of(flow)):
            return super().run(flow)

    @contextmanager
    def begun(self, flow: Flow[T]) -> Iterator[Callable[[], T]]:
        """Begin a flow, and yield what carries out the rest of it."""
        with self._observer.call(name_of(flow)), super().begun(flow) as rest:
            yield rest

    def work(self, effect: Work[T]) -> T:
        """Do what takes long."""
        return _timed(effect, self._observer)


class ObservedAsyncDriver(AsyncDriver):
    """The same for event loops."""

    def __init__(
        self, store: Any, publisher: Callable[[tuple[Outgoing, ...]], tuple[str, ...]], observer: Observer
    ) -> None:
        super().__init__(ObservedAsyncStore(store, observer), publisher)
        self._observer = observer

    async def arun(self, flow: Flow[T]) -> T:
        """Carry out a flow."""
        with self._observer.call(name_of(flow)):
            return await super().arun(flow)

    def work(self, effect: Work[T]) -> T:
        """Do what takes long."""
        return _timed(effect, self._observer)


def _timed(effect: Work[T], observer: Observer) -> T:
    name = WORKS.get(getattr(getattr(effect.call, "func", None), "__name__", ""))
    begun = time.perf_counter()
    reply = effect.call()
    if name is not None:
        observer.worked(name, time.perf_counter() - begun)
    return reply
