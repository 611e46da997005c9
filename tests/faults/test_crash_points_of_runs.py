"""The process dies in a cancellation, a step, a durable publish or a transaction: the next attempt finds it whole."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest

from ctxqueue import codec
from ctxqueue import effects as fx
from ctxqueue.context import TransactionContext
from ctxqueue.flows import attempts, steps
from ctxqueue.flows.publishing import item_id
from ctxqueue.identity import current_attempt
from ctxqueue.testing.contract.runs import AGENT, message
from tests.faults.dying import WORKFLOW, all_delivered, at_each_point, check_sent
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from ctxqueue.identity import Attempt
    from ctxqueue.testing.contract.runs import Answer, Worker
    from tests.faults.places import Place

IN_A_WORKFLOW = pytest.mark.parametrize("workflow_id", [WORKFLOW, ""], ids=["in a workflow", "in none"])


# --- cancel ----------------------------------------------------------------------------------------------------------


def run_it(worker: Worker, run: str) -> None:
    worker.claim(run, task_id=run)


def park_it(worker: Worker, run: str) -> None:
    worker.park(worker.claim(run, needs=run, task_id=run), run)


def release_it(worker: Worker, run: str) -> None:
    park_it(worker, run)
    worker.manager.workflow(WORKFLOW).put(run, 1)


def retry_it(worker: Worker, run: str) -> None:
    worker.finish(worker.claim(run, task_id=run), "retried", b"")


BEFORE: dict[str, tuple[Callable[[Worker, str], None], int]] = {
    "unseen": (lambda *_: None, 1),
    "running": (run_it, 2),
    "parked": (park_it, 4),
    "released": (release_it, 2),
    "retried": (retry_it, 2),
}
"""What a task has come to before somebody cancels it, and how many effects that takes then."""


def all_answered(worker: Worker, place: Place, run: str) -> None:
    """Every message of a cancelled task is answered so, whatever else brings it here."""

    def empty() -> bool:
        worker.sweep()
        for each in worker.deliver():
            name, _, position = each.decode().partition("/")
            retries, _, leg = position.partition(".")
            answer = worker.claim(name, retries=int(retries), leg=int(leg), needs="never", task_id=run)
            assert answer.word == "cancelled", each
        return place.outbox_is_empty()

    wait_until(empty, "the outbox is empty")


@pytest.mark.parametrize("asked_again", [True, False])
@pytest.mark.parametrize("before", BEFORE)
def test_a_cancellation(worker: Worker, place: Place, before: str, *, asked_again: bool) -> None:
    """Whoever comes next calls the task off, be it the caller once more or a worker that is brought its message."""
    begin_it, length = BEFORE[before]
    runs: list[str] = []

    def begin() -> fx.Flow[Any]:
        runs.append(f"r{len(runs)}")
        begin_it(worker, runs[-1])
        return attempts.cancel(worker.manager.terms, runs[-1])

    def check(_effects: int) -> None:
        run = runs[-1]
        if asked_again:
            assert worker.cancel(run) == ("unseen" if before == "unseen" else "cancelled")
        worker.manager.workflow(WORKFLOW).put(run, 1)  # what a parked one needs
        all_answered(worker, place, run)
        retries = 1 if before == "retried" else 0
        wait_until(
            lambda: worker.claim(run, retries=retries, task_id=run).word == "cancelled",
            "the lease of whoever ran it has ended",
        )
        all_answered(worker, place, run)
        assert worker.claim(run, retries=2, task_id=run).word == "cancelled"

    assert at_each_point(worker, begin, check) == length


def test_a_cancellation_of_what_has_ended(worker: Worker) -> None:
    """The mark that a dead caller leaves there changes nothing."""
    runs: list[str] = []

    def begin() -> fx.Flow[Any]:
        runs.append(f"r{len(runs)}")
        worker.finish(worker.claim(runs[-1], task_id=runs[-1]))
        return attempts.cancel(worker.manager.terms, runs[-1])

    def check(_effects: int) -> None:
        assert worker.claim(runs[-1], task_id=runs[-1]).word == "done"
        assert worker.cancel(runs[-1]) == "ended"
        assert worker.claim(runs[-1], task_id=runs[-1]).word == "done"

    assert at_each_point(worker, begin, check) == 3


@IN_A_WORKFLOW
def test_a_claim_that_finds_its_task_cancelled(worker: Worker, place: Place, workflow_id: str) -> None:
    runs: list[str] = []

    def begin() -> fx.Flow[Any]:
        runs.append(f"r{len(runs)}")
        worker.cancel(runs[-1])
        position = fx.Position(0, 0)
        item = item_id(worker.manager.terms.app, workflow_id, runs[-1], position)
        ticket = attempts.Ticket(workflow_id, runs[-1], position, item, runs[-1])
        return attempts.claim(worker.manager.terms, ticket, AGENT, None, lambda: message(runs[-1], 0, 0))

    def check(_effects: int) -> None:
        run = runs[-1]
        words: list[str] = []

        def answered() -> bool:
            words.append(worker.claim(run, task_id=run, workflow_id=workflow_id).word)
            return words[-1] == "cancelled"

        wait_until(answered, "the lease of the dead one has ended")
        assert "run" not in words
        all_answered(worker, place, run)

    assert at_each_point(worker, begin, check) == 2


# --- once ------------------------------------------------------------------------------------------------------------


@IN_A_WORKFLOW
def test_a_step(worker: Worker, workflow_id: str) -> None:
    """Dead before its result was kept, it is carried out again; after that never."""
    numbers = itertools.count()
    drawn: list[int] = []
    runs: list[str] = []

    def step(attempt: Attempt) -> fx.Flow[int]:
        kept = yield from steps.recall(worker.manager.terms, attempt, "draw")
        if kept is None:
            drawn.append(next(numbers))
            kept = yield from steps.keep(worker.manager.terms, attempt, "draw", drawn[-1])
        result: int = codec.unpack(kept)
        return result

    def begin() -> fx.Flow[Any]:
        runs.append(f"r{len(runs)}")
        drawn.clear()
        return step(worker.claim(runs[-1], workflow_id=workflow_id).attempt)

    def check(effects: int) -> None:
        answer = taken_over(worker, runs[-1], workflow_id)
        first = worker.manager.driver.run(step(answer.attempt))
        assert first == drawn[0 if effects > 1 else -1]
        assert len(drawn) == 1
        again = worker.claim(runs[-1], retries=1, workflow_id=workflow_id)
        assert worker.manager.driver.run(step(again.attempt)) == first

    assert at_each_point(worker, begin, check) == 2


def taken_over(worker: Worker, run: str, workflow_id: str = WORKFLOW) -> Answer:
    """Return the next attempt, once the lease of the dead one has ended."""

    def claim() -> Answer | None:
        answer = worker.claim(run, workflow_id=workflow_id)
        return answer if answer.word in ("run", "done") else None

    answer = wait_until(claim, "the lease has ended")
    assert answer is not None
    return answer


# --- durable publishing ----------------------------------------------------------------------------------------------


def published(worker: Worker, run: str, workflow_id: str, *, retries: int = 0) -> fx.Flow[None]:
    """What `integration.durable` does: the store has the message before the broker."""
    terms = worker.manager.terms
    item = item_id(terms.app, workflow_id, run, fx.Position(retries, 0))
    body = message(run, retries, 0)
    yield from fx.do(fx.Promise(workflow_id, run, item, body, terms.lease_us, terms.bounds.horizon_us))
    yield from fx.do(fx.Publish((fx.Outgoing(item, body),)))


@IN_A_WORKFLOW
def test_a_durable_publish(worker: Worker, place: Place, workflow_id: str) -> None:
    """Stored and never published, or published and lost: it comes until it is claimed, and then no more."""
    runs: list[str] = []

    def begin() -> fx.Flow[Any]:
        runs.append(f"r{len(runs)}")
        return published(worker, runs[-1], workflow_id)

    def check(_effects: int) -> None:
        run = runs[-1]
        worker.published.clear()  # and is lost with the process
        wait_until(lambda: message(run, 0, 0) in swept(worker), "the sweep sends it")
        answer = worker.claim(run, workflow_id=workflow_id)
        assert answer.word == "run"
        assert worker.finish(answer)
        wait_until(lambda: not swept(worker) and place.outbox_is_empty(), "what was on its way has come")
        assert_none_is_kept(worker, run, workflow_id)

    assert at_each_point(worker, begin, check) == 2


def swept(worker: Worker) -> list[bytes]:
    worker.sweep()
    return worker.deliver()


def assert_none_is_kept(worker: Worker, run: str, workflow_id: str) -> None:
    """The store has nothing to send of this run, however late it is asked: there is nothing that it could give up."""
    terms = worker.manager.terms
    due = fx.Due(terms.shard_of(workflow_id or run), "ready", workflow_id, run, 0)
    for _ in range(2):
        assert worker.manager.store.perform(fx.Release(due, terms.lease_us, 0)) == "kept"


def test_a_durable_retry(worker: Worker, place: Place) -> None:
    """The next try is promised, published, and only then does this one end; wherever it dies, one follows."""
    runs: list[str] = []

    def retry(answer: Answer) -> fx.Flow[None]:
        yield from published(worker, answer.attempt.run_id, WORKFLOW, retries=1)
        yield from attempts.finish(worker.manager.terms, answer.attempt, "retried", b"")

    def begin() -> fx.Flow[Any]:
        runs.append(f"r{len(runs)}")
        return retry(worker.claim(runs[-1]))

    def check(_effects: int) -> None:
        run = runs[-1]
        worker.published.clear()
        wait_until(lambda: message(run, 1, 0) in swept(worker), "the sweep sends the next try")
        following = worker.claim(run, retries=1)
        assert following.word == "run"
        assert worker.claim(run).word == "stale"  # the first message, delivered again
        assert worker.finish(following)
        assert worker.claim(run, retries=1).word == "done"
        wait_until(lambda: not swept(worker) and place.outbox_is_empty(), "what was on its way has come")
        assert_none_is_kept(worker, run, WORKFLOW)

    assert at_each_point(worker, begin, check) == 3


# --- transactions ----------------------------------------------------------------------------------------------------


def ending(worker: Worker, attempt: Attempt, keys: list[str]) -> fx.Flow[None]:
    """Stage writes as a body does, then do what follows it: the commit, and the end of the attempt."""
    token = current_attempt.set(attempt)
    try:
        handle = worker.manager.workflow(WORKFLOW, agent_id=AGENT.agent_id)
        with handle.transaction():
            for key in keys:
                handle.update({key: [attempt.epoch]}, merge_strategy="append")
        for transaction in attempt.staged:
            yield from transaction.commit()
    finally:
        current_attempt.reset(token)
    yield from attempts.finish(worker.manager.terms, attempt, "done", b"result")


def test_a_transaction_and_the_end_of_its_task(worker: Worker, place: Place) -> None:
    """All of it is there or nothing, and what it releases is sent; a body that chooses other keys then adds nothing."""
    handle = worker.manager.workflow(WORKFLOW)
    runs: list[str] = []
    state: dict[str, int] = {}

    def begin() -> fx.Flow[Any]:
        run = f"r{len(runs)}"
        runs.append(run)
        handle.put(f"{run}-log", [0])
        worker.claim_and_park(f"{run}-parked", f"{run}-new")
        state["revision"] = handle.open().revision
        return ending(worker, worker.claim(run).attempt, [f"{run}-log", f"{run}-new"])

    def check(effects: int) -> None:
        run, committed = runs[-1], effects > 1
        answer = taken_over(worker, run)
        assert (answer.word == "done") == (effects > 4)
        if answer.word == "run":
            worker.manager.driver.run(ending(worker, answer.attempt, [f"{run}-log", f"{run}-new", f"{run}-other"]))
        assert worker.claim(run).word == "done"
        assert handle.open().revision == state["revision"] + 1
        writer = 1 if committed else answer.attempt.epoch
        assert (handle[f"{run}-log"], handle[f"{run}-new"]) == ([0, writer], [writer])
        assert (f"{run}-other" in handle.view()) is not committed
        seen = all_delivered(worker, place)
        for each in runs:
            del seen[message(each, 0, 0)]  # what took over, kept for the case that it only stood still
        check_sent(worker, seen, {f"{run}-parked/0.1".encode()}, 2)

    assert at_each_point(worker, begin, check) == 5


def test_a_transaction_outside_tasks(worker: Worker) -> None:
    handle = worker.manager.workflow(WORKFLOW, agent_id=AGENT.agent_id)
    state: dict[str, int] = {}

    def begin() -> fx.Flow[Any]:
        handle.update({"log": [], "count": []}, merge_strategy="replace")
        state["revision"] = handle.open().revision
        flows: list[fx.Flow[Any]] = []
        with TransactionContext(handle, flows.append):
            handle.update({"log": [1], "count": [1]}, merge_strategy="append")
        return flows[0]

    def check(effects: int) -> None:
        committed = effects > 1
        assert handle.open().revision == state["revision"] + committed
        assert (handle["log"], handle["count"]) == (([1], [1]) if committed else ([], []))

    assert at_each_point(worker, begin, check) == 2
