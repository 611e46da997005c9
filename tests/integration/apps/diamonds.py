"""Tasks that form a diamond by what they need, not by a canvas: a, then b, c and d, then e, then f.

They stand beside those of the chaos app, whose processes say how far they are.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ctxqueue import all_of
from tests.integration.apps import chaos

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ctxqueue.integration.install import ContextQueue

NEEDS = {"a": ("seed",), "b": ("a",), "c": ("a",), "d": ("a",), "e": ("b", "c", "d"), "f": ("e",)}


def build(settings: Mapping[str, Any]) -> ContextQueue:
    """Return ctxqueue in the app."""
    ctx = chaos.build(settings)
    for name, needs in NEEDS.items():
        _corner(ctx, name, needs)
    return ctx


def _corner(ctx: ContextQueue, name: str, needs: tuple[str, ...]) -> None:
    @ctx.task(name=f"corner_{name}", agent_type="writer", durable=True, needs=all_of(*needs))
    def corner(self: Any, seconds: float) -> int:
        there = self.context.view()
        value = 1 + sum(there[key] for key in needs)  # KeyError where it runs without one of them
        chaos.say(ctx.app, chaos.IN_BODY, self.request)
        time.sleep(seconds)  # the work
        self.context.update({"ran": [name]}, merge_strategy="append")
        self.context.put(name, value)
        chaos.say(ctx.app, chaos.COMMITTED, self.request)
        time.sleep(seconds / 4)  # the time between commit and ack, for kills to land in
        return int(value)
