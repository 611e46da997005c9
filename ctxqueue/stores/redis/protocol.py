"""How each effect becomes calls of scripts, and the replies its result: shared by the blocking and the async store."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from ctxqueue import effects as fx
from ctxqueue.identity import LANE_SECONDS
from ctxqueue.models import GLOBAL_WORKFLOW
from ctxqueue.records import decode_header
from ctxqueue.settings import MAX_RUN_CALLS
from ctxqueue.stores.redis import scripts
from ctxqueue.stores.redis.inbox_protocol import INBOX_CODECS
from ctxqueue.stores.redis.keys import shard_keys, workflow_keys
from ctxqueue.stores.redis.requests import (
    Codec,
    Request,
    nothing,
    number,
    outbox_keys,
    outgoing_of,
    pack,
    truth,
    unpack,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


E = TypeVar("E", bound="fx.Effect[Any]")

FIELDS_OF_RUN = 10
"""What a run's record holds besides its calls, at most."""

CODECS: dict[type[fx.Effect[Any]], Codec] = dict(INBOX_CODECS)


HEAD = 8
"""Items of a reply that are the workflow's head."""


def _head(reply: list[Any]) -> fx.Head:
    incarnation, revision, commit_id, created, metadata, now, closed, graph = reply[:HEAD]
    return fx.Head(
        incarnation.decode(), int(revision), commit_id, int(created), metadata, int(now), int(closed), int(graph)
    )


def _fresh(record: bytes, now_us: int) -> bool:
    expires_us = decode_header(record).expires_us
    return not expires_us or expires_us > now_us


def _encode_batch(namespace: str, effect: fx.Batch) -> list[Request]:
    return [request for each in effect.effects for request in CODECS[type(each)].encode(namespace, each)]


def _decode_batch(effect: fx.Batch, replies: list[Any]) -> tuple[Any, ...]:
    pairs = zip(effect.effects, replies, strict=True)
    return tuple(CODECS[type(each)].decode(each, [reply]) for each, reply in pairs)


# --- workflows and entries -------------------------------------------------------------------------------------


def _encode_open(namespace: str, effect: fx.Open) -> list[Request]:
    keys = workflow_keys(namespace, effect.workflow_id)
    idle = "" if effect.workflow_id == GLOBAL_WORKFLOW else effect.idle_us
    args = (effect.workflow_id, effect.incarnation, effect.metadata, idle)
    return [Request(scripts.OPEN, (keys.m, keys.due, keys.all, keys.t), args)]


def _decode_open(_effect: fx.Open, replies: list[Any]) -> tuple[bool, fx.Head | None]:
    made, *head = replies[0]
    return made == 1, _head(head) if head else None


def _encode_load(namespace: str, effect: fx.Load) -> list[Request]:
    keys = workflow_keys(namespace, effect.workflow_id)
    return [Request(scripts.LOAD, (keys.m, keys.e), effect.addresses)]


def _decode_load(effect: fx.Load, replies: list[Any]) -> tuple[fx.Head | None, dict[str, bytes]]:
    reply = replies[0]
    if not reply:
        return None, {}
    head = _head(reply)
    found = zip(effect.addresses, reply[HEAD:], strict=True)
    return head, {address: record for address, record in found if record and _fresh(record, head.now_us)}


def _encode_since(namespace: str, effect: fx.LoadSince) -> list[Request]:
    keys = workflow_keys(namespace, effect.workflow_id)
    args = (effect.incarnation, effect.revision, effect.commit_id, effect.limit)
    return [Request(scripts.SINCE, (keys.m, keys.e, keys.l), args)]


def _decode_since(_effect: fx.LoadSince, replies: list[Any]) -> fx.Since:
    reply = replies[0]
    if not reply:
        return fx.Since(None, "reload")
    changed = {reply[i].decode(): reply[i + 1] for i in range(HEAD + 1, len(reply), 2)}
    return fx.Since(_head(reply), reply[HEAD].decode(), changed)


def _encode_page(namespace: str, effect: fx.LoadPage) -> list[Request]:
    keys = workflow_keys(namespace, effect.workflow_id)
    lower = f"({effect.after}" if effect.after else f"[{effect.prefix}" if effect.prefix else "-"
    # Every continuation of the prefix sorts before the prefix followed by a byte that no UTF-8 text has.
    upper = b"(" + effect.prefix.encode() + b"\xff"
    return [Request(scripts.PAGE, (keys.m, keys.e, keys.k), (lower, upper, effect.limit, effect.max_bytes))]


