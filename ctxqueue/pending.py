"""What a caller holds of an update that waits in an inbox, blocking and awaited."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ctxqueue.clock import microseconds
from ctxqueue.flows import inbox
from ctxqueue.flows.stored import UpdateRef

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from ctxqueue.drivers import AsyncDriver, Driver
    from ctxqueue.effects import Flow
    from ctxqueue.flows.inbox import State
    from ctxqueue.models import CommitResult


class Pending:
    """What both faces have in common."""

    __slots__ = ("_known", "_ref")

    def __init__(self, ref: UpdateRef, *, known: bool) -> None:
        self._ref = ref
        self._known = known

    @property
    def id(self) -> str:
        """The update's name, from which any process can make another of these."""
        return str(self._ref)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}>"

    def _wait(self, timeout: float) -> Flow[CommitResult]:
        if timeout != 0:
            microseconds(timeout, "timeout")
        result = yield from inbox.wait(self._ref, timeout)
        return replace(result, replayed=self._known)


class PendingUpdate(Pending):
    """An update in an inbox, or its outcome: what the journal says, for as long as calls are remembered."""

    __slots__ = ("_driver",)

    def __init__(self, driver: Driver, ref: UpdateRef | str, *, known: bool = False) -> None:
        super().__init__(UpdateRef.parse(ref) if isinstance(ref, str) else ref, known=known)
        self._driver = driver

    @property
    def state(self) -> State:
        """PENDING, APPLIED or FAILED; raises StaleOperation once the outcome is forgotten, WorkflowNotFound."""
        return self._driver.run(inbox.state(self._ref))

    def get(self, timeout: float = 30.0) -> CommitResult:
        """Wait for the outcome; raises the update's typed error, UpdatePending after ``timeout`` seconds."""
        return self._driver.run(self._wait(timeout))


class AsyncPendingUpdate(Pending):
    """The same for event loops."""

    __slots__ = ("_driver",)

    def __init__(self, driver: AsyncDriver, ref: UpdateRef | str, *, known: bool = False) -> None:
        super().__init__(UpdateRef.parse(ref) if isinstance(ref, str) else ref, known=known)
        self._driver = driver

    @property
    def state(self) -> Awaitable[State]:
        """PENDING, APPLIED or FAILED; raises StaleOperation once the outcome is forgotten, WorkflowNotFound."""
        return self._driver.arun(inbox.state(self._ref))

    async def get(self, timeout: float = 30.0) -> CommitResult:  # noqa: ASYNC109 - as the blocking one has it
        """Wait for the outcome; raises the update's typed error, UpdatePending after ``timeout`` seconds."""
        return await self._driver.arun(self._wait(timeout))
