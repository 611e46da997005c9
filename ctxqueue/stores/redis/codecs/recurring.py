"""The codecs of what fires each time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ctxqueue import effects as fx
from ctxqueue.stores.redis import scripts
from ctxqueue.stores.redis.keys import workflow_keys
from ctxqueue.stores.redis.requests import Codec, Request, outgoing_of, truth

if TYPE_CHECKING:
    from collections.abc import Mapping

SILENCE = fx.Firing("", fx.Outgoing("", b""))


def _encode_recur(namespace: str, effect: fx.Recur) -> list[Request]:
    keys = workflow_keys(namespace, effect.workflow_id)
    firing = effect.firing or SILENCE
    args: tuple[str | bytes | int, ...] = (
        effect.workflow_id,
        effect.trigger_id,
        effect.turn,
        effect.notes,
        "" if effect.due_us is None else effect.due_us,
        firing.run_id,
        firing.message.item_id,
        firing.message.message,
        firing.running_us,
        firing.agent_id,
        firing.notice,
        effect.app,
        effect.lease_us,
    )
    return [Request(scripts.RECUR, (keys.m, keys.t, keys.due, keys.out, keys.msg, keys.j, keys.f), args)]


def _decode_recur(_effect: fx.Recur, replies: list[Any]) -> fx.Recurred:
    answer, *flat = replies[0]
    return fx.Recurred(answer.decode(), outgoing_of(flat))


def _encode_end_run(namespace: str, effect: fx.EndRun) -> list[Request]:
    keys = workflow_keys(namespace, effect.workflow_id)
    place: tuple[str | int, ...] = (effect.workflow_id, effect.trigger_id, effect.number)
    args = (*place, effect.of, effect.lease_us, *effect.parts)
    return [Request(scripts.END_RUN, (keys.m, keys.t, keys.due), args)]


def _encode_load_notices(namespace: str, effect: fx.LoadNotices) -> list[Request]:
    keys = workflow_keys(namespace, effect.workflow_id)
    return [Request(scripts.LOAD_NOTICES, (keys.m, keys.f), (effect.agent_id,))]


def _decode_load_notices(_effect: fx.LoadNotices, replies: list[Any]) -> list[bytes]:
    return list(replies[0])


RECURRING_CODECS: Mapping[type[fx.Effect[Any]], Codec] = {
    fx.Recur: Codec(_encode_recur, _decode_recur),
    fx.EndRun: Codec(_encode_end_run, truth),
    fx.LoadNotices: Codec(_encode_load_notices, _decode_load_notices),
}