def _decode_page(
    _effect: fx.LoadPage, replies: list[Any]
) -> tuple[fx.Head | None, list[tuple[str, bytes]], str | None]:
    reply = replies[0]
    if not reply:
        return None, [], None
    head = _head(reply)
    pairs = [(reply[i].decode(), reply[i + 1]) for i in range(HEAD + 1, len(reply), 2)]
    after = pairs[-1][0] if reply[HEAD] and pairs else None
    return head, [(address, record) for address, record in pairs if _fresh(record, head.now_us)], after


# --- log, history, graph, catalogue ----------------------------------------------------------------------------


def _encode_log(namespace: str, effect: fx.LoadLog) -> list[Request]:
    keys = workflow_keys(namespace, effect.workflow_id)
    return [Request(scripts.CHANGES, (keys.m, keys.l), (effect.from_revision, effect.limit, effect.max_bytes))]


KINDS: dict[str, Any] = {"p": "put", "d": "deleted", "x": "expired", "e": "evicted"}


def _revision_of(stream_id: bytes) -> int:
    return int(stream_id.partition(b"-")[0])


SENSITIVE_FLAG = 4
WAS_SENSITIVE_FLAG = 8


def _logged(flat: list[Any]) -> Iterator[fx.Logged]:
    agent_id = ""
    for i in range(0, len(flat), 5):
        kind, address, version, before, flags = flat[i : i + 5]
        if kind == "@":
            agent_id = address
        else:
            sensitive, was_sensitive = bool(flags & SENSITIVE_FLAG), bool(flags & WAS_SENSITIVE_FLAG)
            yield fx.Logged(KINDS[kind], address, int(version), int(before), sensitive, was_sensitive, agent_id)


def _log_record(stream_id: bytes, commit_id: bytes, packed: bytes) -> fx.LogRecord:
    agent_id, at_us, *flat = unpack(packed)
    return fx.LogRecord(_revision_of(stream_id), commit_id, agent_id, int(at_us), tuple(_logged(flat)))


def _decode_log(_effect: fx.LoadLog, replies: list[Any]) -> tuple[fx.Head | None, int, list[fx.LogRecord]]:
    reply = replies[0]
    if not reply:
        return None, 1, []
    head = _head(reply)
    oldest = _revision_of(reply[HEAD]) if reply[HEAD] else head.revision + 1
    return head, oldest, [_log_record(*reply[i : i + 3]) for i in range(HEAD + 1, len(reply), 3)]


def _encode_history(namespace: str, effect: fx.LoadHistory) -> list[Request]:
    keys = workflow_keys(namespace, effect.workflow_id)
    all_keys = (keys.m, keys.e, keys.history(effect.address))
    return [Request(scripts.HISTORY, all_keys, (effect.address, effect.skip, effect.max_bytes))]


_until = struct.Struct(">d")


def _decode_history(
    _effect: fx.LoadHistory, replies: list[Any]
) -> tuple[fx.Head | None, bytes | None, list[fx.Kept], bool]:
    reply = replies[0]
    if not reply:
        return None, None, [], False
    kept = [fx.Kept(int(_until.unpack_from(item)[0]), item[_until.size :]) for item in reply[HEAD + 2 :]]
    return _head(reply), reply[HEAD], kept, bool(reply[HEAD + 1])


def _encode_history_addresses(namespace: str, effect: fx.LoadHistoryAddresses) -> list[Request]:
    keys = workflow_keys(namespace, effect.workflow_id)
    return [Request(scripts.HISTORY_ADDRESSES, (keys.a,), (_after(effect.after), effect.limit))]


def _after(name: str) -> str:
    return f"({name}" if name else "-"


def _names(_effect: fx.Effect[list[str]], replies: list[Any]) -> list[str]:
    return [name.decode() for name in replies[0]]


def _encode_forget(namespace: str, effect: fx.Forget) -> list[Request]:
    keys = workflow_keys(namespace, effect.workflow_id)
    all_keys = (keys.history(effect.address), keys.a)
    return [Request(scripts.FORGET, all_keys, (effect.address, *effect.versions))]


def _encode_graph(namespace: str, effect: fx.LoadGraph) -> list[Request]:
    keys = workflow_keys(namespace, effect.workflow_id)
    return [Request(scripts.GRAPH, (keys.m, keys.g), ())]


def _decode_graph(_effect: fx.LoadGraph, replies: list[Any]) -> tuple[fx.Head | None, dict[str, tuple[str, ...]]]:
    reply = replies[0]
    if not reply:
        return None, {}
    edges = {reply[i].decode(): tuple(msgspec.msgpack.decode(reply[i + 1])) for i in range(HEAD, len(reply), 2)}
    return _head(reply), edges


