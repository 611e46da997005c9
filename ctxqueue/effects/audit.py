"""The audit log: who did what to sensitive entries, and what was changed or refused. It is only added to."""

from __future__ import annotations

from typing import Literal

import msgspec

from ctxqueue.effects.base import Effect

AuditAction = Literal["read", "revealed", "wrote", "deleted", "denied", "refused", "policy"]


class Audited(msgspec.Struct, frozen=True):
    """One record, without any value: addresses and versions only.

    ``origin`` is packed: agent type, agent role, task id, run id, trace id.
    """

    record_id: bytes
    """One that is sent twice has the same."""
    action: AuditAction
    agent_id: str
    workflow_id: str
    origin: bytes = b""
    detail: str = ""
    revision: int = 0
    places: tuple[tuple[str, int], ...] = ()
    """(address, version); 0: none stood there, or it is not known."""


class AuditBounds(msgspec.Struct, frozen=True):
    """What a shard's log is held to."""

    limit: int = 0
    """Records; 0: none are written."""
    age_us: int = 0
    lenient: bool = False
    """A commit whose record cannot be written is made all the same, where a store can tell the one from the other."""


class AuditItem(msgspec.Struct, frozen=True):
    """A record in the log, and its place there: instant, then what tells it from others of that instant."""

    audited: Audited
    at_us: int
    tie: str


class Audit(Effect[None], frozen=True):
    """Add records to the log of the shard that a workflow is in, each once; the oldest beyond the bounds go."""

    workflow_id: str
    records: tuple[Audited, ...]
    bounds: AuditBounds


class LoadAudit(Effect[tuple[tuple[AuditItem, ...], ...]], frozen=True):
    """Read records of some shards, each after a place of its own, in order, at most ``limit`` a shard.

    Of an empty tie: those of the instant itself, too.
    """

    places: tuple[tuple[int, int, str], ...]
    """Shard, instant, tie."""
    limit: int


class TrimAudit(Effect[None], frozen=True):
    """Remove from some shards' logs what is beyond their bounds."""

    shards: tuple[int, ...]
    bounds: AuditBounds


class NotePolicy(Effect[str | None], frozen=True):
    """Note which policy a namespace is held to; if it was another one, record that, in the same step.

    Reply: the digest before; None: it was this one already.
    """

    workflow_id: str
    """In whose shard that stands."""
    digest: str
    record: Audited
    """``detail`` is completed by the store: ``<before> <detail>``."""
    bounds: AuditBounds
    shipped: bool = False
    """It is what holds where none is given: the first to come records nothing."""
