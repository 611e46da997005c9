"""The codecs of the inbox's effects: updates that are stored until they are settled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ctxqueue import effects as fx
from ctxqueue.stores.redis import scripts
from ctxqueue.stores.redis.keys import workflow_keys
from ctxqueue.stores.redis.requests import Codec, Request, nothing, number, outbox_keys, truth

if TYPE_CHECKING:
    from collections.abc import Mapping


def _encode_enqueue(namespace: str, effect: fx.Enqueue) -> list[Request]:
    keys = workflow_keys(namespace, effect.workflow_id)
    args = (
        *(effect.workflow_id, effect.update_id, effect.payload, effect.limit, 1 if effect.queued else 0),
        *(effect.outgoing.item_id, effect.outgoing.message, effect.lease_us),
        *(effect.drain.item_id, effect.drain.message, effect.life_us),
    )
    return [Request(scripts.ENQUEUE, (keys.m, keys.u, keys.q, keys.i, keys.due, keys.run(effect.owner)), args)]


def _decode_enqueue(_effect: fx.Enqueue, replies: list[Any]) -> fx.Enqueued:
    return fx.Enqueued(replies[0].decode())


def _encode_find_update(namespace: str, effect: fx.FindUpdate) -> list[Request]:
    keys = workflow_keys(namespace, effect.workflow_id)
    args = (effect.update_id, 1 if effect.attempt else 0)
    return [Request(scripts.FIND_UPDATE, (keys.m, keys.u, keys.n, keys.run(effect.owner), keys.d), args)]


def _decode_find_update(effect: fx.FindUpdate, replies: list[Any]) -> fx.Found:
    head, *rest = replies[0]
    if not head:
        return fx.Found(head=False)
    payload, item, message, attempts, failure, revision, dead, count, *named = rest
    stored = None
    if payload is not None:
        stored = fx.StoredUpdate(effect.update_id, payload, fx.Outgoing(item.decode(), message))
    outcome = None
    if revision is not None:
        versions = tuple(int(version) for version in named[:count])
        addresses = tuple(address.decode() for address in named[count:])
        outcome = fx.Outcome(int(revision), addresses, versions)
    elif failure is not None:
        outcome = fx.Outcome(failure=failure)
    return fx.Found(head=True, stored=stored, attempts=attempts, outcome=outcome, dead=dead == 1)


def _encode_draw(namespace: str, effect: fx.Draw) -> list[Request]:
    keys = workflow_keys(namespace, effect.workflow_id)
    args = (
        *(effect.workflow_id, effect.drain_id, effect.limit, effect.max_bytes),
        *(effect.lease_us, effect.careful_after),
    )
    return [Request(scripts.DRAW, (keys.m, keys.u, keys.q, keys.due), args)]


def _decode_draw(_effect: fx.Draw, replies: list[Any]) -> fx.Drawn:
    answer, *rest = replies[0]
    if not rest:
        return fx.Drawn(answer.decode())
    crashes, *flat = rest
    return fx.Drawn(answer.decode(), crashes, tuple(_updates(flat)))


def _updates(flat: list[Any]) -> list[fx.StoredUpdate]:
    return [
        fx.StoredUpdate(flat[i].decode(), flat[i + 1], fx.Outgoing(flat[i + 2].decode(), flat[i + 3]))
        for i in range(0, len(flat), 4)
    ]


def _encode_load_updates(namespace: str, effect: fx.LoadUpdates) -> list[Request]:
    keys = workflow_keys(namespace, effect.workflow_id)
    return [Request(scripts.UPDATES, (keys.m, keys.u), (effect.cursor or "0", effect.limit))]


def _decode_load_updates(_effect: fx.LoadUpdates, replies: list[Any]) -> tuple[list[fx.StoredUpdate], str]:
    cursor, *flat = replies[0]
    following = cursor.decode()
    return _updates(flat), "" if following == "0" else following


def _encode_let_go(namespace: str, effect: fx.LetGo) -> list[Request]:
    keys = workflow_keys(namespace, effect.workflow_id)
    return [Request(scripts.LET_GO, (keys.m, keys.due), (effect.workflow_id, effect.drain_id))]


def _encode_bury(namespace: str, effect: fx.Bury) -> list[Request]:
    keys = workflow_keys(namespace, effect.workflow_id)
    args = (
        *(effect.workflow_id, effect.update_id, effect.drain_id, effect.about, effect.failure),
        *(effect.horizon_us // 1_000, 1 if effect.reports else 0),
    )
    all_keys = (keys.m, keys.u, keys.q, keys.i, keys.n, keys.d, keys.run(effect.owner), keys.due, *outbox_keys(keys))
    return [Request(scripts.BURY, all_keys, args)]


SEPARATOR = "\0\0\0"
"""Between the id of a dead letter and what is known of it: no id holds so many in a row."""


def _encode_dead(namespace: str, effect: fx.LoadDead) -> list[Request]:
    keys = workflow_keys(namespace, effect.workflow_id)
    after = f"({effect.after}\0\0\1" if effect.after else "-"
    return [Request(scripts.DEAD, (keys.m, keys.d), (after, effect.limit))]


def _decode_dead(_effect: fx.LoadDead, replies: list[Any]) -> tuple[bool, list[tuple[str, bytes]]]:
    there, *members = replies[0]
    parts = [member.partition(SEPARATOR.encode()) for member in members]
    return bool(there), [(update_id.decode(), about) for update_id, _, about in parts]


def _encode_revive(namespace: str, effect: fx.Revive) -> list[Request]:
    keys = workflow_keys(namespace, effect.workflow_id)
    all_keys = (keys.m, keys.u, keys.q, keys.i, keys.d, keys.due, keys.run(effect.owner), keys.n)
    return [Request(scripts.REVIVE, all_keys, (effect.workflow_id, effect.update_id, 1 if effect.drop else 0))]


def _encode_remind(namespace: str, effect: fx.Remind) -> list[Request]:
    keys = workflow_keys(namespace, effect.due.workflow_id)
    all_keys = (keys.m, keys.u, keys.q, keys.i, keys.due, *outbox_keys(keys), keys.n)
    args = (effect.due.workflow_id, effect.due.kind, effect.limit, effect.lease_us)
    return [Request(scripts.REMIND, all_keys, args)]


INBOX_CODECS: Mapping[type[fx.Effect[Any]], Codec] = {
    fx.Enqueue: Codec(_encode_enqueue, _decode_enqueue),
    fx.FindUpdate: Codec(_encode_find_update, _decode_find_update),
    fx.Draw: Codec(_encode_draw, _decode_draw),
    fx.LetGo: Codec(_encode_let_go, nothing),
    fx.Bury: Codec(_encode_bury, truth),
    fx.LoadDead: Codec(_encode_dead, _decode_dead),
    fx.LoadUpdates: Codec(_encode_load_updates, _decode_load_updates),
    fx.Revive: Codec(_encode_revive, truth),
    fx.Remind: Codec(_encode_remind, number),
}
