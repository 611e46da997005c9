"""Tasks whose bodies and declarations are what people write in a hurry, and a task class that has its troubles."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from kombu.exceptions import OperationalError

from tests.integration.apps.common import RETRY_PAUSE, TaskClass, note, queue_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ctxqueue.integration.install import ContextQueue

LONG = 100.0
"""Seconds."""


def build(settings: Mapping[str, Any]) -> ContextQueue:
    """Return ctxqueue in the app."""
    ctx = queue_of("bodies", settings)
    _calling(ctx)
    _retrying(ctx)
    _waiting(ctx)
    _ending(ctx)
    return ctx


def _calling(ctx: ContextQueue) -> None:
    @ctx.task(name="factorial", agent_type="a")
    def factorial(self: Any, number: int) -> int:
        note(ctx.app, f"ran:{self.context.workflow_id}", number)
        return 1 if number <= 1 else number * int(factorial(number - 1))

    @ctx.task(name="factorial_awaited", agent_type="a")
    async def factorial_awaited(self: Any, number: int) -> int:
        note(ctx.app, f"ran:{self.acontext.workflow_id}", number)
        return 1 if number <= 1 else number * int(await factorial_awaited(number - 1))

    def without_agent(self: Any) -> str:
        return str(self.context.workflow_id)

    declare: Any = ctx.app.task(name="based", bind=True, base=ctx.Task, shared=False)
    declare(without_agent)


def _retrying(ctx: ContextQueue) -> None:
    @ctx.task(name="giving_up", agent_type="a", max_retries=0)
    def giving_up(self: Any, *_secrets: str, **_more: str) -> None:
        raise self.retry()


def _waiting(ctx: ContextQueue) -> None:
    def picky(*_given: Any) -> Any:
        note(ctx.app, "picky", 1)
        raise LookupError("no such argument")

    class Unheard(TaskClass):
        """Has a broker that takes no event."""

        abstract = True

        def send_event(self, *_kind: Any, **_fields: Any) -> Any:
            raise OperationalError("the broker is away")

    @ctx.task(name="picky", agent_type="a", needs=picky, durable=True)
    def picky_task(self: Any) -> None:
        raise NotImplementedError

    @ctx.task(name="unheard", agent_type="a", needs="key", base=Unheard)
    def unheard(self: Any) -> Any:
        return self.context["key"]

    @ctx.task(name="wait", agent_type="a", needs="key")
    def wait(self: Any) -> Any:
        return self.context["key"]

    @ctx.task(name="wait_and_retry", agent_type="a", needs="key")
    def wait_and_retry(self: Any) -> list[Any]:
        if not self.request.retries:
            raise self.retry(countdown=RETRY_PAUSE)
        return [self.request.retries, self.waited]

    @ctx.task(name="shows", agent_type="a", needs="key")
    def shows(_self: Any, given: Any) -> str:
        return str(given)


def _ending(ctx: ContextQueue) -> None:
    @ctx.task(name="too_long", agent_type="a", time_limit=1)
    def too_long(self: Any) -> None:
        note(ctx.app, f"ran:{self.request.id}", 1)
        self.context.update({"log": [1]}, merge_strategy="append")
        time.sleep(LONG)  # the work, which its limit ends

    @ctx.task(name="tries_again", agent_type="a", time_limit=1, acks_on_timeout=False)
    def tries_again(self: Any) -> str:
        if not self.context.update({"tried": 1}).replayed:
            time.sleep(LONG)  # the work, which its limit ends
        return "in time"

    class Odd:
        """Is JSON for kombu, and an error for whoever asks for a dict."""

        def to_dict(self) -> dict[str, Any]:
            raise RuntimeError("not now")

        def __json__(self) -> str:
            return "odd"

    @ctx.task(name="odd", agent_type="a")
    def odd(_self: Any) -> Any:
        return Odd()

    @ctx.task(name="told", agent_type="a")
    def told(self: Any, what: Any) -> Any:
        note(ctx.app, f"ran:{self.request.id}", what)
        return what
