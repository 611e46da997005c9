"""What may stand in a Redis after a test: every key ends by itself or belongs to something that lives.

Allowed without an expiry, with the reason:

- ``{ns}:metadata``: number of shards and layout of a namespace, fixed for its life;
- ``{ns:sNNNN}:<workflow>:m e v x k w t l a s g y u q i n d j o p f z``, ``:h:<address>``: parts of a workflow, as long
  as its ``m`` is there; it is due as idle or for its end, unless it is the global context; ``t`` may outlive it, and
  then expires;
- ``{ns:sNNNN}:policy``: the digest of the policy that the namespace is held to;
- ``{ns}:memory``: whose memories the namespace holds; retention takes names off it;
- ``{ns:sNNNN}:mem:<owner>:m e n l d x a1-3 u1-3``: one owner's memories, as long as there is one; retention ends them;
- ``{ns:sNNNN}:due out msg all``: a shard's indexes; they go with their last item, and each item must have its reason.

Everything else (attempts, journals, operations, lanes, a shard's audit log) must expire.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

import msgspec
import pytest
import redis

from ctxqueue.models import GLOBAL_WORKFLOW
from ctxqueue.records import decode_header
from ctxqueue.stores.redis.codecs.memories import PINNED, STAMP

if TYPE_CHECKING:
    from collections.abc import Iterator

Client = redis.Redis | redis.RedisCluster

KEY = re.compile(
    r"\{(?P<namespace>[^:{}]+)\}:(metadata|memory)"
    r"|\{[^:{}]+:s\d{4}\}:mem:(?P<owner>[0-9a-f]{16}):([menldx]|[au][123])"
    r"|\{[^:{}]+:s\d{4}\}:((?P<index>due|out|msg|all)|policy|(?P<audit>audit)"
    r"|[^:]*:((?P<part>[mevxkwtlasgyuqindjopfz])|(?P<history>h:.*)|(?P<record>[rc]:[^:]+|b)))",
    re.DOTALL,
)
"""A namespace's metadata; a shard's index; part of a workflow; kept values; a run, a named operation or a lane."""

DUE_KINDS = frozenset(
    {"expiry", "deadline", "standby", "ready", "fan_out", "judge", "idle", "end", "inbox", "updates"},
)


class ParkedRecord(msgspec.Struct, array_like=True):
    """As waiters.lua has it."""

    item_id: str
    deadline_us: int
    condition: list[Any]
    witness: list[str]
    parked_us: int
    judge: msgspec.Raw = msgspec.Raw()
    turn: msgspec.Raw = msgspec.Raw()
    repeats: list[Any] | None = None


@pytest.fixture
def tidy_redis(redis_url: str) -> Iterator[None]:
    """Fail a test that leaves in ``redis_url`` what should not be there."""
    yield
    with redis.Redis.from_url(redis_url) as client:
        assert objections(client) == []


def objections(client: Client) -> list[str]:
    """Return what should not be there, or does not fit together, in the client's database."""
    places = {raw.decode(): KEY.fullmatch(raw.decode()) for raw in client.scan_iter(count=1_000)}
    found = [text for key, place in places.items() if (text := _of_key(client, key, place))]
    for tag in {key.rpartition(":")[0] for key, place in places.items() if place and place["index"]}:
        found += (f"{tag}: {text}" for text in _of_shard(client, tag))
    for prefix in {key.rpartition(":")[0] for key, place in places.items() if place and place["owner"]}:
        found += (f"{prefix}: {text}" for text in _of_memories(client, prefix))
    kept: dict[str, set[bytes]] = {}
    for key, place in places.items():
        if place and (place["part"] or place["history"]):
            prefix = key[: place.start("history") - 1] if place["history"] else key.rpartition(":")[0]
            kept.setdefault(prefix, set())
            if place["history"]:
                kept[prefix].add(place["history"].removeprefix("h:").encode())
    for prefix, addresses in kept.items():
        found += (f"{prefix}: {text}" for text in _of_workflow(client, prefix, addresses))
    return found


def _of_key(client: Client, key: str, place: re.Match[str] | None) -> str | None:
    if place is None:
        return f"{key}: no name of ours"
    if (place["record"] or place["audit"]) and client.pttl(key) < 0:
        return f"{key}: a record of a run, operation or lane, or an audit log, that never expires"
    return None


