"""Applied, but the reply was lost: each effect of every call is carried out twice, and the state is as after once."""

from __future__ import annotations

import uuid
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from ctxqueue.context import SharedContextManager
from ctxqueue.drivers import Driver
from ctxqueue.effects import Draw, LetGo, Outgoing, Position, Promise, TakeOutgoing, do
from ctxqueue.flows import attempts, draining, inbox, steps
from ctxqueue.flows.publishing import item_id
from ctxqueue.flows.stored import UpdateRef, packed
from ctxqueue.identity import Attempt, current_attempt
from ctxqueue.models import CommitResult, ContextEntry, Put, WorkflowContext
from ctxqueue.rules.conditions import key
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ctxqueue.context import WorkflowHandle
    from ctxqueue.effects import Claimed, Effect
    from ctxqueue.stores.base import Store

MOST_EFFECTS = 40
Call = "Callable[[SharedContextManager, WorkflowHandle], Any]"


class Forgetful:
    """A store of which the n-th reply is lost: the effect is asked for again, and that reply is what the flow gets."""

    def __init__(self, store: Store) -> None:
        self.inner = store
        self.shards, self.where, self.shard_of = store.shards, store.where, store.shard_of
        self.left = 0
        self.lost = 0

    def perform(self, effect: Effect[Any]) -> Any:
        self.left -= 1
        if self.left == 0:
            self.inner.perform(effect)
            self.lost += 1
        return self.inner.perform(effect)


@pytest.fixture(params=["memory", "redis", "sqlite"])
def url(request: pytest.FixtureRequest) -> str:
    if request.param == "memory":
        return f"memory://{uuid.uuid4()}"
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def manager(url: str) -> Iterator[SharedContextManager]:
    with SharedContextManager(url) as manager:
        yield manager


CALLS: dict[str, Callable[[SharedContextManager, WorkflowHandle], Any]] = {
    "open": lambda manager, wf: manager.workflow(f"{wf.workflow_id}-new").open(),
    "create_workflow_context": lambda manager, wf: manager.create_workflow_context(f"{wf.workflow_id}-new"),
    "put": lambda _, wf: wf.put("k", 1),
    "put over": lambda _, wf: wf.put("list", 1, depends_on=["k"]),
    "create": lambda _, wf: wf.create("k", 1, ttl=3_600),
    "update here": lambda _, wf: wf.update({"dict": {"b": 2}, "k": 1}),
    "update with options": lambda _, wf: wf.update({"dict": Put({"b": 2}, priority="high", expected_version=1)}),
    "append": lambda _, wf: wf.update({"list": [2]}, merge_strategy="append"),
    "increment": lambda _, wf: wf.update({"number": 2, "new": 3}, merge_strategy="increment"),
    "keep": lambda _, wf: wf.update({"number": 2, "new": 3}, merge_strategy="keep"),
    "operation": lambda _, wf: wf.update({"list": [2]}, merge_strategy="append", operation_id="o"),
    "delete": lambda _, wf: wf.delete("list"),
    "purge": lambda _, wf: wf.delete("list", purge=True),
    "global": lambda _, wf: wf.update({f"global_{wf.workflow_id}": [1]}, merge_strategy="append").fired,
    "agent state": lambda _, wf: wf.set_agent_state(step=2),
    "close": lambda _, wf: wf.close(),
    "remove": lambda _, wf: wf.remove(),
    "sweep": lambda manager, _: manager.cleanup_expired_contexts().complete,
    "erase": lambda manager, wf: manager.erase(user_id=wf.workflow_id).entries,
}


def enqueued(manager: SharedContextManager, wf: WorkflowHandle, *, queued: bool) -> UpdateRef:
    ref = UpdateRef(wf.workflow_id, "analyst_001", "stored")
    payload = packed(wf.workflow_id, wf.agent, {"list": [7]}, "append")
    drain = Outgoing("app\0drain", b"drain") if queued else None
    manager.driver.run(inbox.enqueue(manager.terms, ref, payload, drain=drain))
    return ref


