"""Somebody writes under our prefix: a script that meets a key of another type has written nothing."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import redis

from ctxqueue import effects as fx
from ctxqueue.errors import StoreUnavailable
from ctxqueue.flows import draining, inbox, updating, writing
from ctxqueue.flows.publishing import item_id
from ctxqueue.flows.stored import UpdateRef, packed
from ctxqueue.identity import Attempt, Call, current_attempt
from ctxqueue.models import Address, Agent, ContextScope, Put
from ctxqueue.rules.conditions import all_of, as_condition
from ctxqueue.rules.dependencies import resolve, watcher
from ctxqueue.rules.policies import SHIPPED
from ctxqueue.stores.redis.codecs import CODECS
from ctxqueue.stores.redis.keys import shard_of
from ctxqueue.testing.contract.runs import AGENT, Worker
from ctxqueue.testing.contract.triggers import PlainCanvases
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WORKFLOW = "q3-close"
HORIZON = 3_600_000_000
LEASE = 30_000_000
COMMIT_ID = struct.pack(">d", 1.5)


@pytest.fixture
def worker(redis_url: str) -> Iterator[Worker]:
    worker = Worker(redis_url, lease=0.02)
    handle = worker.manager.workflow(WORKFLOW, agent_id=AGENT.agent_id)
    handle.open()
    handle.update({"old": {"a": 1}, "list": [1], "soon": Put(1, ttl=0.01), "late": Put(1, ttl=3_600)})
    yield worker
    worker.manager.close()


def waited(worker: Worker) -> None:
    """Let leases and short times to live end."""
    handle = worker.manager.workflow(WORKFLOW)
    handle.put("clock", 1, ttl=worker.lease + 0.01)
    wait_until(lambda: handle.get("clock") is None, "the clock has run down")


def commit(worker: Worker) -> fx.Effect[Any]:
    """An attempt's named operation that touches every key.

    It merges, sets an expiry, brings a dependency, fires one run and moves one.
    """
    worker.claim_and_park("fires", all_of("list", "new"))
    worker.claim_and_park("moves", all_of("later", "new"))
    updates = {"old": Put({"b": 2}, ttl=60), "list": [2], "new": [3], "late": Put([4], depends_on=["old"])}
    token = current_attempt.set(Attempt("the-run", 0, WORKFLOW, 3))
    try:
        flow = updating.update(worker.manager.terms, WORKFLOW, AGENT, updates, "smart_merge", "the-operation")
        effect = next(flow)
        while not isinstance(effect, fx.Commit):
            effect = flow.send(worker.manager.store.perform(effect))
        return effect
    finally:
        current_attempt.reset(token)


def commit_in_a_lane(worker: Worker) -> fx.Effect[Any]:
    """A plain call that deletes nothing and fires nobody."""
    return next(updating.update(worker.manager.terms, WORKFLOW, AGENT, {"list": [2]}, "append"))


def commit_of_a_secret(worker: Worker) -> fx.Effect[Any]:
    """What it writes is recorded."""
    return next(writing.put(worker.manager.terms, WORKFLOW, AGENT, "api_key", Put(1)))


AUDITED = fx.Audited(b"id", "read", "agent", WORKFLOW)
SHARD = shard_of(WORKFLOW)
BOUNDS = fx.AuditBounds(10, HORIZON)


def audit() -> fx.Effect[Any]:
    return fx.Audit(WORKFLOW, (AUDITED,), BOUNDS)


def load_audit(worker: Worker) -> fx.Effect[Any]:
    worker.manager.store.perform(audit())
    return fx.LoadAudit(((SHARD, 0, ""),), 10)


def trim_audit(worker: Worker) -> fx.Effect[Any]:
    worker.manager.store.perform(audit())
    worker.manager.store.perform(fx.Audit(WORKFLOW, (msgspec.structs.replace(AUDITED, record_id=b"2"),), BOUNDS))
    return fx.TrimAudit((SHARD,), fx.AuditBounds(1, HORIZON))


def note_policy(worker: Worker) -> fx.Effect[Any]:
    worker.manager.store.perform(fx.NotePolicy(WORKFLOW, "before", AUDITED, BOUNDS))
    record = msgspec.structs.replace(AUDITED, record_id=b"2", action="policy")
    return fx.NotePolicy(WORKFLOW, "after", record, BOUNDS)


def parked(worker: Worker, needs: str, **times: float) -> None:
    worker.claim_and_park("r", needs, **times)


def claim(worker: Worker) -> fx.Effect[Any]:
    parked(worker, "x")
    tree = resolve(SHIPPED, as_condition("x"), AGENT)
    return fx.Claim(WORKFLOW, "r", fx.Position(0, 1), tree, "app\0item", b"message", LEASE, HORIZON, b"claim id")


def arm(worker: Worker) -> fx.Effect[Any]:
    answer = worker.claim("r", needs="x")
    tree = resolve(SHIPPED, as_condition(all_of("old", "x")), AGENT)
    item = item_id("app", WORKFLOW, "r", fx.Position(0, 1))
    return fx.Arm(WORKFLOW, "r", answer.claimed.epoch, "", tree, item, b"message", LEASE, HORIZON, LEASE)


def renew(worker: Worker) -> fx.Effect[Any]:
    return fx.Renew(WORKFLOW, "r", worker.claim("r").claimed.epoch, LEASE)


def finish(worker: Worker) -> fx.Effect[Any]:
    return fx.Finish(WORKFLOW, "r", worker.claim("r").claimed.epoch, "done", b"result", HORIZON)


def expire(worker: Worker) -> fx.Effect[Any]:
    waited(worker)
    return fx.Expire(WORKFLOW, COMMIT_ID, 100, 1_000)


def due(worker: Worker, kind: Any) -> fx.Effect[Any]:
    shard = worker.manager.store.shard_of(WORKFLOW)
    return fx.Release(fx.Due(shard, kind, WORKFLOW, "r", 0), LEASE, HORIZON)


def release_deadline(worker: Worker) -> fx.Effect[Any]:
    parked(worker, "x", timeout=0.01)
    waited(worker)
    return due(worker, "deadline")


def release_again(worker: Worker) -> fx.Effect[Any]:
    parked(worker, "x")
    worker.manager.workflow(WORKFLOW).put("x", 1)
    waited(worker)
    return due(worker, "ready")


def claim_of_a_released_run(worker: Worker) -> fx.Effect[Any]:
    parked(worker, "x")
    worker.manager.workflow(WORKFLOW).put("x", 1)
    tree = resolve(SHIPPED, as_condition("x"), AGENT)
    return fx.Claim(
        WORKFLOW, "r", fx.Position(0, 1), tree, "app\0item\0r\x000.1", b"message", LEASE, HORIZON, b"claim id"
    )


def cancel(worker: Worker) -> fx.Effect[Any]:
    parked(worker, "x")
    return fx.Cancel(WORKFLOW, "r", "app", LEASE, HORIZON)


def promise(worker: Worker) -> fx.Effect[Any]:
    worker.claim("r")
    return fx.Promise(WORKFLOW, "r", "app\0item\0r\x001.0", b"message", LEASE, HORIZON)


def release_standby(worker: Worker) -> fx.Effect[Any]:
    worker.claim_twice("r")
    waited(worker)
    return due(worker, "standby")


def fan_out(worker: Worker) -> fx.Effect[Any]:
    for number in range(60):
        worker.claim_and_park(f"r{number}", "x" if number % 2 else all_of("y", "x"))
    store = worker.manager.store
    commit_of_many = next(updating.update(worker.manager.terms, WORKFLOW, AGENT, {"x": 1}, "replace"))
    committed = store.perform(commit_of_many)
    return fx.FanOut(WORKFLOW, committed.pending[0], 200, "app", LEASE)


def in_outbox(worker: Worker) -> int:
    parked(worker, "x")
    worker.broken = True
    worker.manager.workflow(WORKFLOW).put("x", 1)
    waited(worker)
    return worker.manager.store.shard_of(WORKFLOW)


def take(worker: Worker) -> fx.Effect[Any]:
    return fx.TakeOutgoing((in_outbox(worker),), "app", 10, LEASE)


def settle(worker: Worker) -> fx.Effect[Any]:
    shard = in_outbox(worker)
    item = item_id("app", WORKFLOW, "r", fx.Position(0, 1))
    return fx.Settle(shard, (item,))


def read(worker: Worker) -> fx.Effect[Any]:
    assert worker.published == []
    return fx.Load(WORKFLOW, ("w\0\0old",))


def page(worker: Worker) -> fx.Effect[Any]:
    assert worker.published == []
    return fx.LoadPage(WORKFLOW, "", "", 10)


def open_again(worker: Worker) -> fx.Effect[Any]:
    assert worker.published == []
    return fx.Open(WORKFLOW, "incarnation", b"", HORIZON)


def open_anew(worker: Worker) -> fx.Effect[Any]:
    assert worker.published == []
    return fx.Open("another", "incarnation", b"", HORIZON)


def since(worker: Worker) -> fx.Effect[Any]:
    head, _ = worker.manager.store.perform(fx.Load(WORKFLOW, ()))
    assert head is not None
    worker.manager.workflow(WORKFLOW).put("new", 1)
    return fx.LoadSince(WORKFLOW, head.incarnation, head.revision, head.commit_id, 10)


def forget(worker: Worker) -> fx.Effect[Any]:
    worker.manager.workflow(WORKFLOW).put("old", 2)
    return fx.Forget(WORKFLOW, "w\0\0old", (1,))


def forget_gone(worker: Worker) -> fx.Effect[Any]:
    worker.manager.workflow(WORKFLOW).put("old", 2)
    worker.manager.workflow(WORKFLOW).delete("old")
    return fx.Forget(WORKFLOW, "w\0\0old", gone_by=1_000)


def catalogue(worker: Worker) -> fx.Effect[Any]:
    return fx.LoadCatalogue(worker.manager.store.shard_of(WORKFLOW), "", 10)


def evicting(worker: Worker) -> fx.Effect[Any]:
    worker.manager.terms.bounds = msgspec.structs.replace(worker.manager.terms.bounds, max_entries=4)
    return next(updating.update(worker.manager.terms, WORKFLOW, AGENT, {"new": 2}, "replace"))


def purge(worker: Worker) -> fx.Effect[Any]:
    handle = worker.manager.workflow(WORKFLOW, agent_id=AGENT.agent_id)
    handle.put("late", 2, ttl=3_600, depends_on=["old"])
    address = Address(ContextScope.WORKFLOW, "", "late")
    return next(writing.delete(worker.manager.terms, WORKFLOW, AGENT, address, purge=True))


def closed(worker: Worker) -> None:
    worker.manager.store.perform(fx.Close(WORKFLOW, remove=True, idle_us=None, horizon_us=HORIZON))


def end_of_parked(worker: Worker) -> fx.Effect[Any]:
    parked(worker, "x")
    closed(worker)
    return fx.End(WORKFLOW, 10, (), "app", LEASE, HORIZON)


def end_of_history(worker: Worker) -> fx.Effect[Any]:
    handle = worker.manager.workflow(WORKFLOW)
    handle.update({"old": 2, "list": 3, "late": 4}, merge_strategy="replace")
    closed(worker)
    step = worker.manager.store.perform(fx.End(WORKFLOW, 2, (), "app", LEASE, HORIZON))
    assert len(step.history) == 2
    return fx.End(WORKFLOW, 2, step.history, "app", LEASE, HORIZON)


def end_of_all(worker: Worker) -> fx.Effect[Any]:
    closed(worker)
    return fx.End(WORKFLOW, 10, (), "app", LEASE, HORIZON)


CLERK = Agent("clerk_1")
DRAIN_ID = b"drain id"


def stored(worker: Worker, operation: str, *, queued: bool) -> UpdateRef:
    """An update waits in the inbox."""
    terms = worker.manager.terms
    updates = {"old": {"b": 2}}
    ref = inbox.checked(terms, WORKFLOW, CLERK, updates, "smart_merge", operation)
    outgoing = fx.Outgoing(f"app\0{operation}", b"message")
    drain = fx.Outgoing("app\0drain", b"drain") if queued else None
    flow = inbox.enqueue(terms, ref, packed(WORKFLOW, CLERK, updates, "smart_merge"), outgoing=outgoing, drain=drain)
    worker.manager.driver.run(flow)
    return ref


def enqueue(worker: Worker, *, queued: bool) -> fx.Effect[Any]:
    stored(worker, "first", queued=False)
    ref = UpdateRef(WORKFLOW, CLERK.agent_id, "second")
    drain = fx.Outgoing("app\0drain", b"drain")
    return fx.Enqueue(WORKFLOW, ref.update_id, ref.owner, b"payload", queued, fx.Outgoing("", b""), drain, 10, LEASE)


def find(worker: Worker) -> fx.Effect[Any]:
    ref = stored(worker, "o", queued=False)
    return fx.FindUpdate(WORKFLOW, ref.update_id, ref.owner, attempt=True)


def draw(worker: Worker) -> fx.Effect[Any]:
    stored(worker, "o", queued=True)
    return fx.Draw(WORKFLOW, DRAIN_ID, 10, 2, LEASE)


def drain_commit(worker: Worker) -> fx.Effect[Any]:
    """One that settles two updates, reports them and leaves a third."""
    for operation in ("o1", "o2"):
        stored(worker, operation, queued=True)
    flow = draining.drain(worker.manager.terms, WORKFLOW, 1)
    reply: Any = None
    while not isinstance(effect := flow.send(reply), fx.Commit):
        reply = None if isinstance(effect, fx.Wait) else worker.manager.store.perform(effect)
    stored(worker, "o3", queued=True)
    return effect


def let_go(worker: Worker) -> fx.Effect[Any]:
    worker.manager.store.perform(draw(worker))
    return fx.LetGo(WORKFLOW, DRAIN_ID)


def bury(worker: Worker) -> fx.Effect[Any]:
    ref = stored(worker, "o", queued=True)
    worker.manager.store.perform(fx.Draw(WORKFLOW, DRAIN_ID, 10, 2, LEASE))
    return fx.Bury(WORKFLOW, ref.update_id, ref.owner, DRAIN_ID, b"about", b"failure", HORIZON, reports=True)


def dead(worker: Worker) -> fx.Effect[Any]:
    worker.manager.store.perform(bury(worker))
    return fx.LoadDead(WORKFLOW, "", 10)


def updates(worker: Worker) -> fx.Effect[Any]:
    stored(worker, "o", queued=True)
    return fx.LoadUpdates(WORKFLOW, "", 10)


def revive(worker: Worker) -> fx.Effect[Any]:
    buried = bury(worker)
    worker.manager.store.perform(buried)
    assert isinstance(buried, fx.Bury)
    return fx.Revive(WORKFLOW, buried.update_id, buried.owner, drop=False)


def remind(worker: Worker, kind: Any) -> fx.Effect[Any]:
    stored(worker, "o", queued=kind == "inbox")
    waited(worker)
    return fx.Remind(fx.Due(worker.manager.store.shard_of(WORKFLOW), kind, WORKFLOW, "", 0), 10, LEASE)


def each_time(worker: Worker, *, fires: bool = False) -> str:
    """A trigger that fires each time stands there; return its id."""
    worker.manager.terms = replace(worker.manager.terms, canvases=PlainCanvases())
    handle = worker.manager.workflow(WORKFLOW, agent_id=AGENT.agent_id)
    trigger = handle.when("old" if fires else "x").then(b"canvas", every=True)
    return trigger.id


def register(worker: Worker) -> fx.Effect[Any]:
    each_time(worker)
    call = Call("run", "r", "1:call:1", "r", 1)
    recurring = fx.Recurring(10, b"notes")
    effect = fx.Register(
        *(WORKFLOW, "~e-one", ["j", "w\0\0x"], b"judge", "app\0item", b"", b"", None, b"record", 10, "app", LEASE),
        call=call,
        horizon_us=HORIZON,
        recurring=recurring,
    )
    worker.claim("r")  # its record is a hash already
    return effect


def rewatch(worker: Worker) -> fx.Effect[Any]:
    return fx.Rewatch(WORKFLOW, each_time(worker), ("w\0\0y",), LEASE, "app")


def recur(worker: Worker) -> fx.Effect[Any]:
    trigger_id = each_time(worker)
    watched = worker.manager.store.perform(fx.Rewatch(WORKFLOW, trigger_id, (), LEASE, "app"))
    message = fx.Outgoing("app\0item\0run\x000.0", b"message")
    firing = fx.Firing("run", message, LEASE, "agent", b"notice")
    return fx.Recur(WORKFLOW, trigger_id, watched.turn, b"notes", None, firing, "app", LEASE)


def end_run(worker: Worker) -> fx.Effect[Any]:
    return fx.EndRun(WORKFLOW, each_time(worker, fires=True), 1, (0,), 1, LEASE)


def notices(worker: Worker) -> fx.Effect[Any]:
    worker.manager.store.perform(recur(worker))
    return fx.LoadNotices(WORKFLOW, "agent")


def end_trigger(worker: Worker) -> fx.Effect[Any]:
    return fx.EndTrigger(WORKFLOW, each_time(worker), "CANCELLED", armed=True)


def forget_trigger(worker: Worker) -> fx.Effect[Any]:
    return msgspec.structs.replace(end_trigger(worker), forget=True)


def watch_afar(worker: Worker) -> fx.Effect[Any]:
    worker.manager.workflow(WORKFLOW).put("old", 1)
    return fx.WatchAfar(WORKFLOW, watcher("home", "r"), ("w\0\0x",), LEASE, first=True)


SCENES: dict[str, tuple[Callable[[Worker], fx.Effect[Any]], int, set[int]]] = {
    # scene, number of keys, those that it has no business with
    "open": (open_again, 4, set()),
    "open anew": (open_anew, 4, set()),
    "load": (read, 2, set()),
    "page": (page, 3, set()),
    "since": (since, 3, set()),
    "log": (lambda _worker: fx.LoadLog(WORKFLOW, 1, 10), 2, set()),
    "history": (lambda _worker: fx.LoadHistory(WORKFLOW, "w\0\0old"), 3, set()),
    "addresses of history": (lambda _worker: fx.LoadHistoryAddresses(WORKFLOW, "", 10), 1, set()),
    "addresses that are gone": (lambda _worker: fx.LoadGone(WORKFLOW, 1_000, 10), 1, set()),
    "forget": (forget, 4, {3}),
    "forget what is gone": (forget_gone, 4, set()),
    "graph": (lambda _worker: fx.LoadGraph(WORKFLOW), 2, set()),
    "catalogue": (catalogue, 1, set()),
    "commit": (commit, 23, {16, 22}),
    "commit in a lane": (commit_in_a_lane, 20, {4, 5, 7, 8, 9, 10, 14, 15, 16, 17}),
    "commit of a secret": (commit_of_a_secret, 20, {4, 7, 8, 9, 10, 12, 14, 15, 20}),
    "commit that evicts": (evicting, 20, {7, 8, 9, 10, 14, 16, 20}),
    "purge": (purge, 20, {7, 8, 9, 10, 15, 16}),
    "commit of a drain": (drain_commit, 26, {4, 5, 7, 14, 15, 16, 17}),
    "claim": (claim, 5, set()),
    "claim of a released run": (claim_of_a_released_run, 5, set()),
    "arm": (arm, 6, set()),
    "bind": (lambda _worker: fx.Bind("task", WORKFLOW, "r", HORIZON), 1, set()),
    "mark": (lambda _worker: fx.Mark("task", cancelled=True, keep_us=HORIZON), 1, set()),
    "cancel": (cancel, 7, set()),
    "once": (lambda _worker: fx.Once(WORKFLOW, "r", 1, "step", b"result", HORIZON), 1, set()),
    "promise": (promise, 4, set()),
    "renew": (renew, 1, set()),
    "finish": (finish, 1, set()),
    "expire": (expire, 12, set()),
    "release at the deadline": (release_deadline, 7, {7}),
    "release of a standby": (release_standby, 7, set()),
    "release once more": (release_again, 7, {7}),
    "fan out": (fan_out, 8, set()),
    "close": (lambda _worker: fx.Close(WORKFLOW, remove=True, idle_us=None, horizon_us=HORIZON), 4, set()),
    "end that releases": (end_of_parked, 26, {2, 3, 4, 5, 8, 10, 11, *range(17, 27)}),
    "end that forgets": (end_of_history, 28, {2, 3, 4, 5, 7, 8, 10, 11, *range(17, 29)}),
    "end that removes": (end_of_all, 26, {2, 3, 4, 5, 7, 8, 10, 11, *range(17, 27)}),
    "enqueue": (lambda worker: enqueue(worker, queued=False), 6, set()),
    "enqueue for a drain": (lambda worker: enqueue(worker, queued=True), 6, set()),
    "find an update": (find, 5, set()),
    "draw": (draw, 4, set()),
    "let go": (let_go, 2, set()),
    "bury": (bury, 10, set()),
    "dead letters": (dead, 2, set()),
    "stored updates": (updates, 2, set()),
    "forget a trigger": (forget_trigger, 6, set()),
    "revive": (revive, 8, set()),
    "remind of a drain": (lambda worker: remind(worker, "inbox"), 8, set()),
    "remind of updates": (lambda worker: remind(worker, "updates"), 8, set()),
    "register one that fires each time": (register, 10, {2}),
    "rewatch": (rewatch, 5, set()),
    "recur": (recur, 7, set()),
    "end a run": (end_run, 3, set()),
    "notices": (notices, 2, set()),
    "end a trigger": (end_trigger, 6, set()),
    "watch from afar": (watch_afar, 4, set()),
    "take": (take, 2, set()),
    "settle": (settle, 2, set()),
    "audit": (lambda _worker: audit(), 1, set()),
    "load the audit log": (load_audit, 1, set()),
    "trim the audit log": (trim_audit, 1, set()),
    "note a policy": (note_policy, 2, set()),
    "peek": (lambda _worker: fx.PeekDue((0,), 10), 1, set()),
}
READS = {
    "load the audit log",
    "dead letters",
    "stored updates",
    "load",
    "page",
    "peek",
    "open",
    "since",
    "log",
    "history",
    "addresses of history",
    "addresses that are gone",
    "graph",
    "catalogue",
    "notices",
}
"""Scenes that change nothing."""


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


def is_list(key: str) -> bool:
    return ":h:" in key or key.endswith((":q", ":o"))


def foreign(client: redis.Redis, key: str) -> None:
    if is_list(key):
        client.hset(key, "somebody", "else's")
    else:
        client.rpush(key, "somebody else's")


def dumps(client: redis.Redis) -> dict[bytes, Any]:
    return {key: client.dump(key) for key in client.scan_iter(count=1_000)}


@pytest.mark.parametrize("scene", SCENES)
def test_undisturbed_each_call_does_its_work(worker: Worker, client: redis.Redis, scene: str) -> None:
    effect = SCENES[scene][0](worker)
    before = dumps(client)
    worker.manager.store.perform(effect)
    assert (dumps(client) == before) is (scene in READS)


@pytest.mark.parametrize(
    ("scene", "number"),
    [
        (scene, number)
        for scene, (_, count, unused) in SCENES.items()
        for number in range(1, count + 1)
        # What is under our names when a workflow ends goes with it, whatever it is.
        if not (scene.startswith("end") and number in unused)
    ],
)
def test_a_key_of_another_type_stops_the_call_before_it_writes(
    worker: Worker, client: redis.Redis, scene: str, number: int
) -> None:
    make, count, unused = SCENES[scene]
    effect = make(worker)
    request = CODECS[type(effect)].encode("default", effect)[0]
    assert len(request.keys) == count
    key = request.keys[number - 1]
    client.delete(key)
    foreign(client, key)
    before = dumps(client)
    if number in unused:
        worker.manager.store.perform(effect)
        assert client.type(key) == (b"hash" if is_list(key) else b"list")
    else:
        with pytest.raises(StoreUnavailable, match="holds another type: something else writes under our prefix"):
            worker.manager.store.perform(effect)
        assert dumps(client) == before
