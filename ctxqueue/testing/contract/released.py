"""Released runs: the message of one that nobody has claimed is sent again."""
# ruff: noqa: D102, S101 - tests: a name is a sentence, a bare number the expected value

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ctxqueue import effects as fx
from ctxqueue.rules.conditions import all_of
from ctxqueue.testing.contract.base import WORKFLOW, Contract, until
from ctxqueue.testing.contract.runs import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ctxqueue.context import WorkflowHandle

SHORT = 0.02
"""Seconds of a lease that is waited for."""


class Released(Contract):
    """From the release of a parked run to its claim."""

    @pytest.fixture
    def losing(self, url: str, wf: WorkflowHandle) -> Iterator[Callable[..., Worker]]:
        """Workers whose leases end at once."""
        assert wf.workflow_id == WORKFLOW
        workers: list[Worker] = []

        def made(lease: float = SHORT, horizon: float = 3_600.0, idle_life: float = 3_600.0) -> Worker:
            workers.append(Worker(url, lease=lease, horizon=horizon, idle_life=idle_life))
            return workers[-1]

        yield made
        for worker in workers:
            worker.manager.close()

    def release(self, worker: Worker, *keys: str) -> None:
        """Bring keys, under the worker's lease; the broker loses what it gets."""
        worker.manager.workflow(WORKFLOW).update(dict.fromkeys(keys, 1))
        worker.published.clear()

    def again(self, worker: Worker) -> list[bytes]:
        """Sweep until something is sent again."""

        def delivered() -> list[bytes]:
            worker.sweep()
            return worker.deliver()

        return until(delivered, "the message is sent again")

    def none_again(self, worker: Worker, wf: WorkflowHandle) -> bool:
        """Whether nothing is sent for some leases."""
        wf.put("clock", 1, ttl=4 * SHORT)
        until(lambda: wf.get("clock") is None, "some leases have ended")
        worker.sweep()
        return worker.deliver() == []

    def test_a_message_that_the_broker_loses_is_sent_again_until_it_is_claimed(
        self, losing: Callable[..., Worker], wf: WorkflowHandle
    ) -> None:
        worker = losing()
        worker.claim_and_park("r", "a")
        self.release(worker, "a")
        assert [self.again(worker) for _ in range(3)] == [[b"r/0.1"]] * 3
        assert worker.claim("r", leg=1, needs="a").word == "run"
        assert self.none_again(worker, wf)

    def test_a_run_past_its_deadline_is_sent_again_too(self, losing: Callable[..., Worker], wf: WorkflowHandle) -> None:
        worker = losing()
        worker.claim_and_park("r", "a", timeout=SHORT)
        assert [self.again(worker) for _ in range(2)] == [[b"r/0.1"]] * 2
        assert worker.claim("r", leg=1, needs="a").word == "timeout"
        assert self.none_again(worker, wf)

    def test_each_pause_is_twice_the_last(self, losing: Callable[..., Worker], wf: WorkflowHandle) -> None:
        worker = losing()
        worker.claim_and_park("r", "a")
        self.release(worker, "a")
        for _ in range(3):
            self.again(worker)
        # Three times it was sent again, the last time eight leases ago at most.
        wf.put("clock", 1, ttl=6 * SHORT)
        sent = []
        while wf.get("clock") is not None:
            worker.sweep()
            sent += worker.deliver()
        assert len(sent) <= 1

    def test_two_sweeps_at_once_send_it_once(self, losing: Callable[..., Worker]) -> None:
        """Both have seen that it is due; so has one whose reply was lost, and that asks again."""
        worker = losing(lease=30.0)
        worker.promise("r", wait=0.0)
        perform, terms = worker.manager.store.perform, worker.manager.terms
        due = until(lambda: perform(fx.PeekDue(tuple(terms.shards), 10)), "it is due")
        releases = [fx.Release(each, terms.lease_us, terms.bounds.horizon_us) for each in due if each.kind == "ready"]
        assert [perform(each) for each in (*releases, *releases)] == ["sent", "kept"]
        assert worker.deliver() == [b"r/0.0"]
        worker.claim("r")

    def test_a_claim_at_a_later_position_is_enough(self, losing: Callable[..., Worker], wf: WorkflowHandle) -> None:
        worker = losing()
        worker.claim_and_park("r", "a")
        self.release(worker, "a")
        self.again(worker)
        assert worker.claim("r", retries=1, needs="a").word == "run"
        assert self.none_again(worker, wf)

    def test_a_claim_at_an_earlier_position_is_not(self, losing: Callable[..., Worker]) -> None:
        worker = losing()
        worker.claim_and_park("r", "a")
        self.release(worker, "a")
        assert worker.claim("r", needs="a").word == "parked"
        assert self.again(worker) == [b"r/0.1"]
        worker.claim("r", leg=1, needs="a")

    def test_a_run_that_is_parked_again_is_sent_again_as_its_later_message(
        self, losing: Callable[..., Worker], wf: WorkflowHandle
    ) -> None:
        worker = losing()
        worker.claim_and_park("r", all_of("a", "b"))
        self.release(worker, "a", "b")
        wf.delete("a")
        worker.park(worker.claim("r", leg=1, needs=all_of("a", "b")), all_of("a", "b"), leg=2)
        assert self.none_again(worker, wf)
        self.release(worker, "a")
        assert [self.again(worker) for _ in range(2)] == [[b"r/0.2"]] * 2
        worker.claim("r", leg=2, needs="a")

    def test_two_sweeps_send_it_once(self, losing: Callable[..., Worker], wf: WorkflowHandle) -> None:
        patient, hasty = losing(lease=60), losing()
        hasty.claim_and_park("r", "a")
        self.release(hasty, "a")
        wf.put("clock", 1, ttl=2 * SHORT)
        until(lambda: wf.get("clock") is None, "the lease has ended")
        patient.sweep()
        patient.sweep()
        assert patient.deliver() == [b"r/0.1"]
        assert patient.deliver() == []
        patient.claim("r", leg=1, needs="a")

    def test_it_is_given_up_once_the_horizon_has_passed(
        self, losing: Callable[..., Worker], wf: WorkflowHandle, caplog: pytest.LogCaptureFixture
    ) -> None:
        worker = losing(horizon=3 * SHORT)
        worker.claim_and_park("r", "a", timeout=600)
        self.release(worker, "a")

        def given_up() -> bool:
            worker.sweep()
            return "nobody has claimed it" in caplog.text

        until(given_up, "it is given up")
        worker.deliver()
        assert self.none_again(worker, wf)
        assert "run r in workflow 'q3-close' was sent again" in caplog.text

    def test_a_workflow_is_not_idle_while_a_released_run_is_not_claimed(self, losing: Callable[..., Worker]) -> None:
        worker = losing(lease=60, idle_life=0.001)
        wf = worker.manager.workflow("waiting", agent_id="analyst_001")
        wf.open()
        worker.park(worker.claim("r", needs="k", workflow_id="waiting"), "k")
        wf.put("k", 1)
        for _ in range(5):
            worker.sweep()
        assert wf["k"] == 1
        assert worker.claim("r", leg=1, needs="k", workflow_id="waiting").word == "run"

        def gone() -> bool:
            worker.sweep()
            return worker.manager.workflow("waiting").open().revision == 0

        until(gone, "the workflow is idle")

    def test_the_message_outlives_a_removed_workflow_and_one_made_anew(
        self, losing: Callable[..., Worker], wf: WorkflowHandle
    ) -> None:
        worker = losing()
        worker.claim_and_park("r", "a")
        worker.claim_and_park("s", "b")
        self.release(worker, "a")
        worker.manager.workflow(WORKFLOW).remove()
        assert set(self.again(worker)) <= {b"r/0.1", b"s/0.1"}
        wf.open()
        worker.claim_and_park("t", "c")
        seen: set[bytes] = set()
        while seen != {b"r/0.1", b"s/0.1"}:
            seen |= set(self.again(worker))
        assert worker.claim("r", leg=1, needs="a").word == "run"
        assert worker.claim("s", leg=1, needs="b").missing == ("b",)
        self.release(worker, "c")
        assert self.again(worker) == [b"t/0.1"]
        worker.claim("t", leg=1, needs="c")

    # --- promised before it is published -------------------------------------------------------------------------

    @pytest.mark.parametrize("workflow_id", [WORKFLOW, "", "never opened"])
    def test_a_promised_message_is_sent_again_until_it_is_claimed(
        self, losing: Callable[..., Worker], wf: WorkflowHandle, workflow_id: str
    ) -> None:
        worker = losing()
        assert worker.promise("r", workflow_id=workflow_id) is True
        assert [self.again(worker) for _ in range(3)] == [[b"r/0.0"]] * 3
        assert worker.claim("r", workflow_id=workflow_id).word == "run"
        assert self.none_again(worker, wf)

    def test_nothing_is_promised_that_was_claimed(self, losing: Callable[..., Worker], wf: WorkflowHandle) -> None:
        worker = losing()
        answer = worker.claim("r", retries=1)
        assert [worker.promise("r", retries=retries) for retries in (0, 1, 2)] == [False, False, True]
        worker.finish(answer, "retried")
        assert self.again(worker) == [b"r/2.0"]
        assert worker.claim("r", retries=2).word == "run"
        assert self.none_again(worker, wf)

    def test_an_older_promise_takes_no_newer_ones_place(
        self, losing: Callable[..., Worker], wf: WorkflowHandle
    ) -> None:
        worker = losing()
        assert worker.promise("r", retries=1) is True
        assert worker.promise("r") is True
        assert self.again(worker) == [b"r/1.0"]
        assert worker.claim("r").word == "run"
        assert self.again(worker) == [b"r/1.0"]
        assert worker.claim("r", retries=1).word == "run"
        assert self.none_again(worker, wf)

    def test_a_retry_that_was_promised_outlives_the_release_of_an_older_message(
        self, losing: Callable[..., Worker], wf: WorkflowHandle
    ) -> None:
        worker = losing()
        worker.claim_and_park("r", "a")
        worker.promise("r", retries=1)
        self.release(worker, "a")
        seen = [self.again(worker), self.again(worker)]
        assert [b"r/1.0"] in seen
        assert worker.claim("r", retries=1).word == "run"
        assert self.none_again(worker, wf)

    def test_a_promise_ends_with_the_message(
        self, losing: Callable[..., Worker], caplog: pytest.LogCaptureFixture
    ) -> None:
        worker = losing()
        worker.promise("r", keep=3 * SHORT)

        def given_up() -> bool:
            worker.sweep()
            return "nobody has claimed it" in caplog.text

        until(given_up, "it is given up")
        worker.deliver()
