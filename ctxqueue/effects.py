"""The vocabulary of effects: what a flow may ask of the world, and the reply it gets.

An effect is an immutable value. One store effect is one atomic round trip. Instants and durations are integer
microseconds, addresses are encoded (`Address.encode`), records are bytes (`records`).
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import msgspec

if TYPE_CHECKING:
    from ctxqueue.identity import Call
    from ctxqueue.rules.dependencies import Tree

R = TypeVar("R")

PAGE_BYTES = 256 * 1024

Flow = Generator["Effect[Any]", Any, R]


class Effect(msgspec.Struct, Generic[R], frozen=True):
    """A request whose reply is an R."""


def do(effect: Effect[R]) -> Flow[R]:
    """Ask for one effect and return its reply, with the exact type of that effect's."""
    reply: R = yield effect
    return reply


# --- workflows and entries -------------------------------------------------------------------------------------


class Head(msgspec.Struct, frozen=True):
    """Where a workflow stands. ``now_us`` is the store's clock, never behind what commits have shown."""

    incarnation: str
    revision: int
    commit_id: bytes
    created_us: int
    metadata: bytes
    now_us: int


class Open(Effect[tuple[bool, Head]], frozen=True):
    """Make a workflow if it is absent. Reply: whether it was made, and its head."""

    workflow_id: str
    incarnation: str
    metadata: bytes


class Load(Effect[tuple[Head | None, dict[str, bytes]]], frozen=True):
    """Read some addresses. Reply: the head (None: no such workflow) and the records that are there and fresh."""

    workflow_id: str
    addresses: tuple[str, ...]


class LoadPage(Effect[tuple[Head | None, list[tuple[str, bytes]], str | None]], frozen=True):
    """Read entries in the order of their addresses, those after ``after`` that begin with ``prefix``.

    Reply: head, (address, record) pairs, and the address to go on after (None: no more).
    """

    workflow_id: str
    prefix: str
    after: str
    limit: int
    max_bytes: int = PAGE_BYTES
    """A page ends early once its records take this much."""


Operation = Literal["put", "set", "append", "delete"]


class Write(msgspec.Struct, frozen=True):
    """One address of a commit.

    ``put`` writes value and meta as given; ``set`` and ``append`` keep the meta and expiry of what stands there
    (``meta`` is for a new entry); ``delete`` removes.
    """

    operation: Operation
    address: str
    value: bytes = b""
    meta: bytes = b""
    expected_version: int | None = None
    """Refuse unless the address is at this version; 0: unless nothing stands there."""
    expected_commit: bytes = b""
    """With ``expected_version``: refuse unless this commit wrote it."""
    ttl_us: int | None = None
    keep_expiry: bool = False


class Bounds(msgspec.Struct, frozen=True):
    """The limits a commit is held to."""

    max_entries: int
    max_bytes: int
    max_merge: int
    """Bytes up to which a store appends to a list by itself."""
    horizon_us: int


class Outgoing(msgspec.Struct, frozen=True, array_like=True):
    """An outbox item in this process's hands: to be published, then settled."""

    item_id: str
    message: bytes


class Committed(msgspec.Struct, frozen=True):
    """The commit took effect, now or (``replayed``) when it was first made."""

    revision: int
    versions: tuple[int, ...]
    """By write; 0 for a delete that found nothing."""
    now_us: int
    commit_id: bytes
    replayed: bool
    diverged: bool
    """Replayed, and this time the input was another."""
    fired: int
    outgoing: tuple[Outgoing, ...]
    """Fired items of the committer's own app, leased to it."""
    pending: tuple[str, ...]
    """Addresses with more waiters than one commit looks at: to be paged through with `FanOut`."""
    addresses: tuple[str, ...] = ()
    """Diverged under an operation id: what the first call wrote, as this one may have named other keys."""


class Conflict(msgspec.Struct, frozen=True):
    """Nothing was written: these writes' expectations do not hold."""

    records: dict[int, bytes | None]
    """By write ordinal; None: nothing stands there."""
    omitted: tuple[int, ...]
    """Conflicts whose records were too large to come along."""
    now_us: int


class Refused(msgspec.Struct, frozen=True):
    """Nothing was written."""

    reason: Literal[
        "no_workflow",
        "superseded",
        "stale",
        "diverged",
        "calls",
        "entries",
        "bytes",
        "not_a_list",
        "too_large",
    ]
    detail: str = ""


