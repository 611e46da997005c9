"""What a caller holds of a recall that a worker does, blocking and awaited."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ctxqueue.flows import recalling
from ctxqueue.threads import in_thread

if TYPE_CHECKING:
    from ctxqueue.drivers import AsyncDriver, Driver
    from ctxqueue.remembered import Reader, Recalled
    from ctxqueue.rules.policy import Policy


class PendingRecall:
    """A recall on its way. ``result`` is Celery's: ids and scores, no texts."""

    def __init__(self, driver: Driver, result: Any, reader: Reader, policy: Policy) -> None:
        self.result = result
        self._driver, self._reader, self._policy = driver, reader, policy

    def __repr__(self) -> str:
        return f"<PendingRecall {self.result.id}>"

    def ready(self) -> bool:
        """Whether a worker has answered."""
        return bool(self.result.ready())

    def get(self, timeout: float | None = 30.0) -> list[Recalled]:
        """Wait for the answer, and read the memories that it names and the reader may see.

        Raises what the recall raised, Celery's TimeoutError after ``timeout`` seconds.
        """
        found = self.result.get(timeout)["found"]
        return self._driver.run(recalling.told(self._policy, self._reader, found))


class AsyncPendingRecall:
    """The same for event loops."""

    def __init__(self, driver: AsyncDriver, result: Any, reader: Reader, policy: Policy) -> None:
        self.result = result
        self._driver, self._reader, self._policy = driver, reader, policy

    def __repr__(self) -> str:
        return f"<AsyncPendingRecall {self.result.id}>"

    async def ready(self) -> bool:
        """Whether a worker has answered."""
        return bool(await in_thread(self.result.ready))

    async def get(self, timeout: float | None = 30.0) -> list[Recalled]:  # noqa: ASYNC109 - as the blocking one has it
        """Wait for the answer in a thread, and read the memories; see `PendingRecall.get`."""
        found = (await in_thread(self.result.get, timeout))["found"]
        return await self._driver.arun(recalling.told(self._policy, self._reader, found))
