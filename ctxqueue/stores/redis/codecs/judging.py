"""The codecs of judging."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from ctxqueue import effects as fx
from ctxqueue.stores.redis import scripts
from ctxqueue.stores.redis.keys import workflow_keys
from ctxqueue.stores.redis.requests import Codec, Request, nothing, outgoing_of, truth

if TYPE_CHECKING:
    from collections.abc import Mapping


def _encode_rewatch(namespace: str, effect: fx.Rewatch) -> list[Request]:
    keys = workflow_keys(namespace, effect.workflow_id)
    args: tuple[str | int, ...] = (effect.workflow_id, effect.run_id, effect.lease_us)
    args = (*args, effect.app, effect.depth, *effect.addresses)
    return [Request(scripts.REWATCH, (keys.m, keys.w, keys.t, keys.due, keys.j), args)]


def _decode_rewatch(_effect: fx.Rewatch, replies: list[Any]) -> fx.Watched:
    answer, *rest = replies[0]
    if not rest:
        return fx.Watched(answer.decode())
    judge, turn, notes, number, depth, *addresses = rest
    told = (notes, int(number), int(depth))
    return fx.Watched(answer.decode(), judge, tuple(address.decode() for address in addresses), turn, *told)


def _encode_rest(namespace: str, effect: fx.Rest) -> list[Request]:
    keys = workflow_keys(namespace, effect.workflow_id)
    return [Request(scripts.REST, (keys.t, keys.due), (effect.workflow_id, effect.run_id, effect.turn))]


def _encode_fire(namespace: str, effect: fx.Fire) -> list[Request]:
    keys = workflow_keys(namespace, effect.workflow_id)
    all_keys = (keys.m, keys.w, keys.t, keys.due, keys.out, keys.msg, keys.y)
    return [
        Request(
            scripts.FIRE, all_keys, (effect.workflow_id, effect.run_id, effect.app, effect.lease_us, effect.message)
        )
    ]


def _decode_fire(_effect: fx.Fire, replies: list[Any]) -> fx.Fired:
    fired, *flat = replies[0]
    return fx.Fired(bool(fired), outgoing_of(flat))


def _encode_load_parked(namespace: str, effect: fx.LoadParked) -> list[Request]:
    keys = workflow_keys(namespace, effect.workflow_id)
    return [Request(scripts.LOAD_PARKED, (keys.t,), (effect.cursor or "0", effect.limit, int(effect.messages)))]


def _decode_load_parked(_effect: fx.LoadParked, replies: list[Any]) -> tuple[list[fx.ParkedRun], str]:
    cursor, *found = replies[0]
    following = cursor.decode()
    runs = [
        fx.ParkedRun(
            run.decode(),
            tuple(dict.fromkeys(each.decode() for each in addresses)),
            judge,
            item.decode(),
            int(parked),
            int(deadline),
            message,
        )
        for run, judge, item, parked, deadline, message, *addresses in found
    ]
    return runs, "" if following == "0" else following


def _encode_watch_afar(namespace: str, effect: fx.WatchAfar) -> list[Request]:
    keys = workflow_keys(namespace, effect.workflow_id)
    args: tuple[str | int, ...] = (effect.workflow_id, effect.watcher, effect.again_us)
    args = (*args, 1 if effect.first else 0, *effect.addresses)
    return [Request(scripts.WATCH_AFAR, (keys.m, keys.w, keys.due, keys.p), args)]


def _decode_watch_afar(_effect: fx.WatchAfar, replies: list[Any]) -> Literal["watched", "absent", "patterns"]:
    answer: Literal["watched", "absent", "patterns"] = replies[0].decode()
    return answer


def _encode_rest_afar(namespace: str, effect: fx.RestAfar) -> list[Request]:
    keys = workflow_keys(namespace, effect.workflow_id)
    args: tuple[str | int, ...] = (effect.workflow_id, effect.watcher, effect.again_us, *effect.addresses)
    return [Request(scripts.REST_AFAR, (keys.m, keys.w, keys.due), args)]


def _encode_forget_afar(namespace: str, effect: fx.ForgetAfar) -> list[Request]:
    keys = workflow_keys(namespace, effect.workflow_id)
    return [Request(scripts.FORGET_AFAR, (keys.w, keys.due, keys.p), (effect.workflow_id, effect.watcher))]


JUDGING_CODECS: Mapping[type[fx.Effect[Any]], Codec] = {
    fx.Rewatch: Codec(_encode_rewatch, _decode_rewatch),
    fx.Rest: Codec(_encode_rest, truth),
    fx.LoadParked: Codec(_encode_load_parked, _decode_load_parked),
    fx.WatchAfar: Codec(_encode_watch_afar, _decode_watch_afar),
    fx.RestAfar: Codec(_encode_rest_afar, truth),
    fx.ForgetAfar: Codec(_encode_forget_afar, nothing),
    fx.Fire: Codec(_encode_fire, _decode_fire),
}
