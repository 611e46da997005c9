"""The codecs of what is due, of a workflow's end, and of the outbox."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ctxqueue import effects as fx
from ctxqueue.stores.redis import scripts
from ctxqueue.stores.redis.keys import shard_keys, workflow_keys
from ctxqueue.stores.redis.requests import Codec, Request, nothing, outbox_keys, outgoing_of

if TYPE_CHECKING:
    from collections.abc import Mapping


def _encode_peek(namespace: str, effect: fx.PeekDue) -> list[Request]:
    return [Request(scripts.PEEK, (shard_keys(namespace, shard).due,), (effect.limit,)) for shard in effect.shards]


def _decode_peek(effect: fx.PeekDue, replies: list[Any]) -> list[fx.Due]:
    found = []
    for shard, reply in zip(effect.shards, replies, strict=True):
        for i in range(0, len(reply), 2):
            kind, workflow_id, detail = reply[i].decode().split("\0\0", 2)
            found.append(fx.Due(shard, kind, workflow_id, detail, int(float(reply[i + 1]))))
    return found


def _encode_backlog(namespace: str, effect: fx.LoadBacklog) -> list[Request]:
    places = (shard_keys(namespace, shard) for shard in effect.shards)
    return [Request(scripts.BACKLOG, (keys.due, keys.out), ()) for keys in places]


def _decode_backlog(_effect: fx.LoadBacklog, replies: list[Any]) -> fx.Backlog:
    rows = [[int(float(number)) for number in reply] for reply in replies]
    nows, overdue, due, outgoing, sending = zip(*rows, strict=True)
    first_due, first_sent = min(filter(None, due), default=0), min(filter(None, sending), default=0)
    return fx.Backlog(max(nows), sum(overdue), first_due, sum(outgoing), first_sent)


def _encode_expire(namespace: str, effect: fx.Expire) -> list[Request]:
    keys = workflow_keys(namespace, effect.workflow_id)
    all_keys = (
        *(keys.m, keys.e, keys.v, keys.x, keys.k, keys.due, keys.l, keys.s, keys.g, keys.w),
        *(keys.a, keys.z),
    )
    args = (effect.workflow_id, effect.commit_id, effect.limit, effect.log_limit)
    return [Request(scripts.EXPIRE, all_keys, args)]


def _decode_expire(_effect: fx.Expire, replies: list[Any]) -> fx.Expired:
    expired, kept, more, *pending = replies[0]
    return fx.Expired(expired, kept, bool(more), tuple(address.decode() for address in pending))


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
    fired, more, count, *rest = replies[0]
    judged = tuple(run.decode() for run in rest[:count])
    return fx.FannedOut(fired, outgoing_of(rest[count:]), bool(more), judged)


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
        *(keys.j, keys.o, keys.p, keys.f, keys.z),
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


DUE_CODECS: Mapping[type[fx.Effect[Any]], Codec] = {
    fx.PeekDue: Codec(_encode_peek, _decode_peek),
    fx.LoadBacklog: Codec(_encode_backlog, _decode_backlog),
    fx.Expire: Codec(_encode_expire, _decode_expire),
    fx.Release: Codec(_encode_release, _decode_word),
    fx.FanOut: Codec(_encode_fan_out, _decode_fan_out),
    fx.Close: Codec(_encode_close, _decode_word),
    fx.End: Codec(_encode_end, _decode_end),
    fx.TakeOutgoing: Codec(_encode_take, _decode_take),
    fx.Settle: Codec(_encode_settle, nothing),
}
