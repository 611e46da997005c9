"""The two ways to carry out a flow: `run` blocks, `arun` awaits."""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast, runtime_checkable

from ctxqueue.effects import AwaitChange, Effect, Flow, Publish, Wait, Work
from ctxqueue.errors import CtxqueueError, SyncInAsyncError, forget_hidden
from ctxqueue.threads import in_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from ctxqueue.effects import Outgoing

T = TypeVar("T")


class Performer(Protocol):
    """What carries out store effects, blocking."""

    def perform(self, effect: Effect[T], /) -> T:
        """Carry out one effect; raises a CtxqueueError."""
        ...


@runtime_checkable
class SendingAhead(Protocol):
    """What can send an effect, and wait for its reply later."""

    def ahead(self, effect: Effect[T], /) -> AbstractContextManager[Callable[[], T]]:
        """Send one effect, and yield what returns its reply; that raises a CtxqueueError."""
        ...


class Following(Protocol):
    """What can wait for a change of a workflow, blocking, on a socket of its own."""

    def follow(self, workflow_id: str, revision: int, seconds: float, /) -> None:
        """Return when its log may have gone beyond a revision, or after so many seconds."""
        ...


class AsyncFollowing(Protocol):
    """The same, awaiting."""

    async def follow(self, workflow_id: str, revision: int, seconds: float, /) -> None:
        """Return when its log may have gone beyond a revision, or after so many seconds."""
        ...


class AsyncPerformer(Protocol):
    """What carries out store effects, awaiting."""

    async def perform(self, effect: Effect[T], /) -> T:
        """Carry out one effect; raises a CtxqueueError."""
        ...


Publisher = "Callable[[tuple[Outgoing, ...]], tuple[str, ...]]"


def publish_nothing(_items: tuple[Outgoing, ...]) -> tuple[str, ...]:
    """Leave items to the processes of their app."""
    return ()


class Driver:
    """Carries out flows with one store and one publisher."""

    def __init__(
        self, store: Performer, publisher: Callable[[tuple[Outgoing, ...]], tuple[str, ...]] = publish_nothing
    ) -> None:
        self.store = store
        self.publisher = publisher

    def run(self, flow: Flow[T]) -> T:
        """Carry out a flow; raises what the flow raises, SyncInAsyncError inside a running event loop."""
        _keep_out_of_loops(flow)
        return self.at_first_contact(flow)

    def at_first_contact(self, flow: Flow[T]) -> T:
        """Carry out a flow also in a running event loop: for what belongs to a connection that blocks anyway."""
        try:
            effect = next(flow)
            return self._carried_on(flow, effect)
        except StopIteration as stop:
            result: T = stop.value
            return result
        except CtxqueueError as error:
            forget_hidden(error)
            raise

    @contextmanager
    def begun(self, flow: Flow[T]) -> Iterator[Callable[[], T]]:
        """Begin a flow, and yield what carries out the rest of it; its caller may do something else before.

        The first effect, which is one of the store's, is under way meanwhile if the store can send one ahead; else it
        is carried out with the rest. Raises SyncInAsyncError; what is yielded raises what the flow raises.
        """
        _keep_out_of_loops(flow)
        effect = next(flow)
        store = self.store
        sent = store.ahead(effect) if isinstance(store, SendingAhead) else nullcontext(partial(store.perform, effect))
        try:
            with sent as reply:
                yield lambda: self._carried_on(flow, effect, reply)
        finally:
            flow.close()

    def _carried_on(self, flow: Flow[T], effect: Effect[Any], ahead: Callable[[], Any] | None = None) -> T:
        """Carry out an effect and those after it; ``ahead`` returns the first one's reply."""
        perform = self.store.perform
        try:
            while True:
                try:
                    reply: Any
                    if ahead is not None:
                        answer, ahead = ahead, None
                        reply = answer()
                    elif isinstance(effect, Wait):
                        time.sleep(effect.seconds)
                        reply = None
                    elif isinstance(effect, Publish):
                        reply = self.publisher(effect.items)
                    elif isinstance(effect, Work):
                        reply = self.work(effect)
                    elif isinstance(effect, AwaitChange):
                        store = cast("Following", self.store)
                        reply = store.follow(effect.workflow_id, effect.revision, effect.seconds)  # type: ignore[func-returns-value]
                    else:
                        reply = perform(effect)
                except Exception as error:  # noqa: BLE001 - the flow decides what it can mend
                    effect = flow.throw(error)
                else:
                    effect = flow.send(reply)
        except StopIteration as stop:
            result: T = stop.value
            return result

    def work(self, effect: Work[T]) -> T:
        """Do what takes long."""
        return effect.call()


def _keep_out_of_loops(flow: Flow[Any]) -> None:
    if asyncio._get_running_loop() is not None:  # noqa: SLF001 - get_running_loop() raises, at ten times the cost
        flow.close()
        raise SyncInAsyncError(
            "a blocking ctxqueue call inside a running event loop would stall it:"
            " use the same call of ctxqueue.aconnect(), awaited"
        )


class AsyncDriver:
    """Carries out the same flows without blocking the event loop."""

    def __init__(
        self,
        store: AsyncPerformer,
        publisher: Callable[[tuple[Outgoing, ...]], tuple[str, ...]] = publish_nothing,
    ) -> None:
        self.store = store
        self.publisher = publisher

    def work(self, effect: Work[T]) -> T:
        """Do what takes long; in a thread."""
        return effect.call()

    async def arun(self, flow: Flow[T]) -> T:
        """Carry out a flow; raises what the flow raises."""
        try:
            effect = next(flow)
            while True:
                try:
                    reply: Any
                    if isinstance(effect, Wait):
                        await asyncio.sleep(effect.seconds)
                        reply = None
                    elif isinstance(effect, Publish):
                        reply = await in_thread(self.publisher, effect.items)
                    elif isinstance(effect, Work):
                        reply = await asyncio.to_thread(self.work, effect)
                    elif isinstance(effect, AwaitChange):
                        store = cast("AsyncFollowing", self.store)
                        reply = await store.follow(effect.workflow_id, effect.revision, effect.seconds)  # type: ignore[func-returns-value]
                    else:
                        reply = await self.store.perform(effect)
                except Exception as error:  # noqa: BLE001 - the flow decides what it can mend
                    effect = flow.throw(error)
                else:
                    effect = flow.send(reply)
        except StopIteration as stop:
            result: T = stop.value
            return result
        except CtxqueueError as error:
            forget_hidden(error)
            raise
