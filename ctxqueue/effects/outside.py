"""Effects on the world outside the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from ctxqueue.effects.base import Effect, Outgoing

if TYPE_CHECKING:
    from collections.abc import Callable

R = TypeVar("R")


class Wait(Effect[None], frozen=True):
    """Let some time pass."""

    seconds: float


class AwaitChange(Effect[None], frozen=True):
    """Wait until a workflow's log may have gone beyond a revision, or for so many seconds.

    The reply says nothing of what there is: the log does. A store that calls nobody lets the time pass by looks.
    """

    workflow_id: str
    revision: int
    seconds: float


class Publish(Effect[tuple[str, ...]], frozen=True):
    """Hand items to the broker. Reply: the ids of those that it took."""

    items: tuple[Outgoing, ...]


class Work(Effect[R], frozen=True):
    """Do what takes long and knows no event loop: embed texts, rank memories. An async driver does it in a thread."""

    call: Callable[[], R]


def work(call: Callable[[], R]) -> Work[R]:
    """Return it with the exact type of what the call returns."""
    made: Work[Any] = Work(call)
    return made
