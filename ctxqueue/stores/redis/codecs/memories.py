"""The codecs of memories."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Literal

from ctxqueue import effects as fx
from ctxqueue.effects.memories import MOST_BURIED
from ctxqueue.stores.redis import scripts
from ctxqueue.stores.redis.keys import KIND_NUMBERS, owner_keys, owners_key
from ctxqueue.stores.redis.requests import Codec, Request, nothing, number, truth

if TYPE_CHECKING:
    from collections.abc import Mapping

STAMP = struct.Struct(">ddddBB")
USES = struct.Struct(">dd")
PINNED, SUPERSEDED = 1, 2
KINDS: dict[int, fx.MemoryKind] = {1: "semantic", 2: "episodic", 3: "procedural"}


def _row(memory_id: str, packed: bytes, uses: bytes | None) -> fx.StoredMemory:
    changed, born, created, expires, kind, flags = STAMP.unpack_from(packed)
    accesses, accessed = USES.unpack_from(uses) if uses else (0, 0)
    return fx.StoredMemory(
        *(memory_id, KINDS[kind], packed[STAMP.size :], int(changed), int(born), int(created), int(expires)),
        *(bool(flags & PINNED), bool(flags & SUPERSEDED), int(accesses), int(accessed)),
        uses[USES.size :] if uses else b"",
    )


def _flags(*, pinned: bool, superseded: bool) -> int:
    return (PINNED if pinned else 0) | (SUPERSEDED if superseded else 0)


def _encode_store(namespace: str, effect: fx.StoreMemories) -> list[Request]:
    keys = owner_keys(namespace, effect.owner)
    args: list[str | bytes | int] = [effect.incarnation, effect.model, int(effect.adopt), len(effect.memories)]
    for memory in effect.memories:
        ttl = "" if memory.ttl_us is None else memory.ttl_us
        args += [memory.memory_id, KIND_NUMBERS[memory.kind], int(memory.pinned), ttl, memory.body]
    return [Request(scripts.STORE_MEMORIES, keys.every, args)]


def _decode_store(effect: fx.StoreMemories, replies: list[Any]) -> fx.MemoriesStored:
    now, *rest = replies[0]
    if len(rest) != 2 * len(effect.memories):
        return fx.MemoriesStored((), (), int(now), rest[0].decode())
    return fx.MemoriesStored(tuple(made == 1 for made in rest[::2]), tuple(int(born) for born in rest[1::2]), int(now))


def _encode_load(namespace: str, effect: fx.LoadMemories) -> list[Request]:
    keys = owner_keys(namespace, effect.owner)
    args = (effect.incarnation, effect.after, effect.limit, effect.max_bytes)
    return [Request(scripts.LOAD_MEMORIES, (keys.m, keys.e, keys.n, keys.l), args)]


def _decode_load(effect: fx.LoadMemories, replies: list[Any]) -> fx.MemoryPage:
    now, *rest = replies[0]
    if not rest:
        return fx.MemoryPage("", bool(effect.incarnation), (), (), 0, more=False, now_us=int(now))
    incarnation, anew, upto, more, *flat = rest
    rows, gone = [], []
    for i in range(0, len(flat), 3):
        memory_id, packed, uses = flat[i].decode(), flat[i + 1], flat[i + 2]
        if packed is None:
            gone.append(memory_id)
        else:
            rows.append(_row(memory_id, packed, uses))
    return fx.MemoryPage(
        incarnation.decode(), anew == 1, tuple(rows), tuple(gone), int(upto), more=more == 1, now_us=int(now)
    )


def _encode_get(namespace: str, effect: fx.GetMemories) -> list[Request]:
    keys = owner_keys(namespace, effect.owner)
    return [Request(scripts.GET_MEMORIES, (keys.e, keys.n), effect.memory_ids)]


def _decode_get(effect: fx.GetMemories, replies: list[Any]) -> tuple[dict[str, fx.StoredMemory], int]:
    now, *flat = replies[0]
    now_us = int(now)
    found = {}
    for place, memory_id in enumerate(effect.memory_ids):
        packed, uses = flat[2 * place : 2 * place + 2]
        if packed is not None:
            row = _row(memory_id, packed, uses)
            if not row.expires_us or row.expires_us > now_us:
                found[memory_id] = row
    return found, now_us


def _encode_amend(namespace: str, effect: fx.AmendMemory) -> list[Request]:
    keys = owner_keys(namespace, effect.owner)
    all_keys = (keys.m, keys.e, keys.n, keys.l, *keys.of_kind(effect.kind))
    flags = _flags(pinned=effect.pinned, superseded=effect.superseded)
    args = (effect.memory_id, effect.expected, flags, effect.successor, effect.body)
    return [Request(scripts.AMEND_MEMORY, all_keys, args)]


def _decode_amend(_effect: fx.AmendMemory, replies: list[Any]) -> Literal["done", "moved", "gone", "not_live"]:
    answer: Literal["done", "moved", "gone", "not_live"] = replies[0].decode()
    return answer


def _encode_drop(namespace: str, effect: fx.DropMemories) -> list[Request]:
    keys = owner_keys(namespace, effect.owner)
    args: list[str | bytes | int] = [MOST_BURIED]
    for doomed in effect.doomed:
        args += [doomed.memory_id, doomed.number, doomed.accesses]
    return [Request(scripts.DROP_MEMORIES, keys.every, args)]


def _encode_touch(namespace: str, effect: fx.TouchMemories) -> list[Request]:
    keys = owner_keys(namespace, effect.owner)
    return [Request(scripts.TOUCH_MEMORIES, (keys.e, keys.n, *keys.used), (effect.touch_id, *effect.memory_ids))]


def _decode_touch(_effect: fx.TouchMemories, replies: list[Any]) -> tuple[tuple[int, int], ...]:
    flat = replies[0]
    return tuple((int(flat[i]), int(flat[i + 1])) for i in range(0, len(flat), 2))


def _encode_retirable(namespace: str, effect: fx.LoadRetirable) -> list[Request]:
    keys = owner_keys(namespace, effect.owner)
    bounds = (effect.max_age_us, effect.max_rows, effect.skip, effect.limit, effect.max_bytes)
    all_keys = (keys.e, keys.n, keys.x, *keys.of_kind(effect.kind))
    return [Request(scripts.RETIRABLE, all_keys, (effect.why, *bounds, effect.from_us))]


def _decode_retirable(_effect: fx.LoadRetirable, replies: list[Any]) -> fx.Retirable:
    now, count, total, *flat = replies[0]
    rows = [_row(flat[i].decode(), flat[i + 1], flat[i + 2]) for i in range(0, len(flat), 3)]
    return fx.Retirable(tuple(rows), count, total, int(now))


def _encode_register(namespace: str, effect: fx.RegisterOwner) -> list[Request]:
    return [Request(scripts.REGISTER_OWNER, (owners_key(namespace),), (effect.name,))]


def _encode_owners(namespace: str, effect: fx.LoadOwners) -> list[Request]:
    return [Request(scripts.OWNERS, (owners_key(namespace),), (effect.since_us, effect.after, effect.limit))]


def _decode_owners(_effect: fx.LoadOwners, replies: list[Any]) -> fx.OwnerPage:
    now, more, at, *names = replies[0]
    return fx.OwnerPage(tuple(name.decode() for name in names), int(float(at)), bool(more), int(now))


def _encode_drop_owner(namespace: str, effect: fx.DropOwner) -> list[Request]:
    return [Request(scripts.DROP_OWNER, (owners_key(namespace),), (effect.name, effect.idle_us))]


MEMORIES_CODECS: Mapping[type[fx.Effect[Any]], Codec] = {
    fx.StoreMemories: Codec(_encode_store, _decode_store),
    fx.LoadMemories: Codec(_encode_load, _decode_load),
    fx.GetMemories: Codec(_encode_get, _decode_get),
    fx.AmendMemory: Codec(_encode_amend, _decode_amend),
    fx.DropMemories: Codec(_encode_drop, number),
    fx.TouchMemories: Codec(_encode_touch, _decode_touch),
    fx.LoadRetirable: Codec(_encode_retirable, _decode_retirable),
    fx.RegisterOwner: Codec(_encode_register, nothing),
    fx.LoadOwners: Codec(_encode_owners, _decode_owners),
    fx.DropOwner: Codec(_encode_drop_owner, truth),
}
