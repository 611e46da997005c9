"""What is due, and the outbox."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from ctxqueue import effects as fx

if TYPE_CHECKING:
    from ctxqueue.stores.engine.state import State

FORGOTTEN_A_STEP = 1_000

SHARD = 0
"""These stores have one shard."""


def peek(state: State, effect: fx.PeekDue) -> list[fx.Due]:
    """Read what is due; drop what has ended by itself on the way."""
    state.forget(FORGOTTEN_A_STEP)
    return [
        fx.Due(SHARD, cast("Any", due.kind), due.workflow_id, due.detail, score)
        for score, due in state.due(state.now(), effect.limit)
    ]


def backlog(state: State, _effect: fx.LoadBacklog) -> fx.Backlog:
    """Count what is overdue, and what waits to be published."""
    now = state.now()
    return fx.Backlog(now, *state.overdue(now), *state.outgoing())


def take(state: State, effect: fx.TakeOutgoing) -> list[tuple[int, fx.Outgoing]]:
    """Lease items of one app."""
    return [(SHARD, item) for item in state.take(effect.app, effect.limit, state.now() + effect.lease_us)]


def settle(state: State, effect: fx.Settle) -> None:
    """Remove published items."""
    state.settle(effect.item_ids)
