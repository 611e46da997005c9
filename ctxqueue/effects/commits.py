"""What a commit writes, by what bounds it is held, and what it is answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from ctxqueue.effects.audit import AuditBounds
from ctxqueue.effects.base import Effect, Outgoing

if TYPE_CHECKING:
    from ctxqueue.identity import Call


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
    """As in ``meta``; for the log. Of a deletion: what is deleted is sensitive whatever was noted of it."""
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
    audit: AuditBounds = AuditBounds()


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
    judged: tuple[str, ...] = ()
    """Runs that are to be judged, as something they wait for was written."""
    unrecorded: bool = False
    """What it did to sensitive entries could not be recorded, and the bounds of the audit log are lenient."""


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
        "reborn",
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

    With a ``drain_id`` it is refused (not_the_drain) unless that drain holds the inbox; what it settles are the first
    ``trim`` updates in the queue, but for those that have left it since they were drawn, and the announcement is
    withdrawn if none is left. It is refused (answered, with ordinals) if updates that are not ``kept`` have an outcome
    already; one that writes without a drain, so that it is the very call of what it settles, also if that has failed.
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
    incarnation: str = ""
    """Refuse (reborn) unless the workflow is still this one: what the values are encrypted for."""
    sealed: bool = False
    """Values may be encrypted, each for an entry that is sensitive or not: to lay one over an entry that is otherwise
    is left to the client (merge_outside)."""
    origin: bytes = b""
    """As in `Audited`. What it does to sensitive entries is recorded with it, once however often it is made."""
