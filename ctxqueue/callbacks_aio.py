"""Functions and coroutine functions that are called in an event loop when others change something."""

from __future__ import annotations

import asyncio
import inspect
import logging
from typing import TYPE_CHECKING, Any

from ctxqueue.callbacks import Registry, Wanted, may_tell
from ctxqueue.errors import StoreUnavailable
from ctxqueue.flows import following
from ctxqueue.flows.subscriptions import resolved_at
from ctxqueue.rules.changes import matches
from ctxqueue.stores.waking import FIRST_PAUSE, LONGEST_PAUSE

if TYPE_CHECKING:
    from collections.abc import Callable

    from ctxqueue.aio import AsyncSharedContextManager, AsyncWorkflowHandle
    from ctxqueue.flows.following import News, Place
    from ctxqueue.models import Change

logger = logging.getLogger(__name__)


class AsyncLocalSubscription:
    """A function, or a coroutine function, that is called in the event loop which has subscribed."""

    def __init__(
        self, callbacks: AsyncCallbacks, handle: AsyncWorkflowHandle, wanted: Wanted, callback: Callable[..., Any]
    ) -> None:
        self._callbacks = callbacks
        self.handle = handle
        self._wanted = wanted
        self._callback = callback
        self._is_pending, self._told_at = bool(wanted.entry_key), 0
        self._tasks: list[asyncio.Task[None]] = []
        self._number = callbacks.add(wanted, self)
        self.id = f"local-{self._number}"
        self.patterns = wanted.patterns
        self.reason = ""

    @property
    def state(self) -> str:
        """ARMED or CANCELLED."""
        return "CANCELLED" if not self._tasks or all(task.done() for task in self._tasks) else "ARMED"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} {self.state}: {', '.join(self.patterns)}>"

    async def begin(self) -> None:
        """Let the changes from now on be told."""
        try:
            places = [await self._callbacks.present(self.handle, place) for place in self._wanted.places()]
        except BaseException:  # raised on: nobody waits
            self._callbacks.remove(self._number)
            raise
        self._tasks = [asyncio.create_task(self._follow(place)) for place in places]

    async def cancel(self) -> bool:
        """Call it no more; False if it had ended."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            if task is not asyncio.current_task():
                task.cancel()
        return self._callbacks.remove(self._number)

    async def _follow(self, place: Place) -> None:
        try:
            if self._is_pending:
                await self._look()
            pause = FIRST_PAUSE
            while True:
                try:
                    news = await self._callbacks.news(self.handle, place)
                except StoreUnavailable as error:
                    logger.warning("%s waits for the store: %s", self, error)
                    news = None
                if news is not None:
                    await self._take_all(news)
                    place = news.place
                    if news.over:
                        break
                if news is not None and news.more:
                    continue
                pause = FIRST_PAUSE if news is not None and news.changes else min(LONGEST_PAUSE, 2 * pause)
                await asyncio.sleep(pause)
        except Exception:  # nobody awaits this task: what it raises would show when it is collected
            logger.exception("%s ends", self)
        await self.cancel()

    async def _take_all(self, news: News) -> None:
        if news.missed:
            logger.warning("%s has missed changes: the log does not reach back so far", self)
        for change in news.changes:
            await self._take(change)

    async def _take(self, change: Change) -> None:
        if self._wanted.entry_key:
            if self._wanted.is_of(change) and change.kind == "put" and change.revision > self._told_at:
                self._is_pending = True
            if self._is_pending:
                await self._look(change)
        elif self._wanted.is_of(change):
            await self.tell(change.key, change.revision, change.agent_id)

    async def _look(self, change: Change | None = None) -> None:
        seen_at = await self._callbacks.resolved_at(self.handle, self._wanted)
        if seen_at is not None:
            self._is_pending, self._told_at = False, seen_at
            await self.tell(self._wanted.patterns[0], seen_at, change.agent_id if change else "")

    async def tell(self, key: str, revision: int, author: str) -> None:
        """Call it."""
        wanted = self._wanted
        self._callbacks.note(self._number, wanted, key, revision, author)
        try:
            called = self._callback(wanted.workflow_id, wanted.entry_key or author, key)
            if inspect.isawaitable(called):
                await called
        except Exception:  # the user's function may raise anything: the others go on
            logger.exception("%s: the function has failed", self)


class AsyncCallbacks(Registry):
    """The functions of one manager for event loops."""

    def __init__(self, manager: AsyncSharedContextManager) -> None:
        super().__init__()
        self._manager = manager

    async def subscribe(
        self, handle: AsyncWorkflowHandle, patterns: tuple[str, ...], callback: Callable[..., Any], entry_key: str = ""
    ) -> AsyncLocalSubscription:
        """Begin to call a function in this loop; raises WorkflowNotFound, CapacityError."""
        wanted = Wanted(handle.workflow_id, handle.agent.agent_id, patterns, entry_key)
        subscription = AsyncLocalSubscription(self, handle, wanted, callback)
        await subscription.begin()
        return subscription

    async def present(self, handle: AsyncWorkflowHandle, workflow_id: str) -> Place:
        """Return where a log ends now."""
        return await self._manager.driver.arun(following.present(handle.terms, workflow_id))

    async def news(self, handle: AsyncWorkflowHandle, place: Place) -> News:
        """Read on in a log."""
        return await self._manager.driver.arun(following.news(handle.terms.policy, handle.agent, place))

    async def resolved_at(self, handle: AsyncWorkflowHandle, wanted: Wanted) -> int | None:
        """Return the revision at which all was seen that an entry depends on; None: something lacks."""
        flow = resolved_at(handle.terms, handle.workflow_id, handle.agent, wanted.when)
        return await self._manager.driver.arun(flow)

    async def announce(self, workflow_id: str, agent_id: str, keys: list[str]) -> int:
        """Call those that wait for changes of such keys by that agent."""
        called = 0
        for wanted, subscription in self.all():
            if wanted.workflow_id == workflow_id and wanted.agent_id != agent_id and not wanted.entry_key:
                for key in keys:
                    if matches(wanted.patterns, key) and may_tell(subscription.handle, key):
                        await subscription.tell(key, 0, agent_id)
                        called += 1
        return called

    async def look_again(self, workflow_id: str, key: str, agent_id: str) -> int:
        """Call those for whose entry this key is there, with all else that it depends on."""
        called = 0
        for wanted, subscription in self.all():
            if wanted.workflow_id == workflow_id and wanted.entry_key and wanted.patterns[0] == key:
                seen_at = await self.resolved_at(self._manager.workflow(workflow_id), wanted)
                if seen_at is not None:
                    await subscription.tell(key, seen_at, agent_id)
                    called += 1
        return called

    async def close(self) -> None:
        """Call none any more."""
        for _, subscription in self.all():
            await subscription.cancel()
