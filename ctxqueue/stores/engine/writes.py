"""What the writes of a commit make of the entries that stand there: decided in full before anything is written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from ctxqueue import codec
from ctxqueue import effects as fx
from ctxqueue.records import Stamp, decode_header, encode_record, value_of
from ctxqueue.stores.engine.entries import is_fresh

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ctxqueue.records import Header
    from ctxqueue.stores.engine.state import Workflow

CONFLICT_BYTES = 256 * 1024
"""Of records that come along with a conflict."""


@dataclass(slots=True)
class Decided:
    """What is to be written, and what the workflow becomes by it."""

    versions: list[int] = field(default_factory=list)
    """By write; 0 for a delete that finds nothing."""
    records: dict[str, bytes] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)
    earliest_us: int | None = None
    """The first expiry among the records."""
    entries: int = 0
    size: int = 0
    floor: int = 0


class Standing:
    """What stands at an address: its record if there is one, and whether that is fresh."""

    __slots__ = ("fresh", "header", "record")

    def __init__(self, record: bytes | None, now_us: int) -> None:
        self.record = record
        self.header: Header | None = decode_header(record) if record is not None else None
        self.fresh = record if record is not None and is_fresh(record, now_us) else None

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


def decide(
    effect: fx.Commit, workflow: Workflow, records: Mapping[str, bytes], now_us: int
) -> Decided | fx.Conflict | fx.Refused:
    """Return what the commit writes, or why it does not."""
    decided = Decided(entries=workflow.entries, size=workflow.size, floor=workflow.floor)
    agent = effect.agent_id.encode()
    standing = {write.address: Standing(records.get(write.address), now_us) for write in effect.writes}
    conflicting: dict[int, bytes | None] = {}
    for ordinal, write in enumerate(effect.writes):
        here = standing[write.address]
        if here.refuses(write):
            conflicting[ordinal] = here.fresh
            continue
        decided.size -= len(here.record or b"")
        if write.operation == "delete":
            decided.versions.append(here.version)
            if here.header is not None:
                decided.removed.append(write.address)
                decided.entries -= 1
                decided.floor = max(decided.floor, here.header.stamp.version)
            continue
        parts = _merged(write, here, effect.bounds.max_merge)
        if isinstance(parts, str):
            return fx.Refused(parts, str(ordinal))
        expires = now_us + write.ttl_us if write.ttl_us else 0
        if write.keep_expiry and not write.ttl_us and here.header and here.fresh is not None:
            expires = here.header.expires_us
        stamp = Stamp((here.header.stamp.version if here.header else workflow.floor) + 1, effect.commit_id)
        record = encode_record(stamp, workflow.revision + 1, now_us, expires, agent, *parts)
        decided.versions.append(stamp.version)
        decided.records[write.address] = record
        decided.entries += here.record is None
        decided.size += len(record)
        if expires:
            decided.earliest_us = min(expires, decided.earliest_us or expires)
    if conflicting:
        return _conflict(conflicting, now_us)
    return _over_a_limit(decided, workflow, effect.bounds) or decided


def _over_a_limit(decided: Decided, workflow: Workflow, bounds: fx.Bounds) -> fx.Refused | None:
    # A workflow that is over a limit, as a lowered one may leave it, can still be written to and shrunk.
    if decided.entries > bounds.max_entries and decided.entries > workflow.entries:
        return fx.Refused("entries", str(decided.entries))
    if decided.size > bounds.max_bytes and decided.size > workflow.size:
        return fx.Refused("bytes", str(decided.size))
    return None


def _conflict(conflicting: Mapping[int, bytes | None], now_us: int) -> fx.Conflict:
    records: dict[int, bytes | None] = {}
    size = 0
    for ordinal, record in conflicting.items():
        if size + len(record or b"") <= CONFLICT_BYTES:
            size += len(record or b"")
            records[ordinal] = record
    return fx.Conflict(records, tuple(ordinal for ordinal in conflicting if ordinal not in records), now_us)


def _merged(
    write: fx.Write, here: Standing, max_merge: int
) -> tuple[bytes, bytes] | Literal["too_large", "not_a_list"]:
    """Return meta and value of a write laid over what stands there, or why that cannot be done here."""
    if here.fresh is None or here.header is None or write.operation == "put":
        return write.meta, write.value
    meta = here.fresh[here.header.agent_end : here.header.meta_end]
    if write.operation == "set":
        return meta, write.value
    held = value_of(here.fresh, here.header)
    if len(held) + len(write.value) > max_merge:
        return "too_large"
    existing = codec.unpack(held)
    if not isinstance(existing, list):
        return "not_a_list"
    return meta, codec.pack(existing + codec.unpack(write.value))
