"""``watch``: changes as they come, blocking and awaited."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING, Self
from weakref import WeakSet

from ctxqueue.flows.watching import Course

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from ctxqueue.drivers import AsyncDriver, Driver
    from ctxqueue.handles import Handle
    from ctxqueue.models import Change, Progress


class Watch:
    """An iterator of `Change` and `Progress`; see `WorkflowHandle.watch`. Threads may share one."""

    def __init__(
        self, driver: Driver, handle: Handle, pattern: str, from_revision: int | str | None, timeout: float | None
    ) -> None:
        self._driver = driver
        self._course = Course(handle.terms, handle.workflow_id, handle.agent, pattern, from_revision, timeout)
        self._after_fork()
        _watches.add(self)
        driver.run(self._course.begin())

    def _after_fork(self) -> None:
        self._taking = threading.Lock()
        self._course.rewind()

    @property
    def cursor(self) -> str:
        """What another watch goes on from, in any process: ``wf.watch(from_revision=cursor)``."""
        return self._course.cursor

    def __iter__(self) -> Iterator[Change | Progress]:
        return self

    def __next__(self) -> Change | Progress:
        with self._taking:
            if self._course.is_over:
                raise StopIteration
            item = self._course.take()
            if item is None:
                self._driver.run(self._course.gather())
                item = self._course.take()
            if item is None:
                raise StopIteration
            return item

    def close(self) -> None:
        """End it; whoever waits for the next change in another thread is told within two seconds."""
        self._course.is_over = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


class AsyncWatch:
    """The same for event loops; it begins when it is entered, or at the first change that is awaited."""

    def __init__(
        self, driver: AsyncDriver, handle: Handle, pattern: str, from_revision: int | str | None, timeout: float | None
    ) -> None:
        self._driver = driver
        self._course = Course(handle.terms, handle.workflow_id, handle.agent, pattern, from_revision, timeout)
        self._after_fork()
        _watches.add(self)

    def _after_fork(self) -> None:
        self._taking = asyncio.Lock()
        self._course.rewind()

    @property
    def cursor(self) -> str:
        """What another watch goes on from, in any process: ``wf.watch(from_revision=cursor)``."""
        return self._course.cursor

    def __aiter__(self) -> AsyncIterator[Change | Progress]:
        return self

    async def __anext__(self) -> Change | Progress:
        async with self._taking:
            if self._course.is_over:
                raise StopAsyncIteration
            item = self._course.take()
            if item is None:
                await self._driver.arun(self._course.gather())
                item = self._course.take()
            if item is None:
                raise StopAsyncIteration
            return item

    async def close(self) -> None:
        """End it; whoever awaits the next change in another task is told within two seconds."""
        self._course.is_over = True

    async def __aenter__(self) -> Self:
        await self._driver.arun(self._course.begin())
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()


_watches: WeakSet[Watch | AsyncWatch] = WeakSet()


def _after_fork() -> None:
    """Let this process's watches go on from where their readers stood: who waited by them has stayed in the parent."""
    for watch in tuple(_watches):
        watch._after_fork()  # noqa: SLF001 - of this module


os.register_at_fork(after_in_child=_after_fork)
