"""The codec of a commit: the longest call, and the one with the most answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ctxqueue import effects as fx
from ctxqueue.identity import LANE_SECONDS
from ctxqueue.stores.redis import scripts
from ctxqueue.stores.redis.keys import workflow_keys
from ctxqueue.stores.redis.requests import MAX_RUN_FIELDS, SENSITIVE_FLAG, Codec, Request, outgoing_of, pack

if TYPE_CHECKING:
    from collections.abc import Mapping


NOTHING_SETTLED = fx.Settling(())
NO_MESSAGE = fx.Outgoing("", b"")


def _packed_steps(write: fx.Write) -> bytes:
    """Return agent and flags of each step; only the last one's flags say whether the entry may be evicted."""
    if not write.steps:
        return b""
    return pack([part for step in write.steps for part in (step.agent_id, SENSITIVE_FLAG if step.sensitive else 0)])


def _encode_commit(namespace: str, effect: fx.Commit) -> list[Request]:
    keys = workflow_keys(namespace, effect.workflow_id)
    call = effect.call
    journal_us = LANE_SECONDS * 1_000_000 if call.mode == "lane" else effect.bounds.horizon_us
    args: list[str | bytes | int] = [
        effect.workflow_id,
        effect.agent_id,
        effect.commit_id,
        call.mode,
        call.call_id,
        effect.digest,
        effect.on_divergence,
        int(journal_us) // 1_000,
        call.epoch or "",
        effect.app,
        effect.lease_us,
        effect.bounds.max_entries,
        effect.bounds.max_bytes,
        MAX_RUN_FIELDS,
        effect.bounds.max_merge,
        effect.bounds.history,
        effect.bounds.log_limit,
        "" if effect.graph is None else effect.graph,
        effect.expected_head,
        1 if effect.even_closed else 0,
        len(effect.writes),
    ]
    settling = effect.settling or NOTHING_SETTLED
    args += (settling.drain_id, settling.trim, effect.bounds.horizon_us // 1_000)
    args += (effect.incarnation, 1 if effect.sealed else 0)
    audit = effect.bounds.audit
    args += (audit.limit, audit.age_us, 1 if audit.lenient else 0, effect.origin)
    for write in effect.writes:
        args += (
            write.operation,
            write.address,
            "" if write.expected_version is None else write.expected_version,
            write.expected_commit,
            write.meta,
            write.value,
            "" if write.ttl_us is None else write.ttl_us,
            1 if write.keep_expiry else 0,
            write.evictable + (SENSITIVE_FLAG if write.sensitive else 0),
            pack(write.depends_on) if write.depends_on else "",
            _packed_steps(write),
        )
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
    journal = keys.lane(call.owner) if call.mode == "lane" else keys.run(call.owner)
    record_of_run = keys.run(call.run_id) if call.run_id else journal
    all_keys = (
        *(keys.m, keys.e, keys.v, keys.x, keys.k, keys.w, keys.t, keys.due, keys.out, keys.msg),
        *(journal, record_of_run, keys.l, keys.a, keys.s, keys.g, keys.y),
        *(keys.u, keys.q, keys.i, keys.n, keys.audit, keys.z),
        *(keys.history(write.address) for write in effect.writes),
        *(keys.run(settled.owner) for settled in settling.settled),
    )
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
