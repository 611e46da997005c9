"""The reply is lost on the wire: the client tries again, and the state changes once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ctxqueue import connect
from ctxqueue.errors import EntryExists, VersionConflict
from ctxqueue.flows import steps
from ctxqueue.identity import Attempt, current_attempt
from ctxqueue.models import Put
from ctxqueue.testing.contract.runs import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ctxqueue.context import WorkflowHandle
    from ctxqueue.testing import FaultProxy

pytestmark = pytest.mark.usefixtures("tidy_redis")

SCRIPT = b"EVALSHA"


@pytest.fixture
def direct(redis_url: str) -> Iterator[WorkflowHandle]:
    """The workflow, seen without the proxy."""
    with connect(redis_url) as manager:
        handle = manager.workflow("q3-close", agent_id="analyst_001")
        handle.open()
        yield handle


@pytest.fixture
def wf(proxy: FaultProxy, direct: WorkflowHandle) -> Iterator[WorkflowHandle]:
    """The same workflow by way of the proxy, connected and with its scripts loaded."""
    with connect(proxy.url) as manager:
        handle = manager.workflow(direct.workflow_id, agent_id="analyst_001")
        handle.put("warm", 1)
        yield handle


CALLS: dict[str, tuple[Any, Callable[[WorkflowHandle], Any], Any]] = {
    "put over nothing": (None, lambda wf: wf.put("k", 1), 1),
    "put": (0, lambda wf: wf.put("k", 1), 1),
    "put with a version": (0, lambda wf: wf.put("k", 1, expected_version=1), 1),
    "create": (None, lambda wf: wf.create("k", 1), 1),
    "smart_merge of a dict": ({"a": 1}, lambda wf: wf.update({"k": {"b": 2}}), {"a": 1, "b": 2}),
    "smart_merge of a dict over nothing": (None, lambda wf: wf.update({"k": {"b": 2}}), {"b": 2}),
    "smart_merge of a number": (1, lambda wf: wf.update({"k": 2}), 2),
    "replace": ([1], lambda wf: wf.update({"k": [2]}, merge_strategy="replace"), [2]),
    "append": ([1], lambda wf: wf.update({"k": [2]}, merge_strategy="append"), [1, 2]),
    "append over nothing": (None, lambda wf: wf.update({"k": [2]}, merge_strategy="append"), [2]),
    "append merged here": (
        ["x" * 70_000],
        lambda wf: wf.update({"k": [2]}, merge_strategy="append"),
        ["x" * 70_000, 2],
    ),
    "options of its own": (1, lambda wf: wf.update({"k": Put(2, expected_version=1, ttl=60)}), 2),
}


@pytest.mark.parametrize("lost", [1, 3])
@pytest.mark.parametrize(("before", "call", "after"), CALLS.values(), ids=CALLS)
def test_a_write_takes_effect_once(
    wf: WorkflowHandle,
    direct: WorkflowHandle,
    proxy: FaultProxy,
    before: Any,
    call: Callable[[WorkflowHandle], Any],
    after: Any,
    lost: int,
) -> None:
    if before is not None:
        direct.put("k", before)
    revision = direct.open().revision
    proxy.lose_replies(lost, matching=SCRIPT)
    call(wf)
    assert proxy.lost == lost
    entry = direct.get("k")
    assert entry is not None
    assert entry.value == after
    assert entry.version == (1 if before is None else 2)
    assert direct.open().revision == entry.revision == revision + 1


def test_the_answer_is_that_of_the_first_time(wf: WorkflowHandle, proxy: FaultProxy) -> None:
    proxy.lose_replies(matching=SCRIPT)
    result = wf.update({"l": [1]}, merge_strategy="append")
    assert (result.versions, result.replayed, result.attempts) == ({"l": 1}, True, 1)
    proxy.lose_replies(matching=SCRIPT)
    entry = wf.put("k", {"a": 1}, ttl=60)
    assert entry == wf.get("k")


def test_a_delete_says_that_it_deleted(wf: WorkflowHandle, direct: WorkflowHandle, proxy: FaultProxy) -> None:
    direct.put("k", 1)
    proxy.lose_replies(2, matching=SCRIPT)
    assert wf.delete("k") is True
    assert direct.get("k") is None
    assert direct.open().revision == 3
    proxy.lose_replies(matching=SCRIPT)
    assert wf.delete("k") is False


def test_a_call_between_the_two_tries_is_not_undone(
    wf: WorkflowHandle, direct: WorkflowHandle, proxy: FaultProxy
) -> None:
    """The reply is lost and the way back is closed; before it opens, somebody else writes."""
    proxy.lose_replies(matching=SCRIPT)
    proxy.delay(0.05)
    wf.update({"k": [1]}, merge_strategy="append")
    direct.update({"k": [2]}, merge_strategy="append")
    proxy.lose_replies(matching=SCRIPT)
    wf.update({"k": [3]}, merge_strategy="append")
    assert direct["k"] == [1, 2, 3]


@pytest.mark.parametrize("call", [lambda wf: wf.create("k", 2), lambda wf: wf.put("k", 2, expected_version=9)])
def test_a_refusal_whose_reply_was_lost_is_refused_again(
    wf: WorkflowHandle, direct: WorkflowHandle, proxy: FaultProxy, call: Callable[[WorkflowHandle], Any]
) -> None:
    direct.put("k", 1)
    proxy.lose_replies(matching=SCRIPT)
    with pytest.raises((EntryExists, VersionConflict)):
        call(wf)
    assert proxy.lost == 1
    assert direct["k"] == 1


def test_an_update_whose_first_look_was_lost(wf: WorkflowHandle, direct: WorkflowHandle, proxy: FaultProxy) -> None:
    for number in range(6):
        direct.update({"k": {f"theirs{number}": 1}})
        proxy.lose_replies(1 + number % 3, matching=SCRIPT)
        wf.update({"k": {f"mine{number}": 1}})
    entry = direct.get("k")
    assert entry is not None
    assert (len(entry.value), entry.version - direct.get("warm").version) == (12, 11)  # type: ignore[union-attr]


def test_calls_of_a_task_take_effect_once_too(wf: WorkflowHandle, direct: WorkflowHandle, proxy: FaultProxy) -> None:
    token = current_attempt.set(Attempt("run-1", 0, wf.workflow_id, 1))
    try:
        for number in range(3):
            proxy.lose_replies(matching=SCRIPT)
            wf.update({"l": [number]}, merge_strategy="append")
        proxy.lose_replies(matching=SCRIPT)
        wf.update({"l": [3]}, merge_strategy="append", operation_id="op")
    finally:
        current_attempt.reset(token)
    assert direct["l"] == [0, 1, 2, 3]


def test_reads_are_tried_again(wf: WorkflowHandle, proxy: FaultProxy) -> None:
    wf.put("k", 1)
    proxy.lose_replies(matching=SCRIPT)
    assert wf["k"] == 1
    proxy.lose_replies(matching=SCRIPT)
    assert wf.view()["k"] == 1
    proxy.lose_replies(matching=SCRIPT)
    assert [entry.key for entry in wf.list()] == ["k", "warm"]


def test_opening_twice_is_opening_once(wf: WorkflowHandle, proxy: FaultProxy) -> None:
    with connect(proxy.url) as manager:
        proxy.lose_replies(matching=SCRIPT)
        manager.workflow("new").open({"a": 1})
        assert manager.workflow("new").open({"b": 2}).metadata == {"a": 1}
    assert wf["warm"] == 1


@pytest.mark.parametrize("lost", [1, 3])
def test_a_transaction_is_one_commit(wf: WorkflowHandle, direct: WorkflowHandle, proxy: FaultProxy, lost: int) -> None:
    direct.put("l", [0])
    revision = direct.open().revision
    with wf.transaction() as transaction:
        wf.update({"l": [1], "new": [1]}, merge_strategy="append")
        wf.delete("warm")
        proxy.lose_replies(lost, matching=SCRIPT)
    assert proxy.lost == lost
    assert transaction.result is not None
    assert transaction.result.revision == direct.open().revision == revision + 1
    assert dict(direct.view()) == {"l": [0, 1], "new": [1]}


@pytest.fixture
def worker(direct: WorkflowHandle, proxy: FaultProxy) -> Iterator[Worker]:
    """A process of an app by way of the proxy, with its scripts loaded."""
    worker = Worker(proxy.url)
    assert worker.claim("warm", workflow_id=direct.workflow_id).word == "run"
    yield worker
    worker.manager.close()


def test_a_fork_in_the_flow_of_a_run_is_taken_once(direct: WorkflowHandle, worker: Worker, proxy: FaultProxy) -> None:
    """claim, park, fire, claim and finish, each with its reply lost."""

    def losing() -> None:
        proxy.lose_replies(matching=SCRIPT)

    losing()
    answer = worker.claim("r", needs="a")
    assert (answer.word, answer.claimed.epoch) == ("run", 1)  # the same claim, not a second delivery
    assert worker.claim("r", needs="a").word == "standby"
    answer = worker.claim("s", needs="a")
    losing()
    armed, _ = worker.park(answer, "a")
    assert armed.answer == "parked"
    losing()
    assert worker.manager.workflow(direct.workflow_id).update({"a": 1}).replayed is True
    assert worker.published == []  # the items came with the lost reply
    again = worker.claim("s", leg=1, needs="a")
    losing()
    assert worker.finish(again) is True
    assert worker.claim("s", leg=1, needs="a").word == "done"


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_a_cancellation_is_told_of_as_what_it_was(worker: Worker, proxy: FaultProxy, lost: int) -> None:
    def cancelled(task: str) -> str:
        proxy.lose_replies(lost, matching=SCRIPT)
        return worker.cancel(task)

    assert cancelled("unseen") == "unseen"
    assert worker.claim("unseen", task_id="unseen").word == "cancelled"
    worker.claim("running", task_id="running")
    assert cancelled("running") == "cancelled"
    worker.park(worker.claim("parked", needs="a", task_id="parked"), "a")
    assert cancelled("parked") == "cancelled"
    assert worker.claim("parked", leg=1, task_id="parked").word == "cancelled"
    worker.finish(worker.claim("ended", task_id="ended"))
    assert cancelled("ended") == "ended"
    assert worker.claim("ended", task_id="ended").word == "done"
    worker.deliver()


def test_a_step_is_kept_once(worker: Worker, proxy: FaultProxy) -> None:
    run, terms = worker.manager.driver.run, worker.manager.terms
    attempt = worker.claim("r").attempt
    proxy.lose_replies(matching=SCRIPT)
    assert run(steps.recall(terms, attempt, "draw")) is None
    proxy.lose_replies(2, matching=SCRIPT)
    first = run(steps.keep(terms, attempt, "draw", 7))
    assert run(steps.keep(terms, attempt, "draw", 8)) == first
    proxy.lose_replies(matching=SCRIPT)
    assert run(steps.recall(terms, attempt, "draw")) == first


def test_a_durable_publish_is_kept_once(worker: Worker, proxy: FaultProxy) -> None:
    proxy.lose_replies(2, matching=SCRIPT)
    assert worker.promise("r", wait=0.0) is True
    worker.sweep()
    assert worker.deliver() == [b"r/0.0"]
    worker.sweep()
    assert worker.deliver() == []
    worker.claim("r")
    proxy.lose_replies(matching=SCRIPT)
    assert worker.promise("r") is False
