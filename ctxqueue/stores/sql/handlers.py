"""Which function carries out which effect: the engine's, and those of what only a database has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ctxqueue import effects as fx
from ctxqueue.stores.engine import handlers
from ctxqueue.stores.engine.handlers import looks_once
from ctxqueue.stores.sql.nearest import SqlNearest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["HANDLERS", "looks_at_one_moment", "looks_once"]

HANDLERS: Mapping[type[fx.Effect[Any]], Callable[[Any, Any], Any]] = {
    **handlers.HANDLERS,
    fx.LoadIndex: SqlNearest.index_standing,
    fx.LoadUnindexed: SqlNearest.unindexed,
    fx.IndexMemories: SqlNearest.index_memories,
    fx.SampleMemories: SqlNearest.sampled,
    fx.FindCandidates: SqlNearest.candidates,
}


def looks_at_one_moment(effect: fx.Effect[Any]) -> bool:
    """Whether an effect looks more than once and writes nothing."""
    ours = isinstance(effect, fx.LoadIndex | fx.LoadUnindexed | fx.SampleMemories | fx.FindCandidates)
    return ours or handlers.looks_at_one_moment(effect)
