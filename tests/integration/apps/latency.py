"""A task that waits for a key and one that does nothing: each says when its body began."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ctxqueue import key
from tests.integration.apps.common import queue_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ctxqueue.integration.install import ContextQueue
    from ctxqueue.rules.conditions import Condition


def build(settings: Mapping[str, Any]) -> ContextQueue:
    """Return ctxqueue in the app."""
    ctx = queue_of("latency", settings)

    @ctx.app.task(name="no_op", shared=False)
    def no_op() -> float:
        return time.time()

    def its_key(name: str) -> Condition:
        return key(name).exists()

    @ctx.task(name="dependent", agent_type="analyst", needs=its_key)
    def dependent(_self: Any, _name: str) -> float:
        return time.time()

    return ctx
