"""A plain task, a reducer that kills its process while the value it merges with says so, and a guard."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

from ctxqueue import WriteRefused, register_reducer
from tests.integration.apps.common import queue_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ctxqueue import Proposed
    from ctxqueue.integration.install import ContextQueue


def build(settings: Mapping[str, Any]) -> ContextQueue:
    """Return ctxqueue in the app."""
    ctx = queue_of("inbox", settings)
    register_reducer("deadly", deadly)
    ctx.guards.register("pairs", key="pair*", check=paired)

    @ctx.app.task(name="given", shared=False)
    def given(value: Any) -> Any:
        return value

    @ctx.app.task(name="nothing", shared=False, acks_late=True, reject_on_worker_lost=True)
    def nothing(*given: Any) -> dict[str, Any]:
        return {"given": len(given)}

    return ctx


def deadly(existing: Any, new: Any, _priority: Any) -> Any:
    """Merge, or die."""
    if existing == "deadly":
        os.kill(os.getpid(), signal.SIGKILL)
    return new


def paired(proposed: Proposed) -> None:
    """Let no third one stand."""
    if len(proposed.value) > 2:
        raise WriteRefused("there are two already")
