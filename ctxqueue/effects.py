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


class Batch(Effect[tuple[Any, ...]], frozen=True):
    """Several effects, each on one workflow, in one round trip where the store has such.

    Each is atomic, all together are not.
    """

    effects: tuple[Effect[Any], ...]


class Head(msgspec.Struct, frozen=True):
    """Where a workflow stands. ``now_us`` is the store's clock, never behind what commits have shown."""

    incarnation: str
    revision: int
    commit_id: bytes
    created_us: int
    metadata: bytes
    now_us: int
    closed_us: int = 0
    """When it was closed; 0: it is open. One that is being removed has no head any more."""
    graph: int = 0
    """Rises with each commit that adds a dependency."""


class Open(Effect[tuple[bool, Head | None]], frozen=True):
    """Make a workflow if it is absent. Reply: whether it was made, and its head; no head: it is being removed.

    A new one is entered in the catalogue and becomes due as idle, both unless it is the namespace's global context.
    """

    workflow_id: str
    incarnation: str
    metadata: bytes
    idle_us: int


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


class Since(msgspec.Struct, frozen=True):
    """What has changed since a revision.

    same: nothing. changed: ``records`` has what stands now at every address that was written or removed since (None:
    nothing); it may have expired. reload: the log does not reach back, or this is another history.
    """

    head: Head | None
    answer: Literal["same", "changed", "reload"]
    records: dict[str, bytes | None] = {}


class LoadSince(Effect[Since], frozen=True):
    """Bring what was read at one revision up to date. More than ``limit`` revisions or 1,000 addresses: reload."""

    workflow_id: str
    incarnation: str
    revision: int
    commit_id: bytes
    limit: int


class Logged(msgspec.Struct, frozen=True, array_like=True):
    """One change in the log. ``before`` is the version that stood there, 0 if nothing did.

    New fields go to the end, with a default: stores may keep it packed.
    """

    kind: Literal["put", "deleted", "expired", "evicted"]
    address: str
    version: int
    before: int
    sensitive: bool
    """Of the entry that was written or removed."""
    was_sensitive: bool = False
    """Of what a put was written over."""
    agent_id: str = ""
    """Who made it, where one revision holds the updates of several agents; empty: the record's agent."""


class LogRecord(msgspec.Struct, frozen=True):
    """One revision in the log: metadata only, never a value."""

    revision: int
    commit_id: bytes
    agent_id: str
    at_us: int
    changes: tuple[Logged, ...]


class LoadLog(Effect[tuple[Head | None, int, list[LogRecord]]], frozen=True):
    """Read log records from a revision on, at most ``limit`` and about ``max_bytes``, at least one if there is one.

    Reply: the head, the oldest revision that the log still has (the head's + 1 if it has none), and the records.
    """

    workflow_id: str
    from_revision: int
    limit: int
    max_bytes: int = PAGE_BYTES


class Kept(msgspec.Struct, frozen=True):
    """A value that was written over or deleted: what stood there until (not with) revision ``until``."""

    until: int
    record: bytes


class LoadHistory(Effect[tuple[Head | None, bytes | None, list[Kept], bool]], frozen=True):
    """Read one address's record and the values kept of it, newest first, past the first ``skip``.

    Reply: head, the record, the values (they may have expired), and whether there are more. A page ends early once
    its values take ``max_bytes``, after one at least.
    """

    workflow_id: str
    address: str
    skip: int = 0
    max_bytes: int = PAGE_BYTES


class LoadHistoryAddresses(Effect[list[str]], frozen=True):
    """Read the addresses of which values are kept, in order, those after ``after``."""

    workflow_id: str
    after: str
    limit: int


class Forget(Effect[int], frozen=True):
    """Remove kept values of these versions of one address. Reply: how many there were."""

    workflow_id: str
    address: str
    versions: tuple[int, ...]


class LoadGraph(Effect[tuple[Head | None, dict[str, tuple[str, ...]]]], frozen=True):
    """Read which keys each address depends on; addresses without dependencies are not in it."""

    workflow_id: str


class LoadCatalogue(Effect[list[str]], frozen=True):
    """Read the ids of one shard's workflows, in order, those after ``after``; the global context is not in it."""

    shard: int
    after: str
    limit: int


Operation = Literal["put", "set", "append", "increment", "maximum", "minimum", "keep", "delete", "purge"]


class Step(msgspec.Struct, frozen=True, array_like=True):
    """One of several updates that one write makes of an address: who made it, and whether it is sensitive after it."""

    agent_id: str
    sensitive: bool


