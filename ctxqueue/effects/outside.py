"""Effects on the world outside the store."""

from __future__ import annotations

from ctxqueue.effects.base import Effect, Outgoing


class Wait(Effect[None], frozen=True):
    """Let some time pass."""

    seconds: float


class Publish(Effect[tuple[str, ...]], frozen=True):
    """Hand items to the broker. Reply: the ids of those that it took."""

    items: tuple[Outgoing, ...]
