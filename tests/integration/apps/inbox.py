"""A plain task, and a reducer that kills its process while the value it merges with says so."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

from ctxqueue import register_reducer
from tests.integration.apps.common import queue_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ctxqueue.integration.install import ContextQueue


def build(settings: Mapping[str, Any]) -> ContextQueue:
    """Return ctxqueue in the app."""
    ctx = queue_of("inbox", settings)
    register_reducer("deadly", deadly)

    @ctx.app.task(name="given")
    def given(value: Any) -> Any:
        return value

    return ctx


def deadly(existing: Any, new: Any, _priority: Any) -> Any:
    """Merge, or die."""
    if existing == "deadly":
        os.kill(os.getpid(), signal.SIGKILL)
    return new
