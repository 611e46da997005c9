"""Waiting until replicas have what a caller is about to be told of: asked for by ``ctxqueue_wait_replicas``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ctxqueue import effects as fx
from ctxqueue.errors import StoreUnavailable
from ctxqueue.stores.redis.requests import Plain

if TYPE_CHECKING:
    from collections.abc import Sequence

WAIT_SECONDS = 1.0
"""How long the replicas have; less than a socket's time limit."""

CONFIRMED = (
    *(fx.Open, fx.Commit, fx.Arm, fx.Close, fx.Enqueue, fx.Promise, fx.Register),
    *(fx.Mark, fx.Cancel, fx.Once),
    *(fx.StoreMemories, fx.AmendMemory, fx.DropMemories),
)
"""What a failover must not take back. The rest is done again after one: a lease, a firing, a message that went out."""

CHANNEL = "ctxqueue:wait"


def fence(effect: fx.Effect[Any], replicas: int) -> Sequence[Plain]:
    """Return what is sent behind an effect, on its connection: the last reply is how many replicas have it.

    WAIT goes by what this connection wrote. A repeated call writes nothing, and may come on another connection than the
    first: so a message goes ahead, which replicas get in turn with all that was written before it.
    """
    if not replicas or not isinstance(effect, CONFIRMED) or _only_looks(effect):
        return ()
    return Plain(("PUBLISH", CHANNEL, "")), Plain(("WAIT", replicas, int(WAIT_SECONDS * 1_000)))


def _only_looks(effect: fx.Effect[Any]) -> bool:
    return isinstance(effect, fx.Once) and effect.value is None


def not_confirmed(confirmed: int, replicas: int, where: str) -> StoreUnavailable:
    """Return the error that says that too few of them have it."""
    return StoreUnavailable(
        f"the server at {where} carried the call out, but only {confirmed} of {replicas} replicas confirmed it"
        f" within {WAIT_SECONDS} s: a failover may lose it. Called again by its operation_id, it takes effect once"
    )
