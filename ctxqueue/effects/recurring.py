"""What fires each time: triggers with ``every``, and subscriptions.

Such a one stands among the parked runs of its workflow and stays there. It is always judged: told of a write as they
are, watched anew, looked at; and what the look has come to is written down by `Recur`, with what it sends if it fires.
Its id begins with its *family*, up to the first ``-``; a family that begins with ``~`` does not keep its workflow from
being idle.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from ctxqueue.effects.base import Effect, Outgoing

LASTING = "~"
"""Begins the ids of those that wait for no end of their own."""


def family_of(trigger_id: str) -> str:
    """Return what its id begins with; empty for one that fires once."""
    family, dash, _ = trigger_id.partition("-")
    return family if dash and family[:1] in (LASTING, "+") else ""


class Recurring(msgspec.Struct, frozen=True):
    """Registered so, it stays when it has fired."""

    most: int
    """Of its family in this workflow."""
    notes: bytes = b""
    """What it remembers from one look to the next."""


class Firing(msgspec.Struct, frozen=True):
    """What one sends. The message is kept until its run is claimed, as that of a released task."""

    run_id: str
    message: Outgoing
    running_us: int = 0
    """0: nobody waits for its end. Else it does not fire again before `EndRun`, or this time."""
    agent_id: str = ""
    """Whose notification it is; the last hundred of an agent are kept."""
    notice: bytes = b""


class Recurred(msgspec.Struct, frozen=True):
    """done: it is written down. moved: somebody has looked since, or it was told of a write. gone: it does not wait."""

    answer: Literal["done", "moved", "gone"]
    outgoing: tuple[Outgoing, ...] = ()


class Recur(Effect[Recurred], frozen=True):
    """Write down what a look at one that fires each time has come to, unless another has begun since.

    It is due to be looked at again at ``due_us``; None: when it is told of a write.
    """

    workflow_id: str
    trigger_id: str
    turn: int
    """That `Rewatch` answered."""
    notes: bytes
    due_us: int | None
    firing: Firing | None
    app: str
    lease_us: int


class EndRun(Effect[bool], frozen=True):
    """A part of what a trigger sent at its n-th firing has come to its end; True: the last one, it may fire again.

    It is due to be judged then. Each part counts once; an end of an earlier firing does not count.
    """

    workflow_id: str
    trigger_id: str
    number: int
    parts: tuple[int, ...]
    of: int
    lease_us: int


class LoadNotices(Effect[list[bytes]], frozen=True):
    """Read what an agent was notified of, the oldest first."""

    workflow_id: str
    agent_id: str
