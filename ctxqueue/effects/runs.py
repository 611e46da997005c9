"""Attempts at a run, and parking: claimed, armed, renewed, finished, called off."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from ctxqueue.effects.base import Effect, Outgoing

if TYPE_CHECKING:
    from ctxqueue.rules.dependencies import Tree


class Position(msgspec.Struct, frozen=True, order=True, array_like=True):
    """How far a run has come: retries of the task, then legs between two parkings."""

    retries: int
    leg: int

    @classmethod
    def of_item(cls, item_id: str) -> Position:
        """Return the position of the message that an outbox item holds; the item's id ends in it."""
        retries, _, leg = item_id.rpartition("\0")[2].partition(".")
        return cls(int(retries), int(leg))


class Claimed(msgspec.Struct, frozen=True):
    """What a claim was answered.

    run: go ahead with ``epoch``. timeout: go ahead, but the deadline has passed. closed: go ahead, but the workflow
    was closed or removed while the run waited, or before what it needs was there. stale: a newer position exists.
    standby: another attempt is alive; the message is kept. message: it is to be kept, and the claim did not give it.
    parked: the store owns the message.
    done, failed: it has ended before, with ``outcome`` (empty: too large to keep). cancelled: it was called off.
    """

    answer: Literal["run", "timeout", "closed", "stale", "standby", "message", "parked", "done", "failed", "cancelled"]
    epoch: int = 0
    outcome: bytes = b""
    unmet: tuple[int, ...] = ()
    """With run and timeout: ordinals of the leaves that are false."""
    parked_us: int = 0
    """With a leg above 0: how long it was parked."""
    lost: int = 0
    """How many attempts at this position were taken over: their leases had passed, and they had not ended."""


class Claim(Effect[Claimed], frozen=True):
    """Begin an attempt at a run, or learn why not.

    A message that was kept for the case that this one does not come, of this position or an earlier one, is dropped.
    """

    workflow_id: str
    run_id: str
    position: Position
    condition: Tree | None
    item_id: str
    message: bytes
    """To re-send should the living attempt die. Empty: whoever claims will give it if it is asked for."""
    lease_us: int
    horizon_us: int
    claim_id: bytes
    """Random: a claim that is tried again after a lost reply is the same claim."""
    after_epoch: int = 0
    """The attempt that published this message, as its retry: stale, if another had taken over. 0: unknown, or none."""


class Bind(Effect[bool], frozen=True):
    """Note which run a Celery task is, for those who want to cancel it. Reply: whether somebody has marked it so.

    Goes with a `Claim`: who cancels marks the task, then looks for its run; who claims binds it, then looks for the
    mark. So one of them sees the other.
    """

    task_id: str
    workflow_id: str
    run_id: str
    keep_us: int
    """How long this is remembered."""


class Mark(Effect[tuple[str, str] | None], frozen=True):
    """Mark a Celery task as cancelled, or not, or (None) only look where it is.

    Reply: workflow and run of it, if a worker has seen it.
    """

    task_id: str
    cancelled: bool | None
    keep_us: int


class Cancelled(msgspec.Struct, frozen=True):
    """cancelled: now or before. ended: it had come to its end. unknown: there is no record of it (any more)."""

    answer: Literal["cancelled", "ended", "unknown"]
    outgoing: tuple[Outgoing, ...] = ()


class Cancel(Effect[Cancelled], frozen=True):
    """Call a run off: its attempt is fenced, and each of its messages will be answered so, by whoever claims it.

    If it is parked its message is sent, as for a deadline: a worker has to tell the task's chain and chord.
    """

    workflow_id: str
    run_id: str
    app: str
    lease_us: int
    horizon_us: int


class Promise(Effect[bool], frozen=True):
    """Keep the message of a run that is about to be published, so that it is sent again until it is claimed.

    It is of the position that its item's id ends in. False: the run was claimed there or further on, nothing is kept.
    The workflow need not be there.
    """

    workflow_id: str
    run_id: str
    item_id: str
    message: bytes
    wait_us: int
    """Until it is sent again, the first time."""
    keep_us: int
    """Until it is given up."""


class Remembered(msgspec.Struct, frozen=True):
    """kept: now. found: it was kept before; ``value`` is that one. absent: nothing was. The others: nothing is kept."""

    answer: Literal["kept", "found", "absent", "superseded", "calls"]
    value: bytes = b""


class Once(Effect[Remembered], frozen=True):
    """Keep a step's result in a run's record, under its name, unless one is there; with no value only look."""

    workflow_id: str
    run_id: str
    epoch: int
    name: str
    value: bytes | None
    horizon_us: int


class Renew(Effect[bool], frozen=True):
    """Lengthen an attempt's lease. False: it was superseded."""

    workflow_id: str
    run_id: str
    epoch: int
    lease_us: int


class Armed(msgspec.Struct, frozen=True):
    """parked: the store has the message. ready: the condition holds, go on. timeout: the deadline has passed.

    missing: it would be parked, if it were not only looked at.
    """

    answer: Literal["parked", "missing", "ready", "timeout", "superseded", "no_workflow", "closed", "patterns"]
    unmet: tuple[int, ...] = ()


class Arm(Effect[Armed], frozen=True):
    """Park a run until its condition holds or its deadline passes: register and check in one step.

    Without a message it is only looked at what would become of it.
    """

    workflow_id: str
    run_id: str
    epoch: int
    wait: str
    """Which of the run's waits this is: each keeps its first deadline, however often the run is parked for it."""
    condition: Tree
    item_id: str
    message: bytes
    timeout_us: int
    horizon_us: int
    lease_us: int
    judge: bytes = b""
    """By what whoever is told of a write judges it, where the store cannot; it is due to be judged at once."""


class Finish(Effect[bool], frozen=True):
    """End an attempt. ``retried``: its successor was published. False: it was superseded."""

    workflow_id: str
    run_id: str
    epoch: int
    state: Literal["done", "failed", "retried"]
    outcome: bytes
    horizon_us: int
    position: Position | None = None
    """With epoch 0: of whichever attempt runs there. Who ends an attempt from outside knows no epoch."""
