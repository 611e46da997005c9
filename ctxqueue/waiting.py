"""``wait_for`` outside a task: woken by the store, blocking and awaited."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, cast

from ctxqueue.clock import MICROSECONDS, microseconds
from ctxqueue.errors import CtxqueueError, DependencyTimeout
from ctxqueue.flows import looking, viewing, waiting
from ctxqueue.rules.conditions import as_condition, is_judged
from ctxqueue.stores.waking import FIRST_PAUSE, LONGEST_PAUSE

if TYPE_CHECKING:
    from ctxqueue.drivers import AsyncDriver, Driver
    from ctxqueue.handles import Handle
    from ctxqueue.rules.conditions import Condition
    from ctxqueue.stores.base import AsyncStore, Store
    from ctxqueue.views import AgentContext


class _Wait:
    """One wait, and what is left of its time."""

    def __init__(self, handle: Handle, condition: str | Condition, timeout: float) -> None:
        self.terms = handle.terms
        self.condition = as_condition(condition)
        self.place = handle.workflow_id, handle.agent
        self._pause = 0.0
        self._ends = time.monotonic() + microseconds(timeout, "timeout") / MICROSECONDS

    @property
    def left(self) -> float:
        """Seconds."""
        return max(0.0, self._ends - time.monotonic())

    def pause(self) -> float:
        """Return how long to pause before it is registered again: what came may not be for the agent's eyes."""
        pause, self._pause = self._pause, min(LONGEST_PAUSE, 2 * self._pause + FIRST_PAUSE)
        return min(pause, self.left)

    def too_late(self, lacking: tuple[str, ...]) -> DependencyTimeout:
        """Return the error for what has not come."""
        workflow_id, agent = self.place
        return DependencyTimeout(
            f"{agent.agent_id} waited in vain for {', '.join(lacking)} in workflow {workflow_id!r}"
        )


def wait_for(driver: Driver, handle: Handle, condition: str | Condition, timeout: float) -> AgentContext:
    """See `WorkflowHandle.wait_for`."""
    wait, channel = _Wait(handle, condition, timeout), waiting.channel()
    run = driver.run
    with cast("Store", driver.store).listening(channel) as wake:
        name = ""
        while True:
            if not name:
                left_us = int(wait.left * MICROSECONDS)
                name = run(waiting.begin(wait.terms, *wait.place, wait.condition, channel, left_us))
            try:
                called = wake.wait(wait.left)
                lacking = run(looking.lacking(wait.terms, *wait.place, wait.condition))
            except BaseException:  # raised on: an interruption too leaves nobody registered
                with suppress(CtxqueueError):  # the sweep forgets who cannot say so
                    run(waiting.leave(*wait.place, wait.condition, name))
                raise
            if lacking and wait.left and not called:
                continue  # it has looked by itself, and is registered still
            if lacking or is_judged(wait.condition):
                run(waiting.leave(*wait.place, wait.condition, name))
            if not lacking:
                return run(viewing.view(wait.terms, *wait.place))
            if not wait.left:
                raise wait.too_late(lacking)
            name = ""
            time.sleep(wait.pause())


async def await_for(
    driver: AsyncDriver,
    handle: Handle,
    condition: str | Condition,
    timeout: float,  # noqa: ASYNC109 - as the blocking one has it
) -> AgentContext:
    """See `AsyncWorkflowHandle.wait_for`."""
    wait, channel = _Wait(handle, condition, timeout), waiting.channel()
    run = driver.arun
    async with cast("AsyncStore", driver.store).listening(channel) as wake:
        name = ""
        while True:
            if not name:
                left_us = int(wait.left * MICROSECONDS)
                name = await run(waiting.begin(wait.terms, *wait.place, wait.condition, channel, left_us))
            try:
                called = await wake.wait(wait.left)
                lacking = await run(looking.lacking(wait.terms, *wait.place, wait.condition))
            except BaseException:  # raised on: an interruption too leaves nobody registered
                with suppress(CtxqueueError):  # the sweep forgets who cannot say so
                    await run(waiting.leave(*wait.place, wait.condition, name))
                raise
            if lacking and wait.left and not called:
                continue  # it has looked by itself, and is registered still
            if lacking or is_judged(wait.condition):
                await run(waiting.leave(*wait.place, wait.condition, name))
            if not lacking:
                return await run(viewing.view(wait.terms, *wait.place))
            if not wait.left:
                raise wait.too_late(lacking)
            name = ""
            await asyncio.sleep(wait.pause())
