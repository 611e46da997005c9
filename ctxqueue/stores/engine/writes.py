"""What the writes of a commit make of the entries that stand there: decided in full before anything is written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ctxqueue import effects as fx
from ctxqueue.records import Stamp, decode_header, encode_record, value_of
from ctxqueue.stores.engine.entries import Traits, is_fresh, traits
from ctxqueue.stores.engine.merges import CannotMerge, merged

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ctxqueue.records import Header
    from ctxqueue.stores.engine.held import Workflow

CONFLICT_BYTES = 256 * 1024
"""Of records that come along with a conflict."""
KEPT_BYTES = 1024 * 1024
"""Of values that one commit keeps as history."""
KEPT_OPERATIONS = frozenset({"put", "set", "append", "increment", "maximum", "minimum", "delete"})


@dataclass(slots=True)
class Decided:
    """What is to be written, and what the workflow becomes by it."""

    entries: int
    size: int
    floor: int
    versions: list[int] = field(default_factory=list)
    """By write; 0 for a delete that finds nothing."""
    records: dict[str, bytes] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)
    logged: list[fx.Logged] = field(default_factory=list)
    kept: dict[str, fx.Kept] = field(default_factory=dict)
    kept_bytes: int = 0
    purged: list[str] = field(default_factory=list)
    new_edges: bool = False
    earliest_us: int | None = None
    """The first expiry among the records."""

    @property
    def changes(self) -> bool:
        """Whether there is to be a new revision."""
        return bool(self.logged)


class Standing:
    """What stands at an address: its record if there is one, and whether that is fresh."""

    __slots__ = ("fresh", "header", "record", "traits")

    def __init__(self, record: bytes | None, now_us: int) -> None:
        self.record = record
        self.header: Header | None = None
        self.traits: Traits | None = None
        self.fresh: bytes | None = None
        if record is not None:
            self.header, self.traits = decode_header(record), traits(record)
            self.fresh = record if is_fresh(record, now_us) else None

    @property
    def version(self) -> int:
        """The version that callers see: 0 where nothing fresh stands."""
        return self.header.stamp.version if self.header and self.fresh is not None else 0

    def refuses(self, write: fx.Write) -> bool:
        """Whether the write expects something else here."""
        if write.expected_version is not None and write.expected_version != self.version:
            return True
        return bool(
            write.expected_commit
            and self.header
            and self.fresh is not None
            and self.header.stamp.commit_id != write.expected_commit
        )


class Decision:
    """Goes through the writes of one commit."""

    def __init__(self, effect: fx.Commit, workflow: Workflow, records: Mapping[str, bytes], now_us: int) -> None:
        self._effect = effect
        self._workflow = workflow
        self._records = records
        self._now_us = now_us
        self._agent = effect.agent_id.encode()
        self.decided = Decided(workflow.entries, workflow.size, workflow.floor)

    def made(self) -> Decided | fx.Conflict | fx.Refused:
        """Return what the commit writes, or why it does not; whether it has room is another question."""
        conflicting: dict[int, bytes | None] = {}
        for ordinal, write in enumerate(self._effect.writes):
            here = Standing(self._records.get(write.address), self._now_us)
            if here.refuses(write):
                conflicting[ordinal] = here.fresh
            elif write.operation in ("delete", "purge"):
                self._remove(write, here)
            elif write.operation == "keep" and here.fresh is not None:
                self.decided.versions.append(here.version)
            else:
                try:
                    self._put(write, here)
                except CannotMerge as error:
                    return fx.Refused(error.why, str(ordinal))
            if write.operation in KEPT_OPERATIONS:
                self._keep(write, here)
        return _conflict(conflicting, self._now_us) if conflicting else self.decided

    def _keep(self, write: fx.Write, here: Standing) -> None:
        decided = self.decided
        if here.fresh is None or self._effect.bounds.history <= 1:
            return
        if decided.kept_bytes + len(here.fresh) <= KEPT_BYTES:
            decided.kept_bytes += len(here.fresh)
            decided.kept[write.address] = fx.Kept(self._workflow.revision + 1, here.fresh)

    def _log(
        self, kind: str, address: str, version: int, before: int, *, sensitive: bool, was_sensitive: bool = False
    ) -> None:
        logged = fx.Logged(kind, address, version, before, sensitive, was_sensitive)  # type: ignore[arg-type]
        self.decided.logged.append(logged)

    def _remove(self, write: fx.Write, here: Standing) -> None:
        decided = self.decided
        decided.versions.append(here.version)
        if write.operation == "purge":
            decided.purged.append(write.address)
        if here.traits is None:
            return
        version = here.traits.version
        decided.removed.append(write.address)
        decided.entries -= 1
        decided.size -= here.traits.size
        decided.floor = max(decided.floor, version)
        kind = "expired" if here.fresh is None else "deleted"
        self._log(kind, write.address, version, version, sensitive=here.traits.sensitive)

    def _put(self, write: fx.Write, here: Standing) -> None:
        decided, workflow, now = self.decided, self._workflow, self._now_us
        meta, value = self._laid_over(write, here)
        expires = now + write.ttl_us if write.ttl_us else 0
        if write.keep_expiry and not write.ttl_us and here.header and here.fresh is not None:
            expires = here.header.expires_us
        first_version = (here.header.stamp.version if here.header else workflow.floor) + 1
        stamp = Stamp(first_version + max(1, len(write.steps)) - 1, self._effect.commit_id)
        writer = write.steps[-1].agent_id.encode() if write.steps else self._agent
        record = encode_record(stamp, workflow.revision + 1, now, expires, writer, meta, value)
        written = traits(record)
        standing = here.traits
        if standing is not None and here.fresh is None:
            self._log("expired", write.address, standing.version, standing.version, sensitive=standing.sensitive)
        steps = write.steps or (fx.Step(self._effect.agent_id, written.sensitive),)
        before = here.version
        was_sensitive = standing is not None and here.fresh is not None and standing.sensitive
        for version, step in enumerate(steps, start=first_version):
            author = step.agent_id if step.agent_id != self._effect.agent_id else ""
            change = fx.Logged("put", write.address, version, before, step.sensitive, was_sensitive, author)
            decided.logged.append(change)
            before, was_sensitive = version, step.sensitive
        if written.depends_on and written.depends_on != (standing.depends_on if standing else ()):
            decided.new_edges = True
        decided.versions.append(stamp.version)
        decided.records[write.address] = record
        decided.entries += here.record is None
        decided.size += len(record) - len(here.record or b"")
        if expires:
            decided.earliest_us = min(expires, decided.earliest_us or expires)

    def _laid_over(self, write: fx.Write, here: Standing) -> tuple[bytes, bytes]:
        """Return meta and value of a write laid over what stands there; raises CannotMerge."""
        if here.fresh is None or here.header is None or write.operation == "put":
            return write.meta, write.value
        if self._effect.sealed and (here.traits is None or here.traits.sensitive != write.sensitive):
            raise CannotMerge("merge_outside")
        meta = here.fresh[here.header.agent_end : here.header.meta_end]
        if write.operation == "set":
            return meta, write.value
        held = value_of(here.fresh, here.header)
        return meta, merged(write.operation, held, write.value, self._effect.bounds.max_merge)


def _conflict(conflicting: Mapping[int, bytes | None], now_us: int) -> fx.Conflict:
    records: dict[int, bytes | None] = {}
    size = 0
    for ordinal, record in conflicting.items():
        if size + len(record or b"") <= CONFLICT_BYTES:
            size += len(record or b"")
            records[ordinal] = record
    return fx.Conflict(records, tuple(ordinal for ordinal in conflicting if ordinal not in records), now_us)
