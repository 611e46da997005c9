"""A task that tells of every message it gets, and one that releases it from inside another message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.integration.apps.common import RETRY_PAUSE, TaskClass, note, queue_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ctxqueue.integration.install import ContextQueue


def build(settings: Mapping[str, Any]) -> ContextQueue:
    """Return ctxqueue in the app."""
    ctx = queue_of("requests", settings)
    app = ctx.app

    class Watched(TaskClass):
        """Leaves what each message of a task says of itself."""

        abstract = True

        def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
            note(app, f"request:{task_id}", {**vars(self.request), "args": args, "kwargs": kwargs})

    @ctx.task(name="watched", agent_type="analyst", needs="key", base=Watched)
    def watched(self: Any, *_args: Any, **_kwargs: Any) -> str:
        note(app, f"ran:{self.request.id}", 1)
        return "done"

    @ctx.task(name="retried", agent_type="analyst", base=Watched)
    def retried(self: Any, _secret: str) -> int:
        if not self.request.retries:
            raise self.retry(countdown=RETRY_PAUSE)
        return int(self.request.retries)

    @ctx.task(name="release", agent_type="analyst")
    def release(self: Any) -> list[str]:
        self.context.put("key", 1)
        return [child.id for child in self.request.children]

    @app.task(name="after", shared=False)
    def after(*_args: Any) -> None:
        pass

    return ctx
