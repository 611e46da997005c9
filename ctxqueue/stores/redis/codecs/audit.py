"""The codecs of the audit log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from ctxqueue import effects as fx
from ctxqueue.errors import RecordDamaged
from ctxqueue.stores.redis import scripts
from ctxqueue.stores.redis.keys import shard_keys, workflow_keys
from ctxqueue.stores.redis.requests import Codec, Request, nothing, pack, unpack

if TYPE_CHECKING:
    from collections.abc import Mapping


def _flat(record: fx.Audited) -> tuple[str | bytes | int, ...]:
    places = pack([part for place in record.places for part in place])
    return (
        *(record.record_id, record.action, record.agent_id, record.workflow_id),
        *(record.origin, record.detail, record.revision, places),
    )


def _encode_audit(namespace: str, effect: fx.Audit) -> list[Request]:
    keys = workflow_keys(namespace, effect.workflow_id)
    args = [part for record in effect.records for part in _flat(record)]
    return [Request(scripts.AUDIT, (keys.audit,), (effect.bounds.limit, effect.bounds.age_us, *args))]


def _encode_load(namespace: str, effect: fx.LoadAudit) -> list[Request]:
    requests = []
    for shard, at_us, tie in effect.places:
        start = f"({at_us}-{int(tie)}" if tie else f"{at_us}-0"
        requests.append(Request(scripts.LOAD_AUDIT, (shard_keys(namespace, shard).audit,), (start, effect.limit)))
    return requests


def _record(item: list[Any]) -> fx.AuditItem:
    place, flat = item
    at_us, _, number = place.decode().partition("-")
    try:
        audited = _audited({flat[i]: flat[i + 1] for i in range(0, len(flat), 2)})
    except (LookupError, ValueError, TypeError, msgspec.MsgspecError) as error:
        raise RecordDamaged(f"record {place.decode()} of the audit log is damaged: {type(error).__name__}") from None
    # As long as each other, so that they compare as numbers do.
    return fx.AuditItem(audited, int(at_us), f"{int(number):020d}")


def _audited(fields: dict[bytes, bytes]) -> fx.Audited:
    places = unpack(fields[b"p"])
    action: Any = fields[b"k"].decode()
    return fx.Audited(
        fields[b"i"],
        action,
        fields[b"g"].decode(),
        fields[b"w"].decode(),
        fields[b"o"],
        fields[b"d"].decode(),
        int(fields[b"r"]),
        tuple((places[i], int(places[i + 1])) for i in range(0, len(places), 2)),
    )


def _decode_load(_effect: fx.LoadAudit, replies: list[Any]) -> tuple[tuple[fx.AuditItem, ...], ...]:
    return tuple(tuple(map(_record, reply)) for reply in replies)


def _encode_trim(namespace: str, effect: fx.TrimAudit) -> list[Request]:
    bounds = (effect.bounds.limit, effect.bounds.age_us)
    return [Request(scripts.TRIM_AUDIT, (shard_keys(namespace, shard).audit,), bounds) for shard in effect.shards]


def _encode_policy(namespace: str, effect: fx.NotePolicy) -> list[Request]:
    keys = workflow_keys(namespace, effect.workflow_id)
    shipped = 1 if effect.shipped else 0
    args = (effect.digest, shipped, effect.bounds.limit, effect.bounds.age_us, *_flat(effect.record))
    return [Request(scripts.NOTE_POLICY, (keys.policy, keys.audit), args)]


def _decode_policy(_effect: fx.NotePolicy, replies: list[Any]) -> str | None:
    changed, before = replies[0]
    return before.decode() if changed else None


AUDIT_CODECS: Mapping[type[fx.Effect[Any]], Codec] = {
    fx.Audit: Codec(_encode_audit, nothing),
    fx.LoadAudit: Codec(_encode_load, _decode_load),
    fx.TrimAudit: Codec(_encode_trim, nothing),
    fx.NotePolicy: Codec(_encode_policy, _decode_policy),
}
