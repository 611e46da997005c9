"""Tasks that come to need something while they run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ctxqueue import DependencyTimeout, all_of, any_of, at_least, key
from tests.integration.apps.common import note, queue_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ctxqueue.integration.install import ContextQueue


def build(settings: Mapping[str, Any]) -> ContextQueue:
    """Return ctxqueue in the app."""
    ctx = queue_of("waits", settings)
    _plain(ctx)
    _awaiting(ctx)
    _judged(ctx)
    return ctx


def _plain(ctx: ContextQueue) -> None:
    @ctx.task(name="approve", agent_type="clerk", needs="draft")
    def approve(self: Any) -> list[Any]:
        note(ctx.app, f"began:{self.request.id}", self.request.id)
        self.context.update({"steps": ["asked"]}, merge_strategy="append")
        drawn = self.once("draw", lambda: self.request.id + str(len(self.context["steps"])))
        view = self.wait_for(any_of("approved", "rejected"), timeout=60)
        self.context.update({"steps": ["answered"]}, merge_strategy="append")
        second = self.wait_for("signed")
        return [drawn, sorted(view), second["signed"]]

    @ctx.task(name="fall_back", agent_type="clerk")
    def fall_back(self: Any) -> list[str]:
        tried = []
        for name in ("first", "second"):
            try:
                self.wait_for(name, timeout=0.3)
                tried.append(f"got {name}")
            except DependencyTimeout as error:
                tried.append(str(error))
        return tried

    @ctx.task(name="careless", agent_type="clerk")
    def careless(self: Any) -> str:
        with self.context.transaction():
            self.context.put("written", 1)
        try:
            self.wait_for("late")
        except Exception:  # noqa: BLE001 - what a body may do
            note(ctx.app, "swallowed", self.request.id)
        return "done"


def _judged(ctx: ContextQueue) -> None:
    @ctx.task(name="settle", agent_type="clerk", needs=all_of("draft", at_least(2, "part_*")))
    def settle(self: Any) -> list[Any]:
        view = self.wait_for(all_of(key("total") > 10, key("state").in_(["final", "frozen"])))
        return [view["total"], view["state"]]

    @ctx.task(name="too_late", agent_type="clerk", needs=key("total") > 10, needs_timeout=0.3)
    def too_late(self: Any) -> Any:
        return self.context["total"]


def _awaiting(ctx: ContextQueue) -> None:
    @ctx.task(name="awaits", agent_type="clerk")
    async def awaits(self: Any) -> int:
        await self.acontext.update({"begun": 1}, merge_strategy="increment")
        view = await self.wait_for("answer")
        return int(view["answer"] + view["begun"])
