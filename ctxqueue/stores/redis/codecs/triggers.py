"""The codecs of triggers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ctxqueue import effects as fx
from ctxqueue.stores.redis import scripts
from ctxqueue.stores.redis.keys import workflow_keys
from ctxqueue.stores.redis.requests import MAX_RUN_FIELDS, Codec, Request, outgoing_of, pack, truth

if TYPE_CHECKING:
    from collections.abc import Mapping


def _encode_register(namespace: str, effect: fx.Register) -> list[Request]:
    keys = workflow_keys(namespace, effect.workflow_id)
    args = (
        *(effect.workflow_id, effect.trigger_id, pack(effect.condition), effect.judge),
        *(effect.item_id, effect.message, effect.late_message),
        "" if effect.timeout_us is None else effect.timeout_us,
        *(effect.record, effect.most, effect.app, effect.lease_us),
        *(effect.call.call_id if effect.call is not None else "", MAX_RUN_FIELDS, effect.horizon_us // 1_000),
        *((effect.recurring.most, effect.recurring.notes) if effect.recurring is not None else ("", b"")),
    )
    journal = keys.run(effect.call.owner) if effect.call is not None else keys.m
    all_keys = (keys.m, keys.v, keys.w, keys.t, keys.due, keys.out, keys.msg, keys.y, keys.j, journal)
    return [Request(scripts.REGISTER, all_keys, args)]


def _decode_register(_effect: fx.Register, replies: list[Any]) -> fx.Registered:
    answer, *flat = replies[0]
    return fx.Registered(answer.decode(), outgoing_of(flat))


def _trigger(reply: list[bytes]) -> fx.KeptTrigger:
    trigger_id, state, reason, record = reply
    return fx.KeptTrigger(trigger_id.decode(), state.decode(), record, reason.decode())  # type: ignore[arg-type]


def _encode_load(namespace: str, effect: fx.LoadTrigger) -> list[Request]:
    keys = workflow_keys(namespace, effect.workflow_id)
    return [Request(scripts.LOAD_TRIGGER, (keys.j, keys.t, keys.m), (effect.trigger_id,))]


def _decode_load(_effect: fx.LoadTrigger, replies: list[Any]) -> fx.KeptTrigger | None:
    return _trigger(replies[0]) if replies[0] else None


def _encode_load_some(namespace: str, effect: fx.LoadTriggers) -> list[Request]:
    keys = workflow_keys(namespace, effect.workflow_id)
    return [Request(scripts.LOAD_TRIGGERS, (keys.j, keys.t, keys.m), (effect.cursor or "0", effect.limit))]


def _decode_load_some(_effect: fx.LoadTriggers, replies: list[Any]) -> tuple[list[fx.KeptTrigger], str]:
    cursor, *found = replies[0]
    following = cursor.decode()
    return [_trigger(each) for each in found], "" if following == "0" else following


def _encode_end(namespace: str, effect: fx.EndTrigger) -> list[Request]:
    keys = workflow_keys(namespace, effect.workflow_id)
    flags = 1 if effect.armed else 0, 1 if effect.forget else 0
    args = (effect.workflow_id, effect.trigger_id, effect.state, effect.reason, *flags)
    return [Request(scripts.END_TRIGGER, (keys.j, keys.o, keys.t, keys.w, keys.due, keys.m), args)]


TRIGGERS_CODECS: Mapping[type[fx.Effect[Any]], Codec] = {
    fx.Register: Codec(_encode_register, _decode_register),
    fx.LoadTrigger: Codec(_encode_load, _decode_load),
    fx.LoadTriggers: Codec(_encode_load_some, _decode_load_some),
    fx.EndTrigger: Codec(_encode_end, truth),
}