def _encode_catalogue(namespace: str, effect: fx.LoadCatalogue) -> list[Request]:
    return [
        Request(scripts.CATALOGUE, (shard_keys(namespace, effect.shard).all,), (_after(effect.after), effect.limit))
    ]


# --- commits ---------------------------------------------------------------------------------------------------


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
        MAX_RUN_CALLS + FIELDS_OF_RUN,
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
        *(keys.u, keys.q, keys.i, keys.n),
        *(keys.history(write.address) for write in effect.writes),
        *(keys.run(settled.owner) for settled in settling.settled),
    )
    return [Request(scripts.COMMIT, all_keys, args)]


def _decode_commit(_effect: fx.Commit, replies: list[Any]) -> fx.Committed | fx.Conflict | fx.Refused:
    reply = replies[0]
    status = reply[0].decode()
    if status == "ok":
        _, revision, now, replayed, diverged, fired, commit_id, left, count = reply[:9]
        versions_end = 9 + count
        pending_end = versions_end + 1 + reply[versions_end]
        named = tuple(address.decode() for address in reply[versions_end + 1 : pending_end])
        return fx.Committed(
            revision=int(revision),
            versions=tuple(int(version) for version in reply[9:versions_end]),
            now_us=int(now),
            commit_id=commit_id,
            replayed=bool(replayed),
            diverged=bool(diverged),
            fired=fired,
            outgoing=outgoing_of(reply[pending_end:]),
            pending=() if replayed else named,
            addresses=named if replayed else (),
            left=left,
        )
    if status == "conflict":
        pairs = [(reply[i], reply[i + 1]) for i in range(2, len(reply), 2)]
        return fx.Conflict(
            records={ordinal: record for ordinal, record in pairs if record != 0},
            omitted=tuple(ordinal for ordinal, record in pairs if record == 0),
            now_us=int(reply[1]),
        )
    return fx.Refused(status, reply[1].decode())


# --- attempts, parking -----------------------------------------------------------------------------------------


def _encode_claim(namespace: str, effect: fx.Claim) -> list[Request]:
    keys = workflow_keys(namespace, effect.workflow_id)
    args = (
        *(effect.workflow_id, effect.run_id, effect.position.retries, effect.position.leg),
        *(effect.lease_us, effect.horizon_us),
        pack(effect.condition) if effect.condition else "",
        *(effect.message, effect.item_id, effect.claim_id),
    )
    return [Request(scripts.CLAIM, (keys.run(effect.run_id), keys.m, keys.v, keys.due, keys.t), args)]


def _decode_claim(_effect: fx.Claim, replies: list[Any]) -> fx.Claimed:
    answer, *rest = replies[0]
    answer = answer.decode()
    if answer in ("run", "timeout", "closed"):
        return fx.Claimed(answer, epoch=rest[0], parked_us=int(rest[1]), unmet=tuple(rest[2:]))
    return fx.Claimed(answer, outcome=rest[0] if rest else b"")


