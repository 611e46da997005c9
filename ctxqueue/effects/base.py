"""What an effect is, and what those of several kinds share."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Generic, TypeVar

import msgspec

R = TypeVar("R")

PAGE_BYTES = 256 * 1024

Flow = Generator["Effect[Any]", Any, R]


class Effect(msgspec.Struct, Generic[R], frozen=True):
    """A request whose reply is an R."""


def do(effect: Effect[R]) -> Flow[R]:
    """Ask for one effect and return its reply, with the exact type of that effect's."""
    reply: R = yield effect
    return reply


class Batch(Effect[tuple[Any, ...]], frozen=True):
    """Several effects, each on one workflow, in one round trip where the store has such.

    Each is atomic, all together are not.
    """

    effects: tuple[Effect[Any], ...]


WAKE = "ctxqueue:wake:"
"""Begins the app of an item that is no message: who waits by this name is woken."""


class Outgoing(msgspec.Struct, frozen=True, array_like=True):
    """An outbox item in this process's hands: to be published, then settled."""

    item_id: str
    message: bytes