def _of_workflow(client: Client, prefix: str, kept: set[bytes]) -> Iterator[str]:
    tag, _, quoted = prefix.rpartition(":")
    name = unquote(quoted)
    head: Any = client.hgetall(f"{prefix}:m")
    due = dict(_zset(client, f"{tag}:due"))
    yield from _of_released(client, prefix, name, due)
    records: Any = client.hgetall(f"{prefix}:e")
    expiries = dict(_zset(client, f"{prefix}:x"))
    if not head:
        yield from _of_remains(client, prefix, kept)
        return
    if not set(records) == set(client.hkeys(f"{prefix}:v")) == {member for member, _ in _zset(client, f"{prefix}:k")}:
        yield "entries, versions and their order are not of the same addresses"
    if sum(map(len, records.values())) != int(head[b"b"]):
        yield f"bytes are {head[b'b']}, the records take {sum(map(len, records.values()))}"
    headers = {address: decode_header(record) for address, record in records.items()}
    if {address: header.expires_us for address, header in headers.items() if header.expires_us} != expiries:
        yield "expiries are not those of the records"
    if any(header.revision > int(head[b"r"]) for header in headers.values()):
        yield "a record of a later revision than the workflow's"
    yield from _of_indexes(client, prefix, kept, int(head[b"r"]))
    if name != GLOBAL_WORKFLOW:
        if not {f"idle\0\0{name}\0\0".encode(), f"end\0\0{name}\0\0".encode()} & due.keys():
            yield "it is never looked at for its end"
        if client.zscore(f"{tag}:all", name) is None:
            yield "it is not in the catalogue"
    if expiries and due.get(f"expiry\0\0{name}\0\0".encode(), float("inf")) > min(expiries.values()):
        yield "the first expiry is not due in time"
    yield from _of_parked(client, prefix, name, due)
    yield from _of_inbox(client, prefix, name, due)


def _of_remains(client: Client, prefix: str, kept: set[bytes]) -> Iterator[str]:
    """Of a workflow that is not there."""
    fields: Any = client.hkeys(f"{prefix}:t")
    if kept or any(client.exists(f"{prefix}:{part}") for part in "mevxkwlasgyuqindjopfz"):
        yield "parts without a head"
    elif client.pttl(f"{prefix}:t") < 0 or not all(field.startswith(b"n:") for field in fields):
        yield "messages without a workflow never expire, or there is something else"


def _of_indexes(client: Client, prefix: str, kept: set[bytes], revision: int) -> Iterator[str]:
    stamps: Any = client.hgetall(f"{prefix}:v")
    evictable = {address for address, stamp in stamps.items() if stamp[16] % 4}
    if evictable != {member for member, _ in _zset(client, f"{prefix}:s")}:
        yield "what may be evicted is not what is marked so"
    if not set(client.hkeys(f"{prefix}:g")) <= set(stamps):
        yield "dependencies of an entry that is not there"
    if kept != {member for member, _ in _zset(client, f"{prefix}:a")}:
        yield "the addresses of kept values are not those that have some"
    gone = dict(_zset(client, f"{prefix}:z"))
    if gone.keys() != kept - set(stamps) or any(went > revision for went in gone.values()):
        yield "the addresses that are gone are not those of kept values at which nothing stands"
    log: Any = client.xrange(f"{prefix}:l")
    if [item for item, _ in log] != [b"%d-1" % each for each in range(revision - len(log) + 1, revision + 1)]:
        yield "the log has not one record a revision, up to the newest"


def _of_inbox(client: Client, prefix: str, name: str, due: dict[bytes, int]) -> Iterator[str]:
    stored = set(client.hkeys(f"{prefix}:u"))
    queued: list[bytes] = client.lrange(f"{prefix}:q", 0, -1)  # type: ignore[assignment]
    alone = dict(_zset(client, f"{prefix}:i"))
    dead = [member.partition(b"\0\0\0")[0] for member, _ in _zset(client, f"{prefix}:d")]
    if sorted([*queued, *alone, *dead]) != sorted(stored):
        yield f"stored updates {stored} are not those queued {queued}, alone {set(alone)} and dead {dead}"
    if not set(client.hkeys(f"{prefix}:n")) <= set(alone):
        yield "attempts are counted at updates that are not there"
    if queued and f"inbox\0\0{name}\0\0".encode() not in due:
        yield "updates wait for a drain that nobody announces"
    if alone and due.get(f"updates\0\0{name}\0\0".encode(), float("inf")) > min(alone.values()):
        yield "the first stored update is not due in time"


def _of_parked(client: Client, prefix: str, name: str, due: dict[bytes, int]) -> Iterator[str]:
    fields: Any = client.hgetall(f"{prefix}:t")
    parked = {
        field[2:]: msgspec.msgpack.decode(value[4:], type=ParkedRecord)
        for field, value in fields.items()
        if field.startswith(b"c:")
    }
    recurring = {run for run, kept in parked.items() if kept.repeats}
    if {field[2:] for field in fields if field.startswith(b"m:")} != set(parked) - recurring:
        yield "parked runs and their messages do not match"
    registered = {member for member, _ in _zset(client, f"{prefix}:w") if b"\0\0\1" not in member}
    witnesses = {f"{address}\0\0".encode() + run for run, kept in parked.items() for address in kept.witness}
    if registered != witnesses:
        yield f"waiters {registered - witnesses} belong to no run; {witnesses - registered} are not registered"
    afar = {member.rpartition(b"\0\0")[2] for member, _ in _zset(client, f"{prefix}:w") if b"\0\0\1" in member}
    if not afar <= set(client.hkeys(f"{prefix}:p")):
        yield "runs of other workflows are registered that could not be forgotten"
    for run, kept in parked.items():
        if due.get(f"deadline\0\0{name}\0\0".encode() + run, 0) != kept.deadline_us:
            yield f"the deadline of {run!r} is not due"
        judged = bytes(kept.judge) != b""
        if judged and not kept.witness and len(kept.condition) > 1 and f"judge\0\0{name}\0\0".encode() + run not in due:
            yield f"{run!r} was told of a write and is not to be judged"
    yield from _of_recurring(client, prefix, recurring)
    yield from _of_triggers(client, prefix, {field[2:] for field in fields if field.startswith(b"l:")}, set(parked))


