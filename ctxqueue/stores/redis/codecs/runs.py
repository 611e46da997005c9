"""The codecs of attempts and parking."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ctxqueue import effects as fx
from ctxqueue.stores.redis import scripts
from ctxqueue.stores.redis.keys import workflow_keys
from ctxqueue.stores.redis.requests import MAX_RUN_FIELDS, Codec, Request, outgoing_of, pack, truth

if TYPE_CHECKING:
    from collections.abc import Mapping


def _encode_claim(namespace: str, effect: fx.Claim) -> list[Request]:
    keys = workflow_keys(namespace, effect.workflow_id)
    args = (
        *(effect.workflow_id, effect.run_id, effect.position.retries, effect.position.leg),
        *(effect.lease_us, effect.horizon_us),
        pack(effect.condition) if effect.condition else "",
        *(effect.message, effect.item_id, effect.claim_id, effect.after_epoch),
    )
    return [Request(scripts.CLAIM, (keys.run(effect.run_id), keys.m, keys.v, keys.due, keys.t), args)]


def _decode_claim(_effect: fx.Claim, replies: list[Any]) -> fx.Claimed:
    answer, *rest = replies[0]
    answer = answer.decode()
    if answer in ("run", "timeout", "closed"):
        return fx.Claimed(answer, epoch=rest[0], parked_us=int(rest[1]), lost=rest[2], unmet=tuple(rest[3:]))
    return fx.Claimed(answer, outcome=rest[0] if rest else b"")


def _encode_bind(namespace: str, effect: fx.Bind) -> list[Request]:
    args = (effect.workflow_id, effect.run_id, effect.keep_us // 1_000)
    return [Request(scripts.BIND, (workflow_keys(namespace, effect.task_id).task,), args)]


def _encode_mark(namespace: str, effect: fx.Mark) -> list[Request]:
    args = ("" if effect.cancelled is None else int(effect.cancelled), effect.keep_us // 1_000)
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
    args = (effect.epoch, effect.name, *value, MAX_RUN_FIELDS, effect.horizon_us // 1_000)
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
        *(effect.item_id, effect.message, effect.timeout_us, effect.horizon_us, effect.wait),
        *(effect.judge, effect.lease_us),
    )
    all_keys = (keys.run(effect.run_id), keys.m, keys.v, keys.w, keys.t, keys.due)
    return [Request(scripts.ARM, all_keys, args)]


def _decode_arm(_effect: fx.Arm, replies: list[Any]) -> fx.Armed:
    answer, *unmet = replies[0]
    return fx.Armed(answer.decode(), tuple(unmet))


def _encode_finish(namespace: str, effect: fx.Finish) -> list[Request]:
    keys = workflow_keys(namespace, effect.workflow_id)
    at = effect.position or fx.Position(-1, -1)
    args = (effect.epoch, effect.state, effect.outcome, effect.horizon_us // 1_000, at.retries, at.leg)
    return [Request(scripts.FINISH, (keys.run(effect.run_id),), args)]


RUNS_CODECS: Mapping[type[fx.Effect[Any]], Codec] = {
    fx.Claim: Codec(_encode_claim, _decode_claim),
    fx.Bind: Codec(_encode_bind, truth),
    fx.Mark: Codec(_encode_mark, _decode_mark),
    fx.Cancel: Codec(_encode_cancel, _decode_cancel),
    fx.Once: Codec(_encode_once, _decode_once),
    fx.Promise: Codec(_encode_promise, truth),
    fx.Renew: Codec(_encode_renew, truth),
    fx.Arm: Codec(_encode_arm, _decode_arm),
    fx.Finish: Codec(_encode_finish, truth),
}