def carried_out(manager: SharedContextManager, wf: WorkflowHandle) -> Any:
    """Stored by one call, carried out by another, whose reply is that of the journal if it was lost."""
    ref = enqueued(manager, wf, queued=False)
    result = manager.driver.run(inbox.carry_out(manager.terms, ref))
    return list(result.versions.values())


def drained(manager: SharedContextManager, wf: WorkflowHandle) -> Any:
    ref = enqueued(manager, wf, queued=True)
    done = manager.driver.run(draining.drain(manager.terms, wf.workflow_id, 10))
    return done, list(manager.driver.run(inbox.wait(ref, 1.0)).versions.values())


def buried_and_revived(manager: SharedContextManager, wf: WorkflowHandle) -> Any:
    ref = enqueued(manager, wf, queued=True)
    run = manager.driver.run
    effect = Draw(wf.workflow_id, b"drain id", 10, 2, manager.terms.lease_us)
    run(do(effect))
    run(inbox.bury(manager.terms, ref, b"", 5, "it died", b"drain id"))
    letters = [letter.attempts for letter in manager.dead_letters(wf.workflow_id)]
    manager.replay_dead_letter(str(ref))
    run(do(LetGo(wf.workflow_id, b"drain id")))
    return letters, run(draining.drain(manager.terms, wf.workflow_id, 10))


CALLS |= {"carry out": carried_out, "drain": drained, "bury and revive": buried_and_revived}


def claimed(manager: SharedContextManager, wf: WorkflowHandle, *, retries: int = 0, leg: int = 0) -> Claimed:
    """Claim the workflow's one run, which is the task of the workflow's name."""
    run, position = wf.workflow_id, Position(retries, leg)
    ticket = attempts.Ticket(run, run, position, item_id("app", run, run, position), run)
    needs = key("never").exists() if leg else None
    return manager.driver.run(attempts.claim(manager.terms, ticket, wf.agent, needs, lambda: b"message")).claimed


def cancelled(manager: SharedContextManager, wf: WorkflowHandle, before: str) -> Any:
    run = manager.driver.run
    if before != "unseen":
        attempt = Attempt(wf.workflow_id, 0, wf.workflow_id, claimed(manager, wf).epoch)
    if before == "ended":
        run(attempts.finish(manager.terms, attempt, "done", b"result"))
    if before == "parked":
        item = item_id("app", wf.workflow_id, wf.workflow_id, Position(0, 1))
        run(attempts.park(manager.terms, attempt, wf.agent, key("never").exists(), item, b"message", 60))
    cancelled = run(attempts.cancel(manager.terms, wf.workflow_id))
    return cancelled, claimed(manager, wf, leg=int(before == "parked")).answer


def stepped(manager: SharedContextManager, wf: WorkflowHandle) -> Any:
    """The first result is what the second attempt gets, which would have brought another."""
    kept: list[bytes] = []
    for result in ("first", "second"):
        attempt = Attempt(wf.workflow_id, 0, wf.workflow_id, claimed(manager, wf, retries=len(kept)).epoch)
        found = manager.driver.run(steps.recall(manager.terms, attempt, "step"))
        kept.append(found or manager.driver.run(steps.keep(manager.terms, attempt, "step", result)))
    return kept


def promised(manager: SharedContextManager, wf: WorkflowHandle) -> Any:
    item = item_id("app", wf.workflow_id, wf.workflow_id, Position(0, 0))
    promise = Promise(wf.workflow_id, wf.workflow_id, item, b"message", 0, 60_000_000)
    kept = [manager.driver.run(do(promise))]
    manager.cleanup_expired_contexts()
    taken = manager.driver.run(do(TakeOutgoing(tuple(manager.terms.shards), "app", 1_000, 1)))
    sent = [message for _, message in taken if message.item_id == item]
    kept.append(manager.driver.run(do(promise)))
    answer = claimed(manager, wf).answer
    kept.append(manager.driver.run(do(promise)))
    return kept, sent == [Outgoing(item, b"message")], answer