class Commit(Effect[Committed | Conflict | Refused], frozen=True):
    """Write up to 200 addresses as one revision, together with journal, trigger progress and outbox."""

    workflow_id: str
    agent_id: str
    commit_id: bytes
    call: Call
    digest: bytes
    on_divergence: str
    writes: tuple[Write, ...]
    bounds: Bounds
    app: str
    """The app whose fired items this process publishes; empty: none."""
    lease_us: int


# --- attempts, parking -----------------------------------------------------------------------------------------


class Position(msgspec.Struct, frozen=True, order=True, array_like=True):
    """How far a run has come: retries of the task, then legs between two parkings."""

    retries: int
    leg: int


class Claimed(msgspec.Struct, frozen=True):
    """What a claim was answered.

    run: go ahead with ``epoch``. timeout: go ahead, but the deadline has passed. stale: a newer position exists.
    standby: another attempt is alive; the message is kept. parked: the store owns the message.
    done, failed: it has ended before, with ``outcome`` (empty: too large to keep).
    """

    answer: Literal["run", "timeout", "stale", "standby", "parked", "done", "failed"]
    epoch: int = 0
    outcome: bytes = b""
    unmet: tuple[int, ...] = ()
    """With run and timeout: ordinals of the leaves that are false."""
    parked_us: int = 0
    """With a leg above 0: how long it was parked."""


class Claim(Effect[Claimed], frozen=True):
    """Begin an attempt at a run, or learn why not."""

    workflow_id: str
    run_id: str
    position: Position
    condition: Tree | None
    item_id: str
    message: bytes
    """To re-send should the living attempt die."""
    lease_us: int
    horizon_us: int
    claim_id: bytes
    """Random: a claim that is tried again after a lost reply is the same claim."""


class Renew(Effect[bool], frozen=True):
    """Lengthen an attempt's lease. False: it was superseded."""

    workflow_id: str
    run_id: str
    epoch: int
    lease_us: int


class Armed(msgspec.Struct, frozen=True):
    """parked: the store has the message. ready: the condition holds, go on. timeout: the deadline has passed."""

    answer: Literal["parked", "ready", "timeout", "superseded", "no_workflow"]
    unmet: tuple[int, ...] = ()


class Arm(Effect[Armed], frozen=True):
    """Park a run until its condition holds or its deadline passes: register and check in one step."""

    workflow_id: str
    run_id: str
    epoch: int
    condition: Tree
    item_id: str
    message: bytes
    timeout_us: int
    horizon_us: int


class Finish(Effect[bool], frozen=True):
    """End an attempt. ``retried``: its successor was published. False: it was superseded."""

    workflow_id: str
    run_id: str
    epoch: int
    state: Literal["done", "failed", "retried"]
    outcome: bytes
    horizon_us: int


# --- what is due, and the outbox -------------------------------------------------------------------------------


class Due(msgspec.Struct, frozen=True):
    """Something to be done: ``detail`` is a run id for deadline and standby, an address for fan_out."""

    shard: int
    kind: Literal["expiry", "deadline", "standby", "fan_out"]
    workflow_id: str
    detail: str
    score_us: int


class PeekDue(Effect[list[Due]], frozen=True):
    """Read what is due now in some shards, the oldest first, at most ``limit`` a shard."""

    shards: tuple[int, ...]
    limit: int


class Expired(msgspec.Struct, frozen=True):
    """What one step of an expiry sweep removed and kept; ``more`` is due."""

    expired: int
    kept: int
    more: bool


class Expire(Effect[Expired], frozen=True):
    """Remove up to ``limit`` expired entries of one workflow."""

    workflow_id: str
    commit_id: bytes
    limit: int


class Release(Effect[bool], frozen=True):
    """Send a parked run past its deadline on its way, or a standby whose lease has ended, by the outbox."""

    due: Due
    horizon_us: int


class FannedOut(msgspec.Struct, frozen=True):
    """Items fired by one page, and whether there is another page."""

    fired: int
    outgoing: tuple[Outgoing, ...]
    more: bool


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


# --- outside the store -----------------------------------------------------------------------------------------


class Wait(Effect[None], frozen=True):
    """Let some time pass."""

    seconds: float


class Publish(Effect[tuple[str, ...]], frozen=True):
    """Hand items to the broker. Reply: the ids of those that it took."""

    items: tuple[Outgoing, ...]
