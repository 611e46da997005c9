"""An app whose tasks run at once, in the test, on a store of the test's own."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from ctxqueue.flows import sweeping
from ctxqueue.integration.install import install
from ctxqueue.integration.installed import installed
from ctxqueue.stores.inprocess.store import InprocessStore
from ctxqueue.testing.clock import TestClock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ctxqueue.integration.install import ContextQueue
    from ctxqueue.models import SweepReport

MESSAGES = 10_000
EAGER = {"task_always_eager": True, "task_eager_propagates": True}


class Needing(NamedTuple):
    """A task with ``needs``, as it was called; or what a trigger or a subscription sent, and the keys that did it."""

    task: str
    workflow_id: str
    keys: tuple[str, ...]


class EagerContext:
    """The app's `ContextQueue`, all of whose attributes it has, and what a test looks at."""

    def __init__(self, queue: ContextQueue, clock: TestClock) -> None:
        self.queue = queue
        self.parked: list[Needing] = []
        """Tasks that raised DependencyNotReady, with the keys that were missing: a worker would have parked them."""
        self.fired: list[Needing] = []
        """Tasks that ran since the keys that they need were there, and what triggers and subscriptions sent."""
        self._clock = clock

    def advance(self, seconds: float) -> SweepReport:
        """Move the store's clock on, and do what beat does then: what has expired goes, deadlines pass."""
        self._clock.advance(seconds)
        manager = self.queue.manager
        report = manager.cleanup_expired_contexts()
        manager.driver.run(sweeping.resend(manager.terms, MESSAGES))
        return report

    def needs_looked_at(self, task: str, workflow_id: str, needed: tuple[str, ...], missing: tuple[str, ...]) -> None:
        """Take note; the task class calls it."""
        if missing:
            self.parked.append(Needing(task, workflow_id, missing))
        else:
            self.fired.append(Needing(task, workflow_id, needed))

    def launched(self, task: str, workflow_id: str, keys: tuple[str, ...]) -> None:
        """Take note; the task that launches calls it."""
        self.fired.append(Needing(task, workflow_id, keys))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.queue, name)


@contextmanager
def eager_context(app: Any) -> Iterator[EagerContext]:
    """Let a Celery app's tasks run at once, on an empty store; afterwards the app is as it was."""
    queue = installed(app) or install(app, backend_url="memory://")
    before = {name: app.conf[name] for name in EAGER}
    clock = TestClock()
    context = EagerContext(queue, clock)
    app.conf.update(EAGER)
    try:
        with queue.on_store(InprocessStore(clock), watcher=context):
            yield context
    finally:
        app.conf.update(before)
