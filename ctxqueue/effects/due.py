"""What is due, the end of a workflow, and the outbox."""

from __future__ import annotations

from typing import Literal

import msgspec

from ctxqueue.effects.base import Effect, Outgoing


class Due(msgspec.Struct, frozen=True):
    """Something to be done: ``detail`` is a run id for deadline, standby, ready and judge, an address for fan_out."""

    shard: int
    kind: Literal["expiry", "deadline", "standby", "ready", "fan_out", "judge", "idle", "end", "inbox", "updates"]
    workflow_id: str
    detail: str
    score_us: int


class PeekDue(Effect[list[Due]], frozen=True):
    """Read what is due now in some shards, the oldest first, at most ``limit`` a shard."""

    shards: tuple[int, ...]
    limit: int


class Backlog(msgspec.Struct, frozen=True):
    """What some shards have yet to do."""

    now_us: int
    overdue: int
    oldest_due_us: int
    """When the first of it was due; 0: nothing is overdue."""
    outgoing: int
    """Items in the outbox, those that somebody has leased to publish them among them."""
    oldest_outgoing_us: int
    """From when on the first of them is anybody's to publish; 0: there is none."""


class LoadBacklog(Effect[Backlog], frozen=True):
    """Count what is overdue, and what waits to be published, in some shards."""

    shards: tuple[int, ...]


class Expired(msgspec.Struct, frozen=True):
    """What one step of an expiry sweep removed and kept; ``more`` is due."""

    expired: int
    kept: int
    more: bool
    pending: tuple[str, ...] = ()
    """What is waited on and may have changed by it: to be paged through with `FanOut`."""


class Expire(Effect[Expired], frozen=True):
    """Remove up to ``limit`` expired entries of one workflow; the log says so, their values are not kept."""

    workflow_id: str
    commit_id: bytes
    limit: int
    log_limit: int


class Close(Effect[Literal["closed", "kept", "no_workflow"]], frozen=True):
    """Refuse all further writes of a workflow and make its end due; with ``remove``, reads too.

    With ``idle_us`` only if it has had no commit for so long and no run is parked in it, or released and not claimed
    yet, else it is due as idle again (kept). A closed workflow is removed once the horizon has passed.
    """

    workflow_id: str
    remove: bool
    idle_us: int | None
    horizon_us: int


class Ended(msgspec.Struct, frozen=True):
    """What one step of an end did.

    more: go on, with ``history`` as what to drop next. waiting: all runs are released, the rest stays until the
    horizon. done: nothing is left of it.
    """

    answer: Literal["more", "waiting", "done"]
    outgoing: tuple[Outgoing, ...] = ()
    history: tuple[str, ...] = ()


class End(Effect[Ended], frozen=True):
    """Do one step of a closed workflow's end: release parked runs, then, if it is to be removed, all its keys.

    Messages of released runs that nobody has claimed stay until the horizon.
    """

    workflow_id: str
    limit: int
    drop: tuple[str, ...]
    """Addresses whose kept values go in this step, as the step before named them."""
    app: str
    lease_us: int
    horizon_us: int


class Release(Effect[Literal["sent", "kept", "given_up"]], frozen=True):
    """Send on its way, by the outbox, what is due: deadline, standby or ready. Reply: kept: nothing is to be sent now.

    deadline: a run that is still parked. standby: the message kept while an attempt was alive, once its lease has
    ended. ready: again the message of a run that was released and not claimed since; each pause is twice the last,
    from a lease to an hour, until the horizon has passed since it was first sent (given_up).
    """

    due: Due
    lease_us: int
    horizon_us: int


class FannedOut(msgspec.Struct, frozen=True):
    """Items fired by one page, whether there is another page, and the runs that are to be judged."""

    fired: int
    outgoing: tuple[Outgoing, ...]
    more: bool
    judged: tuple[str, ...] = ()


class FanOut(Effect[FannedOut], frozen=True):
    """Look at the next page of an address's waiters."""

    workflow_id: str
    address: str
    limit: int
    app: str
    lease_us: int


class TakeOutgoing(Effect[list[tuple[int, Outgoing]]], frozen=True):
    """Lease items of one app, at most ``limit`` a shard. Reply: (shard, item) pairs."""

    shards: tuple[int, ...]
    app: str
    limit: int
    lease_us: int


class Settle(Effect[None], frozen=True):
    """Remove published items."""

    shard: int
    item_ids: tuple[str, ...]
