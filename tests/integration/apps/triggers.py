"""Tasks that triggers send."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery import chain, chord, group

from ctxqueue import all_of, current, key
from tests.integration.apps.common import hold, note, queue_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ctxqueue.integration.install import ContextQueue


def of_the_extractor(cause: dict[str, Any], view: Any) -> bool:
    """Choose what one agent has written, while there is something to report."""
    return cause["agent"] == "extractor_1" and "done" in view


def build(settings: Mapping[str, Any]) -> ContextQueue:
    """Return ctxqueue in the app."""
    ctx = queue_of("triggers", settings)
    app = ctx.app

    @ctx.task(name="work", agent_type="worker")
    def work(self: Any, *given: Any) -> Any:
        name = self.context.workflow_id
        note(app, f"work:{name}", [given, self.cause])
        self.context.update({"done": [list(given)]}, merge_strategy="append")
        return list(given)

    @ctx.task(name="plan", agent_type="planner")
    def plan(self: Any) -> str:
        trigger = self.context.when(all_of("left", key("right") > 1)).then(app.tasks["work"].s("planned"))
        return str(trigger.id)

    @ctx.task(name="loops", agent_type="looper")
    def loops(self: Any) -> None:
        note(app, f"loops:{self.context.workflow_id}", self.cause)
        current().when("always").then(app.tasks["loops"].s())

    @ctx.task(name="recalculate", agent_type="calculator")
    def recalculate(self: Any, *, fails: bool = False) -> Any:
        name = self.context.workflow_id
        note(app, f"begun:{name}", self.cause)
        hold(app, name)
        note(app, f"recalculated:{name}", self.context["rates"])
        if fails:
            raise ValueError("it fails")

    @ctx.task(name="waits_for", agent_type="worker", needs=lambda name: key(name).exists())
    def waits_for(self: Any, name: str) -> Any:
        return self.context[name]

    @app.task(name="plain", shared=False)
    def plain(*given: Any) -> None:
        note(app, "plain", given)

    return ctx


CANVASES = {
    "task": lambda tasks: tasks["work"].s(1),
    "chain": lambda tasks: chain(tasks["work"].s(1), tasks["work"].s(2)),
    "group": lambda tasks: group(tasks["work"].s(1), tasks["work"].s(2)),
    "chord": lambda tasks: chord([tasks["work"].s(1), tasks["work"].s(2)], tasks["work"].s(3)),
}
