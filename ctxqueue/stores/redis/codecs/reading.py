"""The codecs of effects that make a workflow or read what stands and stood in it."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import msgspec

from ctxqueue import effects as fx
from ctxqueue.models import GLOBAL_WORKFLOW
from ctxqueue.records import decode_header
from ctxqueue.stores.redis import scripts
from ctxqueue.stores.redis.keys import shard_keys, workflow_keys
from ctxqueue.stores.redis.requests import SENSITIVE_FLAG, WAS_SENSITIVE_FLAG, Codec, Request, number, unpack

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


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
    return [Request(scripts.LOAD, (keys.m, keys.e), (effect.max_bytes, *effect.addresses))]


def _decode_load(effect: fx.Load, replies: list[Any]) -> tuple[fx.Head | None, dict[str, bytes]]:
    reply = replies[0]
    if not reply:
        return None, {}
    head = _head(reply)
    found = zip(effect.addresses, reply[HEAD:], strict=True)
    return head, {
        address: record or fx.LEFT_OUT
        for address, record in found
        if record == 0 or (record and _fresh(record, head.now_us))
    }


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


def _encode_log(namespace: str, effect: fx.LoadLog) -> list[Request]:
    keys = workflow_keys(namespace, effect.workflow_id)
    return [Request(scripts.CHANGES, (keys.m, keys.l), (effect.from_revision, effect.limit, effect.max_bytes))]


KINDS: dict[str, Any] = {"p": "put", "d": "deleted", "x": "expired", "e": "evicted"}


def _revision_of(stream_id: bytes) -> int:
    return int(stream_id.partition(b"-")[0])


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


def _decode_log(effect: fx.LoadLog, replies: list[Any]) -> tuple[fx.Head | None, int, list[fx.LogRecord]]:
    reply = replies[0]
    if not reply:
        return None, 1, []
    head = _head(reply)
    oldest = _revision_of(reply[HEAD]) if reply[HEAD] else head.revision + 1
    records: list[fx.LogRecord] = []
    left = effect.enough
    for i in range(HEAD + 1, len(reply), 3):
        records.append(_log_record(*reply[i : i + 3]))
        left -= len(records[-1].changes)
        if left <= 0:
            break
    return head, oldest, records


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
    all_keys = (keys.history(effect.address), keys.a, keys.v, keys.z)
    return [Request(scripts.FORGET, all_keys, (effect.address, effect.gone_by, effect.skip, *effect.versions))]


def _encode_gone(namespace: str, effect: fx.LoadGone) -> list[Request]:
    keys = workflow_keys(namespace, effect.workflow_id)
    return [Request(scripts.GONE, (keys.z,), (effect.gone_by, effect.limit))]


def _encode_reseal(namespace: str, effect: fx.Reseal) -> list[Request]:
    keys = workflow_keys(namespace, effect.workflow_id)
    args: list[str | bytes | int] = [effect.address, effect.incarnation]
    for swap in effect.swaps:
        args += (_until.pack(swap.until) if swap.until else b"", swap.old, swap.new)
    return [Request(scripts.RESEAL, (keys.m, keys.e, keys.history(effect.address)), args)]


def _encode_graph(namespace: str, effect: fx.LoadGraph) -> list[Request]:
    keys = workflow_keys(namespace, effect.workflow_id)
    return [Request(scripts.GRAPH, (keys.m, keys.g), ())]


def _decode_graph(_effect: fx.LoadGraph, replies: list[Any]) -> tuple[fx.Head | None, dict[str, tuple[str, ...]]]:
    reply = replies[0]
    if not reply:
        return None, {}
    edges = {reply[i].decode(): tuple(msgspec.msgpack.decode(reply[i + 1])) for i in range(HEAD, len(reply), 2)}
    return _head(reply), edges


def _encode_measure(namespace: str, effect: fx.Measure) -> list[Request]:
    keys = workflow_keys(namespace, effect.workflow_id)
    return [Request(scripts.MEASURE, (keys.m, keys.e, keys.l, keys.u, keys.d, keys.j, keys.t), ())]


def _decode_measure(_effect: fx.Measure, replies: list[Any]) -> fx.Measured | None:
    reply = replies[0]
    if not reply:
        return None
    entries, size, logged, updates, dead, triggers, waiting = map(int, reply[HEAD:])
    return fx.Measured(_head(reply), entries, size, logged, updates, dead, triggers, bool(waiting))


def _encode_catalogue(namespace: str, effect: fx.LoadCatalogue) -> list[Request]:
    return [
        Request(scripts.CATALOGUE, (shard_keys(namespace, effect.shard).all,), (_after(effect.after), effect.limit))
    ]


READING_CODECS: Mapping[type[fx.Effect[Any]], Codec] = {
    fx.Open: Codec(_encode_open, _decode_open),
    fx.Load: Codec(_encode_load, _decode_load),
    fx.LoadPage: Codec(_encode_page, _decode_page),
    fx.LoadSince: Codec(_encode_since, _decode_since),
    fx.LoadLog: Codec(_encode_log, _decode_log),
    fx.LoadHistory: Codec(_encode_history, _decode_history),
    fx.LoadHistoryAddresses: Codec(_encode_history_addresses, _names),
    fx.LoadGone: Codec(_encode_gone, _names),
    fx.Forget: Codec(_encode_forget, number),
    fx.Reseal: Codec(_encode_reseal, number),
    fx.LoadGraph: Codec(_encode_graph, _decode_graph),
    fx.Measure: Codec(_encode_measure, _decode_measure),
    fx.LoadCatalogue: Codec(_encode_catalogue, _names),
}
