"""Threads for what an event loop hands over because it waits for a broker or a result.

The loop's own few are also those that look up host names: while a broker does not answer they would all wait for it,
and the application could connect to nothing else.
"""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

MOST = 64


class _Threads:
    """One process's; made when first used, again after a fork, which leaves none of them."""

    def __init__(self) -> None:
        self._reset()
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self._pool: ThreadPoolExecutor | None = None

    def pool(self) -> ThreadPoolExecutor:
        """Return them; called in event loops alone."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(MOST, thread_name_prefix="ctxqueue-waits")
        return self._pool


_threads = _Threads()


async def in_thread(call: Callable[..., T], *args: object, **options: object) -> T:
    """Do what `asyncio.to_thread` does, in a thread of ours."""
    within = partial(copy_context().run, call, *args, **options)
    return await asyncio.get_running_loop().run_in_executor(_threads.pool(), within)
