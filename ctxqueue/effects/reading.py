"""What stands in a workflow and what stood there: entries, log, history, graph, catalogue."""

from __future__ import annotations

from typing import Literal

import msgspec

from ctxqueue.effects.base import PAGE_BYTES, Effect


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


LEFT_OUT = b""
"""In a record's place: it is there, and was not read."""


class Load(Effect[tuple[Head | None, dict[str, bytes]]], frozen=True):
    """Read some addresses. Reply: the head (None: no such workflow) and the records that are there and fresh."""

    workflow_id: str
    addresses: tuple[str, ...]
    max_bytes: int = 0
    """A store that serves nobody else meanwhile may leave out (``LEFT_OUT``) what is beyond it, but not the first."""


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

    Where it spares a store work, it may end once they hold ``enough`` changes.

    Reply: the head, the oldest revision that the log still has (the head's + 1 if it has none), and the records.
    """

    workflow_id: str
    from_revision: int
    limit: int
    max_bytes: int = PAGE_BYTES
    enough: int = 2**31


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


class LoadGone(Effect[list[str]], frozen=True):
    """Read addresses at which nothing stands any more since a revision at the latest, and of which values are kept."""

    workflow_id: str
    gone_by: int
    limit: int


class Forget(Effect[int], frozen=True):
    """Remove kept values of these versions of one address. Reply: how many there were."""

    workflow_id: str
    address: str
    versions: tuple[int, ...] = ()
    skip: int = 0
    """About how many kept values stand before them."""
    gone_by: int = 0
    """In the place of versions: all of them, unless something has stood there since this revision."""


class Swap(msgspec.Struct, frozen=True):
    """A record that is to stand in another's place: of the entry, or of a value kept ``until`` a revision."""

    until: int
    """0: of the entry itself."""
    old: bytes
    new: bytes


class Reseal(Effect[int], frozen=True):
    """Write records of one address anew that differ only in how their values are encrypted.

    Neither version, revision, log nor expiry changes. What is not any more as it was read stays. Reply: how many were
    written.
    """

    workflow_id: str
    incarnation: str
    address: str
    swaps: tuple[Swap, ...]


class LoadGraph(Effect[tuple[Head | None, dict[str, tuple[str, ...]]]], frozen=True):
    """Read which keys each address depends on; addresses without dependencies are not in it."""

    workflow_id: str


class Measured(msgspec.Struct, frozen=True):
    """How much a workflow holds."""

    head: Head
    entries: int
    """Records, ours and those that have expired and are not swept yet among them."""
    size: int
    """Bytes of them."""
    logged: int
    """Revisions in the log."""
    updates: int
    """In the inbox, dead letters among them."""
    dead: int
    triggers: int
    """Those that have ended among them, as far as they are kept."""
    waiting: bool
    """Whether a run, a trigger or a caller waits; of Redis also while a run was released and is not claimed yet."""


class Measure(Effect[Measured | None], frozen=True):
    """Count what a workflow holds."""

    workflow_id: str


class LoadCatalogue(Effect[list[str]], frozen=True):
    """Read the ids of one shard's workflows, in order, those after ``after``; the global context is not in it."""

    shard: int
    after: str
    limit: int
