"""How a reveal is recorded: at once where that stalls nobody, else on the event loop that handed the value out."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from ctxqueue.errors import CtxqueueError, StoreUnavailable, SyncInAsyncError

if TYPE_CHECKING:
    from ctxqueue.drivers import AsyncDriver, Driver
    from ctxqueue.effects import Flow

logger = logging.getLogger(__name__)

PATIENCE = 30.0
"""Seconds that a thread waits for the event loop."""


class Recorder:
    """Carries out the flows that record, for the faces of one store: blocking, awaiting, or both."""

    def __init__(self, blocking: Driver | None = None, awaiting: AsyncDriver | None = None) -> None:
        self.blocking = blocking
        self.awaiting = awaiting
        self._loop: asyncio.AbstractEventLoop | None = None
        self._under_way: set[asyncio.Task[None]] = set()

    def handing_out(self) -> None:
        """Remember the event loop in which something is handed out, if it is one."""
        self._loop = asyncio._get_running_loop() or self._loop  # noqa: SLF001 - as in `drivers`

    def now(self, flow: Flow[None]) -> None:
        """Carry it out before returning; in an event loop it is on its way then."""
        loop = asyncio._get_running_loop()  # noqa: SLF001
        if loop is not None:
            if self.awaiting is None:
                flow.close()
                raise SyncInAsyncError(
                    "reveal() records that the value is taken, and would stall a running event loop:"
                    " await its areveal()"
                )
            task = loop.create_task(self.awaiting.arun(flow))
            self._under_way.add(task)
            task.add_done_callback(self._done)
        elif self.blocking is not None:
            self.blocking.run(flow)
        else:
            self._in_the_loop(flow)

    def aside(self, flow: Flow[None]) -> None:
        """Carry out what records that something was denied; where that would stall an event loop, a line must do."""
        try:
            self.now(flow)
        except SyncInAsyncError:
            logger.warning("what was denied to a blocking call in an event loop is not in the audit log")

    async def soon(self, flow: Flow[None]) -> None:
        """Carry it out, awaited."""
        if self.awaiting is not None:
            await self.awaiting.arun(flow)
        elif self.blocking is not None:
            await asyncio.to_thread(self.blocking.run, flow)

    async def settle(self) -> None:
        """Wait for what is under way in this loop."""
        loop = asyncio.get_running_loop()
        ours = [task for task in self._under_way if task.get_loop() is loop]
        if ours:
            await asyncio.wait(ours)

    def _in_the_loop(self, flow: Flow[None]) -> None:
        """Have a thread's reveal recorded by the loop that handed the value out."""
        loop, awaiting = self._loop, self.awaiting
        if loop is None or awaiting is None or not loop.is_running():
            flow.close()
            raise StoreUnavailable(
                "that the value is taken cannot be recorded: the event loop that handed it out runs no more;"
                " take it there, or by a handle of ctxqueue.connect()"
            )
        asyncio.run_coroutine_threadsafe(awaiting.arun(flow), loop).result(PATIENCE)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, CtxqueueError):
            logger.error("a reveal could not be recorded in the audit log: %s", error)
        elif error is not None:
            logger.error("a reveal could not be recorded in the audit log", exc_info=error)
