"""Tasks that get a secret as their argument and end in every way; none of them tells it on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery.worker.request import Request

from tests.integration.apps.common import RETRY_PAUSE, hold, note, queue_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ctxqueue.integration.install import ContextQueue


class HouseRequest(Request):
    """The project's own, which leaves a note of each task that a pool accepts."""

    def on_accepted(self, pid: Any, time_accepted: float) -> None:
        note(self.app, f"accepted:{self.id}", [self.args, self.kwargs])
        super().on_accepted(pid, time_accepted)


def build(settings: Mapping[str, Any]) -> ContextQueue:
    """Return ctxqueue in the app."""
    ctx = queue_of("discreet", settings)

    @ctx.task(name="succeed", agent_type="analyst", Request=HouseRequest)
    def succeed(_self: Any, secret: str, *, also: str) -> list[int]:
        return [len(secret), len(also)]

    @ctx.task(name="fail", agent_type="analyst")
    def fail(_self: Any, _secret: str, *, also: str) -> None:
        raise LookupError(f"nothing of {len(also)} characters")

    @ctx.task(name="again", agent_type="analyst")
    def again(self: Any, _secret: str, *, also: str) -> int:
        if not self.request.retries:
            raise self.retry(countdown=RETRY_PAUSE)
        return len(also)

    @ctx.task(name="wait", agent_type="analyst", needs="key")
    def wait(_self: Any, _secret: str, *, also: str) -> int:
        return len(also)

    @ctx.task(name="held", agent_type="analyst")
    def held(_self: Any, _secret: str, *, also: str) -> int:
        hold(ctx.app, "held")
        return len(also)

    @ctx.task(name="slow", agent_type="analyst", time_limit=1)
    def slow(_self: Any, _secret: str, *, also: str) -> int:
        hold(ctx.app, "slow")
        return len(also)

    return ctx
