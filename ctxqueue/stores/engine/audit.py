"""The audit log: records of commits, records that come alone, and what is read of them."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

import msgspec

from ctxqueue import effects as fx

if TYPE_CHECKING:
    from ctxqueue.stores.engine.state import State
    from ctxqueue.stores.engine.writes import Decided

TRIM_CHANCE = 4_096
"""One record in so many has the log counted: until the next sweep it may be that much longer."""


def of_commit(effect: fx.Commit, decided: Decided, revision: int) -> list[fx.Audited]:
    """Return what a commit does to sensitive entries, by who does it."""
    marked = {write.address for write in effect.writes if write.operation in ("delete", "purge") and write.sensitive}
    done = [
        (change.agent_id or effect.agent_id, change.kind, (change.address, change.version))
        for change in decided.logged
        if change.kind in ("put", "deleted")
        and (change.sensitive or change.was_sensitive or (change.kind == "deleted" and change.address in marked))
    ]
    return [
        fx.Audited(
            effect.commit_id + b"%d" % number,
            "wrote" if kind == "put" else "deleted",
            agent_id,
            effect.workflow_id,
            effect.origin,
            revision=revision,
            places=tuple(place for _, _, place in made),
        )
        for number, ((agent_id, kind), made) in enumerate(groupby(done, key=lambda each: each[:2]), 1)
    ]


def write(state: State, records: list[fx.Audited], now_us: int, bounds: fx.AuditBounds) -> None:
    """Add records, of which the caller has seen that there is a log."""
    state.write_audit(records, now_us)
    if any(int.from_bytes(record.record_id[:4]) % TRIM_CHANCE == 0 for record in records):
        state.trim_audit(now_us - bounds.age_us, bounds.limit)


def audit(state: State, effect: fx.Audit) -> None:
    """Add records, each once."""
    write(state, list(effect.records), state.now(), effect.bounds)


def load(state: State, effect: fx.LoadAudit) -> tuple[tuple[fx.AuditItem, ...], ...]:
    """Read records, each shard after a place of its own."""
    return tuple(tuple(state.audit(at_us, tie, effect.limit)) for _, at_us, tie in effect.places)


def trim(state: State, effect: fx.TrimAudit) -> None:
    """Remove what is beyond the bounds."""
    state.trim_audit(state.now() - effect.bounds.age_us, effect.bounds.limit)


def note_policy(state: State, effect: fx.NotePolicy) -> str | None:
    """Note which policy holds; another one than before is recorded."""
    before = state.policy()
    if before == effect.digest:
        return None
    state.save_policy(effect.digest)
    if not before and effect.shipped:
        return None
    if effect.bounds.limit:
        record = msgspec.structs.replace(effect.record, detail=f"{before} {effect.record.detail}")
        write(state, [record], state.now(), effect.bounds)
    return before
