"""Tasks that wait for keys, in every place of a canvas, and the plain ones around them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ctxqueue import all_of, any_of, key
from tests.integration.apps.common import RETRY_PAUSE, hold, note, queue_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ctxqueue.integration.install import ContextQueue
    from ctxqueue.rules.conditions import Condition


def build(settings: Mapping[str, Any]) -> ContextQueue:
    """Return ctxqueue in the app."""
    ctx = queue_of("parking", settings)
    _waiting(ctx)
    _passing(ctx)
    _plain(ctx)
    return ctx


def _waiting(ctx: ContextQueue) -> None:
    def named_key(name: str, *_given: Any) -> Condition:
        return key(name).exists()

    @ctx.task(name="sum_up", agent_type="analyst", needs=all_of("revenue", "rates"))
    def sum_up(self: Any, *given: Any) -> list[Any]:
        note(ctx.app, f"ran:{self.request.id}", given)
        return [*given, self.context["revenue"] + self.context["rates"]]

    @ctx.task(name="either", agent_type="analyst", needs=all_of("base", any_of("left", all_of("right", "more"))))
    def either(self: Any) -> list[str]:
        return sorted(entry.key for entry in self.context.list().items)

    @ctx.task(name="named", agent_type="analyst", needs=named_key)
    def named(self: Any, name: str, *given: Any) -> list[Any]:
        note(ctx.app, f"named:{self.context.workflow_id}", given[:1])
        return [*given, self.context[name]]

    @ctx.task(name="impatient", agent_type="analyst", needs=all_of("here", "never", "nowhere"), needs_timeout=0.3)
    def impatient(self: Any) -> None:
        note(ctx.app, f"ran:{self.request.id}", [])


def _passing(ctx: ContextQueue) -> None:
    @ctx.task(name="hasty", agent_type="analyst", needs="passing", needs_timeout=6.0)
    def hasty(self: Any) -> Any:
        return self.context["passing"]

    @ctx.task(name="stubborn", agent_type="analyst", needs="passing")
    def stubborn(self: Any) -> list[Any]:
        value = self.context["passing"]
        if self.request.retries < 2:
            self.context.delete("passing")
            raise self.retry(countdown=RETRY_PAUSE)
        return [self.request.retries, value]


def _plain(ctx: ContextQueue) -> None:
    app = ctx.app

    @app.task(name="begin", shared=False)
    def begin() -> str:
        return "begun"

    @app.task(name="double", shared=False)
    def double(values: list[Any]) -> list[Any]:
        return [*values, *values]

    @app.task(name="gather", shared=False)
    def gather(results: list[Any]) -> list[Any]:
        return sorted(results, key=repr)

    @app.task(name="held", shared=False)
    def held(name: str) -> None:
        hold(app, name)

    @app.task(name="linked", shared=False)
    def linked(result: Any, name: str) -> None:
        note(app, name, result)

    @app.task(name="mourn", shared=False)
    def mourn(request: Any, error: Exception, _traceback: Any, name: str) -> None:
        note(app, name, [request.id, type(error).__name__, str(error)])