def _encode_bind(namespace: str, effect: fx.Bind) -> list[Request]:
    args = (effect.workflow_id, effect.run_id, effect.keep_us // 1_000)
    return [Request(scripts.BIND, (workflow_keys(namespace, effect.task_id).task,), args)]


def _encode_mark(namespace: str, effect: fx.Mark) -> list[Request]:
    args = (1 if effect.cancelled else 0, effect.keep_us // 1_000)
    return [Request(scripts.MARK, (workflow_keys(namespace, effect.task_id).task,), args)]


def _decode_mark(_effect: fx.Mark, replies: list[Any]) -> tuple[str, str] | None:
    if not replies[0]:
        return None
    workflow_id, run_id = replies[0]
    return workflow_id.decode(), run_id.decode()


def _encode_cancel(namespace: str, effect: fx.Cancel) -> list[Request]:
    keys = workflow_keys(namespace, effect.workflow_id)
    all_keys = (keys.run(effect.run_id), keys.m, keys.w, keys.t, keys.due, keys.out, keys.msg)
    args = (effect.workflow_id, effect.run_id, effect.app, effect.lease_us, effect.horizon_us)
    return [Request(scripts.CANCEL, all_keys, args)]


def _decode_cancel(_effect: fx.Cancel, replies: list[Any]) -> fx.Cancelled:
    answer, *flat = replies[0]
    return fx.Cancelled(answer.decode(), outgoing_of(flat))


def _encode_once(namespace: str, effect: fx.Once) -> list[Request]:
    keys = workflow_keys(namespace, effect.workflow_id)
    value = (0, b"") if effect.value is None else (1, effect.value)
    args = (effect.epoch, effect.name, *value, MAX_RUN_CALLS + FIELDS_OF_RUN, effect.horizon_us // 1_000)
    return [Request(scripts.ONCE, (keys.run(effect.run_id),), args)]


def _decode_once(effect: fx.Once, replies: list[Any]) -> fx.Remembered:
    answer, *value = replies[0]
    return fx.Remembered(answer.decode(), value[0] if value else effect.value or b"")


def _encode_promise(namespace: str, effect: fx.Promise) -> list[Request]:
    keys = workflow_keys(namespace, effect.workflow_id)
    args = (
        *(effect.workflow_id, effect.run_id, effect.item_id, effect.message),
        *(effect.wait_us, effect.keep_us),
    )
    return [Request(scripts.PROMISE, (keys.run(effect.run_id), keys.m, keys.t, keys.due), args)]


def _encode_renew(namespace: str, effect: fx.Renew) -> list[Request]:
    keys = workflow_keys(namespace, effect.workflow_id)
    return [Request(scripts.RENEW, (keys.run(effect.run_id),), (effect.epoch, effect.lease_us))]


def _encode_arm(namespace: str, effect: fx.Arm) -> list[Request]:
    keys = workflow_keys(namespace, effect.workflow_id)
    args = (
        *(effect.workflow_id, effect.run_id, effect.epoch, pack(effect.condition)),
        *(effect.item_id, effect.message, effect.timeout_us, effect.horizon_us),
    )
    all_keys = (keys.run(effect.run_id), keys.m, keys.v, keys.w, keys.t, keys.due)
    return [Request(scripts.ARM, all_keys, args)]


def _decode_arm(_effect: fx.Arm, replies: list[Any]) -> fx.Armed:
    answer, *unmet = replies[0]
    return fx.Armed(answer.decode(), tuple(unmet))


def _encode_finish(namespace: str, effect: fx.Finish) -> list[Request]:
    keys = workflow_keys(namespace, effect.workflow_id)
    args = (effect.epoch, effect.state, effect.outcome, effect.horizon_us // 1_000)
    return [Request(scripts.FINISH, (keys.run(effect.run_id),), args)]


# --- what is due, and the outbox -------------------------------------------------------------------------------


def _encode_peek(namespace: str, effect: fx.PeekDue) -> list[Request]:
    return [Request(scripts.PEEK, (shard_keys(namespace, shard).due,), (effect.limit,)) for shard in effect.shards]


def _decode_peek(effect: fx.PeekDue, replies: list[Any]) -> list[fx.Due]:
    found = []
    for shard, reply in zip(effect.shards, replies, strict=True):
        for i in range(0, len(reply), 2):
            kind, workflow_id, detail = reply[i].decode().split("\0\0", 2)
            found.append(fx.Due(shard, kind, workflow_id, detail, int(float(reply[i + 1]))))
    return found


def _encode_expire(namespace: str, effect: fx.Expire) -> list[Request]:
    keys = workflow_keys(namespace, effect.workflow_id)
    all_keys = (keys.m, keys.e, keys.v, keys.x, keys.k, keys.due, keys.l, keys.s, keys.g)
    args = (effect.workflow_id, effect.commit_id, effect.limit, effect.log_limit)
    return [Request(scripts.EXPIRE, all_keys, args)]


def _decode_expire(_effect: fx.Expire, replies: list[Any]) -> fx.Expired:
    expired, kept, more = replies[0]
    return fx.Expired(expired, kept, bool(more))


def _encode_release(namespace: str, effect: fx.Release) -> list[Request]:
    due = effect.due
    keys = workflow_keys(namespace, due.workflow_id)
    all_keys = (keys.m, keys.w, keys.t, keys.due, keys.out, keys.msg, keys.run(due.detail))
    args = (due.workflow_id, due.detail, due.kind, effect.lease_us, effect.horizon_us)
    return [Request(scripts.RELEASE, all_keys, args)]


def _encode_fan_out(namespace: str, effect: fx.FanOut) -> list[Request]:
    keys = workflow_keys(namespace, effect.workflow_id)
    all_keys = (keys.m, keys.v, keys.w, keys.t, keys.due, keys.out, keys.msg, keys.y)
    args = (effect.workflow_id, effect.address, effect.limit, effect.app, effect.lease_us)
    return [Request(scripts.FAN_OUT, all_keys, args)]


def _decode_fan_out(_effect: fx.FanOut, replies: list[Any]) -> fx.FannedOut:
    fired, more, *flat = replies[0]
    return fx.FannedOut(fired, outgoing_of(flat), bool(more))


# --- the end of a workflow -------------------------------------------------------------------------------------


def _encode_close(namespace: str, effect: fx.Close) -> list[Request]:
    keys = workflow_keys(namespace, effect.workflow_id)
    idle = "" if effect.idle_us is None else effect.idle_us
    args = (effect.workflow_id, 1 if effect.remove else 0, idle, effect.horizon_us)
    return [Request(scripts.CLOSE, (keys.m, keys.t, keys.due, keys.u), args)]


def _encode_end(namespace: str, effect: fx.End) -> list[Request]:
    keys = workflow_keys(namespace, effect.workflow_id)
    all_keys = (
        *(keys.m, keys.e, keys.v, keys.x, keys.k, keys.w, keys.t, keys.l, keys.a, keys.s, keys.g, keys.y),
        *(keys.due, keys.out, keys.msg, keys.all, keys.u, keys.q, keys.i, keys.n, keys.d),
        *(keys.history(address) for address in effect.drop),
    )
    bounds = (effect.limit, effect.app, effect.lease_us, effect.horizon_us)
    args: tuple[str | int, ...] = (effect.workflow_id, *bounds, *effect.drop)
    return [Request(scripts.END, all_keys, args)]


def _decode_end(_effect: fx.End, replies: list[Any]) -> fx.Ended:
    answer, *rest = replies[0]
    if not rest:
        return fx.Ended(answer.decode())
    count, *parts = rest
    history = tuple(address.decode() for address in parts[:count])
    return fx.Ended(answer.decode(), outgoing_of(parts[count:]), history)


# --- the outbox ------------------------------------------------------------------------------------------------


def _encode_take(namespace: str, effect: fx.TakeOutgoing) -> list[Request]:
    args = (effect.app, effect.limit, effect.lease_us)
    return [Request(scripts.TAKE, outbox_keys(shard_keys(namespace, shard)), args) for shard in effect.shards]


def _decode_take(effect: fx.TakeOutgoing, replies: list[Any]) -> list[tuple[int, fx.Outgoing]]:
    pairs = zip(effect.shards, replies, strict=True)
    return [(shard, item) for shard, reply in pairs for item in outgoing_of(reply)]


def _encode_settle(namespace: str, effect: fx.Settle) -> list[Request]:
    return [Request(scripts.SETTLE, outbox_keys(shard_keys(namespace, effect.shard)), effect.item_ids)]


def _decode_word(_effect: fx.Effect[Any], replies: list[Any]) -> Any:
    return replies[0].decode()


CODECS.update(
    {
        fx.Batch: Codec(_encode_batch, _decode_batch),
        fx.Open: Codec(_encode_open, _decode_open),
        fx.Load: Codec(_encode_load, _decode_load),
        fx.LoadPage: Codec(_encode_page, _decode_page),
        fx.LoadSince: Codec(_encode_since, _decode_since),
        fx.LoadLog: Codec(_encode_log, _decode_log),
        fx.LoadHistory: Codec(_encode_history, _decode_history),
        fx.LoadHistoryAddresses: Codec(_encode_history_addresses, _names),
        fx.Forget: Codec(_encode_forget, number),
        fx.LoadGraph: Codec(_encode_graph, _decode_graph),
        fx.LoadCatalogue: Codec(_encode_catalogue, _names),
        fx.Commit: Codec(_encode_commit, _decode_commit),
        fx.Claim: Codec(_encode_claim, _decode_claim),
        fx.Bind: Codec(_encode_bind, truth),
        fx.Mark: Codec(_encode_mark, _decode_mark),
        fx.Cancel: Codec(_encode_cancel, _decode_cancel),
        fx.Once: Codec(_encode_once, _decode_once),
        fx.Promise: Codec(_encode_promise, truth),
        fx.Renew: Codec(_encode_renew, truth),
        fx.Arm: Codec(_encode_arm, _decode_arm),
        fx.Finish: Codec(_encode_finish, truth),
        fx.PeekDue: Codec(_encode_peek, _decode_peek),
        fx.Expire: Codec(_encode_expire, _decode_expire),
        fx.Release: Codec(_encode_release, _decode_word),
        fx.FanOut: Codec(_encode_fan_out, _decode_fan_out),
        fx.Close: Codec(_encode_close, _decode_word),
        fx.End: Codec(_encode_end, _decode_end),
        fx.TakeOutgoing: Codec(_encode_take, _decode_take),
        fx.Settle: Codec(_encode_settle, nothing),
    }
)
