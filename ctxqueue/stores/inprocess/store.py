"""The in-process store: the engine over this process's memory, through the same codec and records as every other.

It serves one process (`memory://`; `memory://name` is shared within it).
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, TypeVar, cast

from ctxqueue.effects import Batch
from ctxqueue.stores.engine.handlers import HANDLERS
from ctxqueue.stores.inprocess.state import MemoryState, machine_clock, moved

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager, AbstractContextManager

    from ctxqueue.effects import Effect
    from ctxqueue.stores.waking import AsyncWake, Wake

T = TypeVar("T")


class InprocessStore:
    """Carries out effects under one lock, in the memory of this process."""

    shards = range(1)
    where = "this process"

    def __init__(self, clock: Callable[[], int] = machine_clock) -> None:
        """Make an empty store; ``clock`` gives its time, in microseconds since 1970."""
        self._lock = threading.RLock()
        self._state = MemoryState(clock)

    def verify(self) -> None:
        """Nothing to reach."""

    def perform(self, effect: Effect[T]) -> T:
        """Carry out one effect."""
        if isinstance(effect, Batch):
            return cast("T", tuple(self.perform(each) for each in effect.effects))
        with self._lock:
            return cast("T", HANDLERS[type(effect)](self._state, effect))

    def listening(self, channel: str) -> AbstractContextManager[Wake]:
        """Return a block in which one can wait to be woken by a name."""
        return self._state.callings.listening(channel)

    def alistening(self, channel: str) -> AbstractAsyncContextManager[AsyncWake]:
        """Return the same for event loops."""
        return self._state.callings.alistening(channel)

    def follow(self, workflow_id: str, revision: int, seconds: float) -> None:
        """Return when a workflow has gone beyond a revision, or after so many seconds."""
        with self._state.callings.listening(moved(workflow_id)) as called:
            if not self._has_moved(workflow_id, revision):
                called.wait(seconds)

    async def afollow(self, workflow_id: str, revision: int, seconds: float) -> None:
        """Do the same in an event loop."""
        async with self._state.callings.alistening(moved(workflow_id)) as called:
            if not self._has_moved(workflow_id, revision):
                await called.wait(seconds)

    def _has_moved(self, workflow_id: str, revision: int) -> bool:
        with self._lock:
            workflow = self._state.hold(workflow_id).workflow
            return workflow is None or workflow.revision != revision or bool(workflow.closed_us)

    def shard_of(self, _workflow_id: str) -> int:
        """Return the only shard."""
        return 0

    def close(self) -> None:
        """Keep everything: another handle may share this store."""


_shared: dict[tuple[str, str], InprocessStore] = {}
_sharing = threading.Lock()


def open_inprocess(name: str, namespace: str) -> InprocessStore:
    """Return the process's store of that name; without a name, a new one that nobody shares."""
    if not name:
        return InprocessStore()
    with _sharing:
        return _shared.setdefault((name, namespace), InprocessStore())
