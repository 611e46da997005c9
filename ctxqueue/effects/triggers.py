"""Triggers: messages that wait in the store for a condition, with a record of what became of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from ctxqueue.effects.base import Effect, Outgoing

if TYPE_CHECKING:
    from ctxqueue.effects.recurring import Recurring
    from ctxqueue.identity import Call
    from ctxqueue.rules.dependencies import Tree

TriggerState = Literal["ARMED", "RUNNING", "RUNNING_DIRTY", "FIRED", "CANCELLED", "EXPIRED", "FAILED"]


class KeptTrigger(msgspec.Struct, frozen=True):
    """A trigger as it stands. FIRED: its message is on its way, or has been dealt with.

    Of one that fires each time: ARMED: it waits. RUNNING: what it sent has not come to its end. RUNNING_DIRTY: nor has
    it, and something was written since.
    """

    trigger_id: str
    state: TriggerState
    record: bytes
    """What whoever registered it wants to know of it."""
    reason: str = ""
    """Of a failed one."""


class Registered(msgspec.Struct, frozen=True):
    """armed: it waits. fired: its condition holds. found: it was registered before. The others: nothing is kept.

    family: there are as many of its family as there may be.
    """

    answer: Literal["armed", "fired", "found", "no_workflow", "closed", "full", "family", "patterns", "calls"]
    outgoing: tuple[Outgoing, ...] = ()


class Register(Effect[Registered], frozen=True):
    """Keep a message until its condition holds, or its time is up: register and check in one step.

    It stands among the parked runs of its workflow, without an attempt, and is claimed as they are. Without a record it
    is nobody's trigger, but a caller that waits, and is woken in the place of a message.
    """

    workflow_id: str
    trigger_id: str
    condition: Tree
    judge: bytes
    item_id: str
    message: bytes
    late_message: bytes
    """Sent in the place of the other when the time is up."""
    timeout_us: int | None
    record: bytes
    most: int
    app: str
    lease_us: int
    call: Call | None = None
    """Of a run: made before, it is found, though its record may be trimmed."""
    horizon_us: int = 0
    """How long the call is remembered."""
    recurring: Recurring | None = None


class LoadTrigger(Effect[KeptTrigger | None], frozen=True):
    """Read one."""

    workflow_id: str
    trigger_id: str


class LoadTriggers(Effect[tuple[list[KeptTrigger], str]], frozen=True):
    """Read some, in no order, from a cursor on ('' at first). Reply: they, and the next cursor, '' at the end."""

    workflow_id: str
    cursor: str
    limit: int


class EndTrigger(Effect[bool], frozen=True):
    """Write down how it ended; one that waits waits no more. With ``armed`` only if it does. False: nothing was done.

    The last hundred that ended are kept, but for one that is to be forgotten.
    """

    workflow_id: str
    trigger_id: str
    state: TriggerState
    reason: str = ""
    armed: bool = False
    forget: bool = False
    """Keep nothing of it."""
