"""Updates that wait in an inbox until they are settled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from ctxqueue.effects.base import PAGE_BYTES, Effect, Outgoing

if TYPE_CHECKING:
    from ctxqueue.effects.due import Due


class Enqueued(msgspec.Struct, frozen=True):
    """stored: it waits. send: it waits, and no drain is on its way: publish one. known: it has an outcome already.

    The others: nothing was stored.
    """

    answer: Literal["stored", "send", "known", "full", "no_workflow", "closed"]


class Enqueue(Effect[Enqueued], frozen=True):
    """Store an update in a workflow's inbox until it is settled; one that is there already stays as it is.

    Queued, it is for the workflow's drain: unless one is announced and not overdue, its announcement is due after the
    lease. Else its own message is due again after the lease, after twice that, and so on, at most an hour.
    """

    workflow_id: str
    update_id: str
    owner: str
    """Of its journal."""
    payload: bytes
    queued: bool
    outgoing: Outgoing
    """Not queued: its message. Queued: the message that reports its outcome; empty if nobody waits for one."""
    drain: Outgoing
    """The drain's message."""
    limit: int
    """Updates that an inbox holds at most, dead letters among them."""
    lease_us: int
    life_us: int = 0
    """After so long it is dropped instead of being sent again; 0: never."""


class Outcome(msgspec.Struct, frozen=True):
    """What came of an update: ``failure``, or a revision and versions by address."""

    revision: int = 0
    addresses: tuple[str, ...] = ()
    versions: tuple[int, ...] = ()
    failure: bytes = b""


class StoredUpdate(msgspec.Struct, frozen=True):
    """An update in an inbox."""

    update_id: str
    payload: bytes
    outgoing: Outgoing


class Found(msgspec.Struct, frozen=True):
    """Where an update stands: stored, with an outcome, both (a dead letter), or neither."""

    head: bool
    """Whether the workflow is there."""
    stored: StoredUpdate | None = None
    attempts: int = 0
    outcome: Outcome | None = None
    dead: bool = False
    """A dead letter: nobody is to try it, also once its outcome has been forgotten."""


class FindUpdate(Effect[Found], frozen=True):
    """Look for an update; ``attempt``: count an attempt at it first."""

    workflow_id: str
    update_id: str
    owner: str
    attempt: bool


class Drawn(msgspec.Struct, frozen=True):
    """What a drain is answered. ``crashes``: drains that held the inbox and ended without settling anything."""

    answer: Literal["batch", "empty", "busy", "no_workflow"]
    crashes: int = 0
    updates: tuple[StoredUpdate, ...] = ()


class Draw(Effect[Drawn], frozen=True):
    """Take hold of a workflow's inbox and read the updates that wait longest.

    At most ``limit`` and about ``max_bytes``, one at least; only one after ``careful_after`` crashes, and so for the
    next 100 updates.
    """

    workflow_id: str
    drain_id: bytes
    limit: int
    careful_after: int
    lease_us: int
    max_bytes: int = PAGE_BYTES


class LetGo(Effect[None], frozen=True):
    """Let go of the inbox: the next drain takes hold of it at once, without counting a crash."""

    workflow_id: str
    drain_id: bytes


class Bury(Effect[bool], frozen=True):
    """Make an update a dead letter: it stays in the inbox, and nobody tries it. False: it is not there, or not held.

    ``drain_id``: the drain that holds the inbox, whose first update it is; empty: it is not queued. One that is queued
    is left to its drain.
    """

    workflow_id: str
    update_id: str
    owner: str
    drain_id: bytes
    about: bytes
    """For the list of dead letters."""
    failure: bytes
    horizon_us: int
    reports: bool
    """Send its report, so that who waits for it learns of the failure."""


class LoadDead(Effect[tuple[bool, list[tuple[str, bytes]]]], frozen=True):
    """Read dead letters in the order of their ids, those after ``after``.

    Reply: whether the workflow is there, and (id, what is known of it) pairs.
    """

    workflow_id: str
    after: str
    limit: int


class LoadUpdates(Effect[tuple[list[StoredUpdate], str]], frozen=True):
    """Read stored updates, dead letters among them, in no order, from a cursor on ('' at first).

    About ``limit``; the reply: they, and the next cursor, '' at the end. One may come twice.
    """

    workflow_id: str
    cursor: str
    limit: int


class Revive(Effect[bool], frozen=True):
    """Put a dead letter back to be tried, due at once; or ``drop`` it. False: there is none of this id."""

    workflow_id: str
    update_id: str
    owner: str
    drop: bool


class Remind(Effect[int], frozen=True):
    """Send by the outbox what is due in an inbox: up to ``limit`` overdue updates, or the drain's announcement.

    Reply: how many messages.
    """

    due: Due
    limit: int
    lease_us: int
