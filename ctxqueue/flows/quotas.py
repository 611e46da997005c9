"""How much each agent may hold in a workflow: counted over what stands there, and held by the commit.

What an agent wrote last and has not expired is its own. It is counted at one commit of the workflow, and written on the
condition that this is still the newest: so what is counted is what stands there, and of many who write at once none
gets past. Who has no quota configured pays nothing. What others remove, overwrite or evict, and what expires, is given
back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from ctxqueue.errors import QuotaExceeded
from ctxqueue.flows import viewing
from ctxqueue.records import HEADER, decode_header

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ctxqueue.effects import Flow, Write
    from ctxqueue.flows.terms import Terms
    from ctxqueue.flows.viewing import Snapshot
    from ctxqueue.models import Agent
    from ctxqueue.records import Stamp

NEVER: Final = b"never"
"""No commit's id: a commit that expects it is refused, unless it was made before."""
REMOVING = frozenset({"delete", "purge"})


class One(NamedTuple):
    """One entry: who wrote it, the bytes of its packed value, and which write that was."""

    writer: str
    size: int
    stamp: Stamp | None
    expires_us: int = 0

    @classmethod
    def of(cls, record: bytes) -> One:
        """Return what a record says."""
        header = decode_header(record)
        writer = record[HEADER.size : header.agent_end].decode()
        return cls(writer, len(record) - header.meta_end, header.stamp, header.expires_us)


class Counted(NamedTuple):
    """The newest commit at which was counted, to be expected; and why the writes are refused, if they are."""

    head: bytes
    excess: QuotaExceeded | None


UNCOUNTED = Counted(b"", None)


class Held(NamedTuple):
    """What agents hold in a workflow, by address. ``at``: after which commit of it."""

    workflow_id: str
    at: bytes
    now_us: int
    entries: Mapping[str, One]
    """Expired ones too."""

    def of(self, agent_id: str) -> tuple[int, int]:
        """Return entries and bytes of one agent."""
        own = [each.size for each in self.entries.values() if each.writer == agent_id and self._is_fresh(each)]
        return len(own), sum(own)

    def _is_fresh(self, one: One) -> bool:
        return not one.expires_us or one.expires_us > self.now_us

    def meets(self, writes: Iterable[Write]) -> bool:
        """Whether the writes expect what stands there; if not, they were made of something else, and will be again."""
        return all(write.expected_version is None or self._meets(write) for write in writes)

    def _meets(self, write: Write) -> bool:
        there = self.entries.get(write.address)
        if there is None or there.stamp is None or not self._is_fresh(there):
            return write.expected_version == 0
        version, commit_id = there.stamp
        return write.expected_version == version and write.expected_commit in (b"", commit_id)

    def after(self, agent_id: str, writes: Iterable[Write]) -> Held:
        """Return what is held once an agent has written."""
        entries = dict(self.entries)
        for write in writes:
            if write.operation in REMOVING:
                entries.pop(write.address, None)
            elif write.operation != "keep" or (one := entries.get(write.address)) is None or not self._is_fresh(one):
                entries[write.address] = One(agent_id, len(write.value), None)
        return self._replace(entries=entries)


def any_set(terms: Terms) -> bool:
    """Whether anything is to be counted."""
    return bool(terms.settings.quota_entries or terms.settings.quota_bytes)


def are_set(terms: Terms, agent: Agent, writes: Iterable[Write]) -> bool:
    """Whether a commit is held to a quota: one that only removes, or is the operator's, is not."""
    return any_set(terms) and not agent.is_operator and any(write.operation not in REMOVING for write in writes)


def held(terms: Terms, workflow_id: str) -> Flow[Held]:
    """Count what agents hold; where there is no such workflow, nothing: the commit says so."""
    snapshot = yield from viewing.snapshot(terms, workflow_id)
    if snapshot is None:
        return Held(workflow_id, b"", 0, {})
    if snapshot.held is None:
        snapshot.held = _entries(snapshot)
    return Held(workflow_id, snapshot.head.commit_id, snapshot.head.now_us, snapshot.held)


def _entries(snapshot: Snapshot) -> dict[str, One]:
    """Count a snapshot: by what has changed, where the one before was counted."""
    before = snapshot.before
    if before is None or before.held is None:
        return {address: One.of(record) for address, record in snapshot.records.items()}
    entries = dict(before.held)
    for address in snapshot.changed:
        record = snapshot.records.get(address)
        if record is None:
            entries.pop(address, None)
        else:
            entries[address] = One.of(record)
    return entries


def exceeded(terms: Terms, agent: Agent, before: Held, writes: Sequence[Write]) -> QuotaExceeded | None:
    """Return the error for writes by which an agent would hold more than it may, and more than it does."""
    had = before.of(agent.agent_id)
    would = before.after(agent.agent_id, writes).of(agent.agent_id)
    settings = terms.settings
    for what, limit, now, then in (
        ("entries", settings.quota_entries, had[0], would[0]),
        ("bytes", settings.quota_bytes, had[1], would[1]),
    ):
        if limit and then > limit and then > now:
            # How much it holds is not said: what it merged with may be hidden from it.
            return QuotaExceeded(
                f"{agent.agent_id} would hold more {what} in workflow {before.workflow_id!r} than its quota, {limit}"
                f" (ctxqueue_quota_{what}): nothing was written. Delete some of its own first"
            )
    return None


def counted(terms: Terms, workflow_id: str, agent: Agent, writes: Sequence[Write]) -> Flow[Counted]:
    """Count before a commit. One beyond the quota is still made, as it may have been made before; it writes nothing."""
    before = yield from held(terms, workflow_id)
    # What was made of something else than stands there is refused anyhow, and made again.
    excess = exceeded(terms, agent, before, writes) if before.meets(writes) else None
    return Counted(NEVER if excess else before.at, excess)
