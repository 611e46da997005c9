"""How each effect becomes calls of scripts, and the replies its result: shared by the blocking and the async store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ctxqueue import effects as fx
from ctxqueue.stores.redis.codecs.audit import AUDIT_CODECS
from ctxqueue.stores.redis.codecs.commits import COMMITS_CODECS
from ctxqueue.stores.redis.codecs.due import DUE_CODECS
from ctxqueue.stores.redis.codecs.inbox import INBOX_CODECS
from ctxqueue.stores.redis.codecs.judging import JUDGING_CODECS
from ctxqueue.stores.redis.codecs.memories import MEMORIES_CODECS
from ctxqueue.stores.redis.codecs.reading import READING_CODECS
from ctxqueue.stores.redis.codecs.recurring import RECURRING_CODECS
from ctxqueue.stores.redis.codecs.runs import RUNS_CODECS
from ctxqueue.stores.redis.codecs.triggers import TRIGGERS_CODECS
from ctxqueue.stores.redis.requests import Codec, Request

if TYPE_CHECKING:
    from collections.abc import Mapping


def _encode_batch(namespace: str, effect: fx.Batch) -> list[Request]:
    return [request for each in effect.effects for request in CODECS[type(each)].encode(namespace, each)]


def _decode_batch(effect: fx.Batch, replies: list[Any]) -> tuple[Any, ...]:
    pairs = zip(effect.effects, replies, strict=True)
    return tuple(CODECS[type(each)].decode(each, [reply]) for each, reply in pairs)


CODECS: Mapping[type[fx.Effect[Any]], Codec] = {
    fx.Batch: Codec(_encode_batch, _decode_batch),
    **READING_CODECS,
    **COMMITS_CODECS,
    **RUNS_CODECS,
    **DUE_CODECS,
    **JUDGING_CODECS,
    **TRIGGERS_CODECS,
    **RECURRING_CODECS,
    **INBOX_CODECS,
    **MEMORIES_CODECS,
    **AUDIT_CODECS,
}
