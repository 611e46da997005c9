"""The codec of a commit: the longest call, and the one with the most answers."""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ctxqueue import effects as fx
from ctxqueue.identity import LANE_SECONDS
from ctxqueue.stores.redis import scripts
from ctxqueue.stores.redis.keys import workflow_keys
from ctxqueue.stores.redis.requests import MAX_RUN_FIELDS, SENSITIVE_FLAG, Codec, Request, outgoing_of, pack

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


NOTHING_SETTLED = fx.Settling(())
NO_MESSAGE = fx.Outgoing("", b"")

KEEP_EXPIRY_FLAG = 8
EVEN_CLOSED, SEALED = 1, 2
FLAGS = tuple(chr(flags) for flags in range(2 * KEEP_EXPIRY_FLAG))

_pack_limits = struct.Struct(">12d").pack
_pack_numbers = struct.Struct(">BHHI").pack


@lru_cache(maxsize=64)
def _limits(bounds: fx.Bounds, lease_us: int, journal_us: float) -> bytes:
    """Return what is the same from commit to commit; instants and sizes stay below 2 ** 53."""
    return _pack_limits(
        int(journal_us) // 1_000,
        lease_us,
        bounds.max_entries,
        bounds.max_bytes,
        MAX_RUN_FIELDS,
        bounds.max_merge,
        bounds.history,
        bounds.log_limit,
        bounds.horizon_us // 1_000,
        bounds.audit.limit,
        bounds.audit.age_us,
        bounds.audit.lenient,
    )


def _packed_steps(write: fx.Write) -> bytes:
    """Return agent and flags of each step; only the last one's flags say whether the entry may be evicted."""
    if not write.steps:
        return b""
    return pack([part for step in write.steps for part in (step.agent_id, SENSITIVE_FLAG if step.sensitive else 0)])


def _more(writes: Sequence[fx.Write]) -> list[str | bytes]:
    """Return what few writes say besides what all do."""
    more: list[str | bytes] = []
    for ordinal, write in enumerate(writes):
        if write.ttl_us is not None or write.depends_on or write.steps:
            ttl_us = "" if write.ttl_us is None else str(write.ttl_us)
            more += (str(ordinal), ttl_us, pack(write.depends_on) if write.depends_on else b"", _packed_steps(write))
    return more


def _settled(settling: fx.Settling) -> list[str | bytes]:
    args: list[str | bytes] = []
    for settled in settling.settled:
        report = settled.report or NO_MESSAGE
        args += (
            settled.update_id,
            settled.kind,
            settled.digest,
            pack([number for place in settled.places for number in place]),
            settled.failure,
            report.item_id,
            report.message,
        )
    return args


def _encode_commit(namespace: str, effect: fx.Commit) -> list[Request]:
    # Each word costs the server about as much as ten lines of a script do, and numbers are told apart one by one: so
    # what is the same each time goes as one, and all words are text.
    keys = workflow_keys(namespace, effect.workflow_id)
    call, writes = effect.call, effect.writes
    of_lane = call.mode == "lane"
    settling = effect.settling or NOTHING_SETTLED
    more = _more(writes)
    args: list[str | bytes] = [
        effect.workflow_id,
        effect.agent_id,
        effect.commit_id,
        call.mode,
        call.call_id,
        effect.digest,
        effect.on_divergence,
        _limits(effect.bounds, effect.lease_us, LANE_SECONDS * 1_000_000 if of_lane else effect.bounds.horizon_us),
        _pack_numbers(
            (EVEN_CLOSED if effect.even_closed else 0) + (SEALED if effect.sealed else 0),
            len(writes),
            len(more) // 4,
            settling.trim,
        ),
        str(call.epoch) if call.epoch else "",
        effect.app,
        "" if effect.graph is None else str(effect.graph),
        effect.expected_head,
        settling.drain_id,
        effect.incarnation,
        effect.origin,
    ]
    for write in writes:
        expected = write.expected_version
        flags = write.evictable + (SENSITIVE_FLAG if write.sensitive else 0)
        args += (
            write.operation,
            write.address,
            "" if expected is None else str(expected),
            write.expected_commit,
            write.meta,
            write.value,
            FLAGS[flags + KEEP_EXPIRY_FLAG if write.keep_expiry else flags],
        )
    args += more
    journal = keys.lane(call.owner) if of_lane else keys.run(call.owner)
    all_keys = [*keys.of_commit, journal, keys.run(call.run_id) if call.run_id else journal]
    history = keys.prefix_of_history
    all_keys += [history + write.address for write in writes]
    if settling is not NOTHING_SETTLED:
        args += _settled(settling)
        all_keys += (keys.u, keys.q, keys.i, keys.n)
        all_keys += [keys.run(settled.owner) for settled in settling.settled]
    return [Request(scripts.COMMIT, all_keys, args)]


def _decode_commit(_effect: fx.Commit, replies: list[Any]) -> fx.Committed | fx.Conflict | fx.Refused:
    reply = replies[0]
    status = reply[0].decode()
    if status == "ok":
        _, revision, now, replayed, diverged, fired, commit_id, left, unrecorded, count = reply[:10]
        versions_end = 10 + count
        pending_end = versions_end + 1 + reply[versions_end]
        named = tuple(address.decode() for address in reply[versions_end + 1 : pending_end])
        judged_end = pending_end + 1 + reply[pending_end]
        return fx.Committed(
            revision=int(revision),
            versions=tuple(int(version) for version in reply[10:versions_end]),
            now_us=int(now),
            commit_id=commit_id,
            replayed=bool(replayed),
            diverged=bool(diverged),
            fired=fired,
            outgoing=outgoing_of(reply[judged_end:]),
            judged=tuple(run.decode() for run in reply[pending_end + 1 : judged_end]),
            pending=() if replayed else named,
            addresses=named if replayed else (),
            left=left,
            unrecorded=bool(unrecorded),
        )
    if status == "conflict":
        pairs = [(reply[i], reply[i + 1]) for i in range(2, len(reply), 2)]
        return fx.Conflict(
            records={ordinal: record for ordinal, record in pairs if record != 0},
            omitted=tuple(ordinal for ordinal, record in pairs if record == 0),
            now_us=int(reply[1]),
        )
    return fx.Refused(status, reply[1].decode())


COMMITS_CODECS: Mapping[type[fx.Effect[Any]], Codec] = {
    fx.Commit: Codec(_encode_commit, _decode_commit),
}
