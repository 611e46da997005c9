"""Steps of a body: carried out once, and kept with the run, blocking or awaited."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from ctxqueue import codec
from ctxqueue.errors import ConfigurationError
from ctxqueue.flows import steps
from ctxqueue.identity import current_attempt

if TYPE_CHECKING:
    from collections.abc import Callable

    from ctxqueue.integration.install import ContextQueue


def once(queue: ContextQueue, name: str, step: Callable[[], Any]) -> Any:
    """Return a step's kept result, else carry it out and keep what it returns; where there is no run, just that."""
    attempt = current_attempt.get()
    if attempt is None:
        return step()
    manager = queue.manager
    kept = manager.driver.run(steps.recall(manager.terms, attempt, name))
    if kept is None:
        result = step()
        if inspect.isawaitable(result):
            if inspect.iscoroutine(result):
                result.close()  # else Python warns that nobody has awaited it
            raise ConfigurationError(
                f"step {name!r} is to be awaited, and nobody can here: declare the task with 'async def', and call"
                " 'await self.once(...)' in its own loop"
            )
        kept = manager.driver.run(steps.keep(manager.terms, attempt, name, result))
    return codec.unpack(kept)


async def aonce(queue: ContextQueue, name: str, step: Callable[[], Any]) -> Any:
    """Do the same in an event loop, which goes on meanwhile; the step may be a coroutine function."""
    attempt = current_attempt.get()
    if attempt is None:
        return await _carried_out(step)
    manager = queue.aio
    kept = await manager.driver.arun(steps.recall(manager.terms, attempt, name))
    if kept is None:
        result = await _carried_out(step)
        kept = await manager.driver.arun(steps.keep(manager.terms, attempt, name, result))
    return codec.unpack(kept)


async def _carried_out(step: Callable[[], Any]) -> Any:
    result = step()
    return await result if inspect.isawaitable(result) else result