def staged(_manager: SharedContextManager, wf: WorkflowHandle) -> Any:
    with wf.transaction() as transaction:
        wf.update({"list": [2], "new": [1]}, merge_strategy="append")
        wf.put("k", 1)
        wf.delete("dict")
    return comparable(transaction.result)


def staged_in_a_task(manager: SharedContextManager, wf: WorkflowHandle) -> Any:
    """The body runs twice and chooses other keys; the second attempt gets the first one's outcome."""
    results = []
    for keys in (["list", "new"], ["list", "other"]):
        attempt = Attempt(wf.workflow_id, 0, wf.workflow_id, 1)
        token = current_attempt.set(attempt)
        try:
            with wf.transaction() as transaction:
                wf.update({key: [2] for key in keys}, merge_strategy="append")
            manager.driver.run(transaction.commit())
        finally:
            current_attempt.reset(token)
        results.append(comparable(transaction.result))
    return results


CALLS |= {
    **{
        f"cancel one {before}": partial(cancelled, before=before) for before in ("unseen", "running", "parked", "ended")
    },
    "once": stepped,
    "durable publish": promised,
    "transaction": staged,
    "transaction in a task": staged_in_a_task,
}


def prepared(manager: SharedContextManager) -> WorkflowHandle:
    wf = manager.workflow(f"w{uuid.uuid4().hex}", agent_id="analyst_001")
    wf.open()
    wf.update({"list": [0], "dict": {"a": 1}, "number": 1})
    wf.update({"list": [1]}, merge_strategy="append")
    wf.put("erased", 1, metadata={"user_id": wf.workflow_id})
    wf.put("soon", 1, ttl=0.001)
    wait_until(lambda: wf.get("soon") is None, "it has expired")
    return wf


def state(wf: WorkflowHandle) -> Any:
    """All that can be told of the workflow but the times."""
    try:
        view = wf.view()
    except Exception as error:  # noqa: BLE001 - one that is gone
        return type(error)
    own = [entry for entry in map(view.entry, view) if not entry.key.startswith("global_")]
    entries = [(entry.key, entry.version, entry.revision, repr(entry.value)) for entry in own]
    everyones = view.get(f"global_{wf.workflow_id}")
    keys = ("list", "dict", "number", "k", "new", "erased")
    history = {key: [(entry.version, repr(entry.value)) for entry in wf.history(key)] for key in keys}
    changes = [(change.revision, change.kind, change.key, change.version) for change in wf.changes()]
    return entries, everyones, view.revision, view.agent_state, history, changes


def comparable(result: Any) -> Any:
    """A result without what differs between two undisturbed calls too."""
    if isinstance(result, CommitResult):
        return list(result.versions.values()), result.attempts, result.fired
    if isinstance(result, ContextEntry):
        return result.key, result.version, result.value, result.dependencies
    if isinstance(result, WorkflowContext):
        return result.revision, result.metadata
    return result


@pytest.mark.parametrize("name", CALLS)
def test_a_call_takes_effect_once_whichever_reply_is_lost(manager: SharedContextManager, name: str) -> None:
    call = CALLS[name]
    undisturbed = prepared(manager)
    expected = comparable(call(manager, undisturbed)), state(undisturbed)
    forgetful = Forgetful(manager.store)
    losing = SharedContextManager(forgetful)  # type: ignore[arg-type]  # only what a driver asks for
    losing.driver = Driver(forgetful)
    for ordinal in range(1, MOST_EFFECTS):
        wf = prepared(manager)
        forgetful.left, lost = ordinal, forgetful.lost
        found = comparable(call(losing, losing.workflow(wf.workflow_id, agent_id="analyst_001")))
        assert (found, state(wf)) == expected, f"effect {ordinal}"
        wf.remove()
        if forgetful.lost == lost:
            return
    pytest.fail("the call has no end")
