"""Somebody writes under the prefix of memories: a script that meets a key of another type has written nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import redis

from ctxqueue import CallableEmbedder, VectorMemoryManager
from ctxqueue import effects as fx
from ctxqueue.errors import StoreUnavailable
from ctxqueue.models import ContextScope
from ctxqueue.remembered import Owner
from ctxqueue.stores.redis.codecs import CODECS
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OWNER = Owner(ContextScope.GLOBAL)


class Kept:
    """Some memories: one used, one of each type, one that has expired."""

    def __init__(self, url: str) -> None:
        embedder = CallableEmbedder(lambda texts: [[1.0, 2.0] for _ in texts], name="x", dimension=2)
        self.memory = VectorMemoryManager(url, embedder=embedder)
        self.used = self.memory.remember("used")
        self.other = self.memory.remember("other", "episodic")
        self.memory.remember("skill", "procedural")
        self.brief = self.memory.remember("brief", ttl=0.01)
        self.memory.recall("used", memory_types=["semantic"])
        wait_until(lambda: self.memory.get(self.brief) is None, "it has expired")

    def stored(self, memory_id: str) -> fx.StoredMemory:
        rows, _ = self.memory.store.perform(fx.GetMemories(OWNER.digest, (memory_id,)))
        return rows[memory_id]


def store(_kept: Kept) -> fx.Effect[Any]:
    row = fx.NewMemory(f"{OWNER.digest}-{'0' * 32}", "semantic", b"body", ttl_us=10**9)
    return fx.StoreMemories(OWNER.digest, "i", (row,), "x:2")


def amend(kept: Kept) -> fx.Effect[Any]:
    row = kept.stored(kept.used)
    return fx.AmendMemory(
        *(OWNER.digest, kept.used, row.kind, row.number, row.body), pinned=True, superseded=False, successor=kept.other
    )


def drop(kept: Kept) -> fx.Effect[Any]:
    return fx.DropMemories(OWNER.digest, (fx.Doomed(kept.used), fx.Doomed(kept.other)))


def retirable(why: fx.Retirement) -> Callable[[Kept], fx.Effect[Any]]:
    return lambda _kept: fx.LoadRetirable(OWNER.digest, "semantic", why, 1, 1, 0, 10)


SCENES: dict[str, tuple[Callable[[Kept], fx.Effect[Any]], int, set[int]]] = {
    # scene, number of keys, those that it has no business with
    "store": (store, 12, set()),
    "load": (lambda _kept: fx.LoadMemories(OWNER.digest, "", 0, 10), 4, set()),
    "get": (lambda kept: fx.GetMemories(OWNER.digest, (kept.used,)), 2, set()),
    "amend": (amend, 6, set()),
    "drop": (drop, 12, set()),
    "touch": (lambda kept: fx.TouchMemories(OWNER.digest, (kept.used,), b"touch"), 5, set()),
    "expired": (retirable("expired"), 5, {4, 5}),
    "aged": (retirable("aged"), 5, {3, 5}),
    "surplus": (retirable("surplus"), 5, {3, 4}),
    "register": (lambda _kept: fx.RegisterOwner(OWNER.name), 1, set()),
    "owners": (lambda _kept: fx.LoadOwners(), 1, set()),
    "drop an owner": (lambda _kept: fx.DropOwner(OWNER.name, 0), 1, set()),
}


@pytest.fixture
def kept(redis_url: str) -> Iterator[Kept]:
    kept = Kept(redis_url)
    yield kept
    kept.memory.close()


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


def dumps(client: redis.Redis) -> dict[bytes, Any]:
    return {key: client.dump(key) for key in client.scan_iter(count=1_000)}


@pytest.mark.parametrize(
    ("scene", "number"), [(scene, number) for scene, (_, count, _u) in SCENES.items() for number in range(1, count + 1)]
)
def test_a_key_of_another_type_stops_the_call_before_it_writes(
    kept: Kept, client: redis.Redis, scene: str, number: int
) -> None:
    make, count, unused = SCENES[scene]
    effect = make(kept)
    request = CODECS[type(effect)].encode("default", effect)[0]
    assert len(request.keys) == count
    key = request.keys[number - 1]
    client.delete(key)
    client.rpush(key, "somebody else's")
    before = dumps(client)
    if number in unused:
        kept.memory.store.perform(effect)
        assert client.type(key) == b"list"
    else:
        with pytest.raises(StoreUnavailable, match="holds another type: something else writes under our prefix"):
            kept.memory.store.perform(effect)
        assert dumps(client) == before