class Write(msgspec.Struct, frozen=True):
    """One address of a commit.

    ``put`` writes value and meta as given. ``set`` and the merging ones keep the meta, the dependencies and, with
    ``keep_expiry``, the expiry of what stands there; theirs are for a new entry. ``keep`` writes only a new entry:
    over another it changes nothing, its version is the standing one. ``delete`` removes, ``purge`` also forgets the
    values kept of the address. What ``put``, ``set``, a merge or ``delete`` takes the place of is kept as history.
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
    evictable: int = 0
    """1: a low entry, that goes first when room runs out; 2: a medium one, that goes next; 0: it never goes."""
    sensitive: bool = False
    """As in ``meta``; for the log."""
    depends_on: tuple[str, ...] = ()
    """Keys; entered in the workflow's graph."""
    steps: tuple[Step, ...] = ()
    """With ``put``: the updates that it is made of. Each has a version and a place in the log of its own; the values
    between them never stood there, and are not kept. None: one step, of the commit's agent."""


class Bounds(msgspec.Struct, frozen=True):
    """The limits a commit is held to."""

    max_entries: int
    max_bytes: int
    max_merge: int
    """Bytes up to which a store merges by itself."""
    horizon_us: int
    history: int
    """Values kept of one address, the standing one included; those above 1 MB in all of one commit are not kept."""
    log_limit: int
    """Revisions kept in the log."""


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
    left: int = 0
    """After a drain's commit: updates that wait behind those it has settled."""


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
        "merge_outside",
        "closed",
        "graph_moved",
        "moved",
        "answered",
        "not_the_drain",
    ]
    detail: str = ""


class Settled(msgspec.Struct, frozen=True):
    """A stored update that leaves the inbox, and what came of it.

    applied: its journal (``owner``) gets ``digest`` and the versions of ``places``. failed: its journal gets
    ``failure``. kept: its journal has the outcome, now or by the commit's own call.
    """

    update_id: str
    owner: str
    kind: Literal["applied", "failed", "kept"]
    digest: bytes = b""
    places: tuple[tuple[int, int], ...] = ()
    """(ordinal of a write, how many later steps were made over this update's): its version is the write's less that."""
    failure: bytes = b""
    report: Outgoing | None = None
    """A message that brings the outcome to whoever waits for it: goes into the outbox."""


class Settling(msgspec.Struct, frozen=True):
    """What a commit does to its workflow's inbox.

    With a ``drain_id`` it is refused (not_the_drain) unless that drain holds the inbox; the first ``trim`` updates
    leave the queue, and the announcement is withdrawn if none is left. It is refused (answered, with ordinals) if
    updates that are not ``kept`` have an outcome already.
    """

    settled: tuple[Settled, ...]
    drain_id: bytes = b""
    trim: int = 0
    lease_us: int = 0


class Commit(Effect[Committed | Conflict | Refused], frozen=True):
    """Write up to 200 addresses as one revision, together with journal, log, history, waiters and outbox.

    With ``settling`` it may write nothing, and does that in a closed workflow too.

    Over ``max_entries`` or ``max_bytes`` entries are removed to make room, at most 100: first expired ones, then low,
    then medium ones, those written longest ago first; never one that this commit writes, nor one that a run just
    released is about to read. If that does not make room, nothing is removed and the commit is refused.
    """

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
    expected_head: bytes = b""
    """Refuse (moved) unless the newest commit of the workflow is still this one."""
    graph: int | None = None
    """Refuse (graph_moved) unless the head's ``graph`` is still this: what was checked for cycles."""
    even_closed: bool = False
    """Write to a closed workflow too: only to erase."""
    settling: Settling | None = None


# --- attempts, parking -----------------------------------------------------------------------------------------


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
    standby: another attempt is alive; the message is kept. parked: the store owns the message.
    done, failed: it has ended before, with ``outcome`` (empty: too large to keep). cancelled: it was called off.
    """

    answer: Literal["run", "timeout", "closed", "stale", "standby", "parked", "done", "failed", "cancelled"]
    epoch: int = 0
    outcome: bytes = b""
    unmet: tuple[int, ...] = ()
    """With run and timeout: ordinals of the leaves that are false."""
    parked_us: int = 0
    """With a leg above 0: how long it was parked."""


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
    """To re-send should the living attempt die."""
    lease_us: int
    horizon_us: int
    claim_id: bytes
    """Random: a claim that is tried again after a lost reply is the same claim."""


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
    """Mark a Celery task as cancelled, or not. Reply: workflow and run of it, if a worker has seen it."""

    task_id: str
    cancelled: bool
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
    """parked: the store has the message. ready: the condition holds, go on. timeout: the deadline has passed."""

    answer: Literal["parked", "ready", "timeout", "superseded", "no_workflow", "closed"]
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
    """Something to be done: ``detail`` is a run id for deadline, standby and ready, an address for fan_out."""

    shard: int
    kind: Literal["expiry", "deadline", "standby", "ready", "fan_out", "idle", "end", "inbox", "updates"]
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


# --- the inbox -------------------------------------------------------------------------------------------------


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

    ``drain_id``: the drain that holds the inbox, whose first update it is; empty: it is not queued.
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


# --- outside the store -----------------------------------------------------------------------------------------


class Wait(Effect[None], frozen=True):
    """Let some time pass."""

    seconds: float


class Publish(Effect[tuple[str, ...]], frozen=True):
    """Hand items to the broker. Reply: the ids of those that it took."""

    items: tuple[Outgoing, ...]