def _of_recurring(client: Client, prefix: str, recurring: set[bytes]) -> Iterator[str]:
    head: Any = client.hgetall(f"{prefix}:m")
    families = Counter(run.partition(b"-")[0] for run in recurring)
    if {field[2:]: int(count) for field, count in head.items() if field.startswith(b"f:")} != families:
        yield f"those that fire each time are not as many of each family as are counted: {families}"
    if int(head.get(b"lasting", 0)) != sum(run.startswith(b"~") for run in recurring):
        yield "those that do not keep the workflow are not as many as are counted"
    if not recurring <= set(client.hkeys(f"{prefix}:j")):
        yield "one that fires each time is not on record"


def _of_triggers(client: Client, prefix: str, armed: set[bytes], parked: set[bytes]) -> Iterator[str]:
    kept = set(client.hkeys(f"{prefix}:j"))
    ended: list[bytes] = client.lrange(f"{prefix}:o", 0, -1)  # type: ignore[assignment]
    if not armed <= parked & kept:
        yield "a trigger is armed that is not parked, or not on record"
    if len(set(ended)) != len(ended) or not set(ended) <= kept - armed:
        yield "triggers have ended that are armed, or not on record"


def _of_released(client: Client, prefix: str, name: str, due: dict[bytes, int]) -> Iterator[str]:
    fields: Any = client.hkeys(f"{prefix}:t")
    for run in (field[2:] for field in fields if field.startswith(b"n:")):
        if f"ready\0\0{name}\0\0".encode() + run not in due:
            yield f"the message of {run!r} is never sent again"


def _of_shard(client: Client, tag: str) -> Iterator[str]:
    items = {member for member, _ in _zset(client, f"{tag}:out")}
    if items != set(client.hkeys(f"{tag}:msg")):
        yield "outbox items and their messages do not match"
    for member, _ in _zset(client, f"{tag}:due"):
        kind, workflow, detail = member.decode().split("\0\0", 2)
        if kind not in {
            "expiry",
            "deadline",
            "standby",
            "ready",
            "fan_out",
            "judge",
            "idle",
            "end",
            "inbox",
            "updates",
        }:
            yield f"{kind} is due, which nobody knows"
        elif kind == "ready":
            if not client.hexists(f"{tag}:{quote(workflow, safe=' ')}:t", f"n:{detail}"):
                yield f"a message of {detail!r} is due, which is not there"
        elif kind != "standby" and not client.exists(f"{tag}:{quote(workflow, safe=' ')}:m"):
            yield f"{kind} is due in {workflow!r}, which is not there"

    for member, _ in _zset(client, f"{tag}:all"):
        if not client.exists(f"{tag}:{quote(member.decode(), safe=' ')}:m"):
            yield f"{member!r} is in the catalogue and not there"


def _of_memories(client: Client, prefix: str) -> Iterator[str]:
    head: Any = client.hgetall(f"{prefix}:m")
    rows: Any = client.hgetall(f"{prefix}:e")
    if not head or not rows:
        yield "parts of an owner without memories"
        return
    stamps = {memory_id: STAMP.unpack_from(row) for memory_id, row in rows.items()}
    buried = dict(_zset(client, f"{prefix}:d"))
    numbers = {memory_id: int(stamp[0]) for memory_id, stamp in stamps.items()}
    if dict(_zset(client, f"{prefix}:l")) != {**numbers, **buried} or set(numbers) & set(buried):
        yield "the order of changes is not that of the rows and removals"
    if max((*numbers.values(), *buried.values())) > int(head[b"s"]):
        yield "a change is numbered above the newest"
    expiries = {memory_id: int(stamp[3]) for memory_id, stamp in stamps.items() if stamp[3]}
    if dict(_zset(client, f"{prefix}:x")) != expiries:
        yield "expiries are not those of the rows"
    if not set(client.hkeys(f"{prefix}:n")) <= set(rows):
        yield "uses of a memory that is not there"
    for kind in (1, 2, 3):
        made = {each: int(stamp[2]) for each, stamp in stamps.items() if stamp[4] == kind and not stamp[5] & PINNED}
        if dict(_zset(client, f"{prefix}:a{kind}")) != made:
            yield f"rows of kind {kind} are not those in the order of their making"
        if {each for each, _ in _zset(client, f"{prefix}:u{kind}")} != set(made):
            yield f"rows of kind {kind} are not those in the order of their uses"


def _zset(client: Client, key: str) -> list[tuple[bytes, int]]:
    pairs: Any = client.zrange(key, 0, -1, withscores=True)
    return [(member, int(score)) for member, score in pairs]
