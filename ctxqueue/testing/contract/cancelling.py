"""Cancelling: a run is called off by the task that it is, wherever it stands."""
# ruff: noqa: D102, S101 - tests: a name is a sentence, a bare number the expected value

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ctxqueue import effects as fx
from ctxqueue.errors import AttemptSuperseded
from ctxqueue.identity import current_attempt
from ctxqueue.testing.contract.base import WORKFLOW, Contract, until
from ctxqueue.testing.contract.runs import Worker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ctxqueue.context import WorkflowHandle

TASK = "b2c7e0a4-task"


class Cancelling(Contract):
    """cancel, before, while and after a run is claimed."""

    @pytest.fixture
    def worker(self, url: str, wf: WorkflowHandle) -> Iterator[Worker]:
        assert wf.workflow_id == WORKFLOW
        worker = Worker(url)
        yield worker
        worker.manager.close()

    @pytest.mark.parametrize("workflow_id", [WORKFLOW, ""], ids=["in a workflow", "in none"])
    def test_one_that_no_worker_has_seen_is_called_off_when_it_comes(self, worker: Worker, workflow_id: str) -> None:
        assert worker.cancel(TASK) == "unseen"
        assert worker.claim("r", workflow_id=workflow_id, task_id=TASK).word == "cancelled"
        assert worker.claim("r", workflow_id=workflow_id, task_id=TASK).word == "cancelled"
        assert worker.claim("s", workflow_id=workflow_id, task_id="another").word == "run"

    def test_a_running_one_is_fenced(self, worker: Worker, wf: WorkflowHandle) -> None:
        answer = worker.claim("r", task_id=TASK)
        assert worker.cancel(TASK) == "cancelled"
        token = current_attempt.set(answer.attempt)
        try:
            with pytest.raises(AttemptSuperseded):
                wf.put("k", 1)
        finally:
            current_attempt.reset(token)
        assert wf.get("k") is None
        assert (worker.renew(answer), worker.finish(answer)) == (False, False)
        with pytest.raises(AttemptSuperseded):
            worker.park(answer, "a")
        for retries, leg in ((0, 0), (0, 1), (1, 0)):
            assert worker.claim("r", retries=retries, leg=leg, task_id=TASK).word == "cancelled"

    def test_a_parked_one_is_sent_to_learn_of_it(self, worker: Worker, wf: WorkflowHandle) -> None:
        worker.park(worker.claim("r", needs="a", task_id=TASK), "a")
        assert worker.cancel(TASK) == "cancelled"
        assert worker.deliver() == [b"r/0.1"]
        assert wf.update({"a": 1}).fired == 0
        assert worker.claim("r", leg=1, needs="a", task_id=TASK).word == "cancelled"

    def test_another_apps_parked_one_is_left_to_that_app(self, worker: Worker, url: str) -> None:
        elsewhere = Worker(url, app="elsewhere")
        worker.park(worker.claim("r", needs="a", task_id=TASK), "a")
        assert elsewhere.cancel(TASK) == "cancelled"
        assert elsewhere.deliver() == []
        assert worker.deliver() == [b"r/0.1"]
        assert worker.claim("r", leg=1, task_id=TASK).word == "cancelled"
        elsewhere.manager.close()

    def test_the_message_of_a_parked_one_is_sent_again_until_it_is_claimed(self, url: str, wf: WorkflowHandle) -> None:
        assert wf.workflow_id == WORKFLOW
        worker = Worker(url, lease=0.02)
        worker.park(worker.claim("r", needs="a", task_id=TASK), "a")
        worker.cancel(TASK)
        worker.published.clear()

        def again() -> list[bytes]:
            worker.sweep()
            return worker.deliver()

        assert until(again, "it is sent again") == [b"r/0.1"]
        assert worker.claim("r", leg=1, task_id=TASK).word == "cancelled"
        worker.manager.close()

    def test_a_released_one_is_called_off(self, worker: Worker, wf: WorkflowHandle) -> None:
        worker.park(worker.claim("r", needs="a", task_id=TASK), "a")
        wf.put("a", 1)
        assert worker.cancel(TASK) == "cancelled"
        assert worker.deliver() == [b"r/0.1"]
        assert worker.claim("r", leg=1, needs="a", task_id=TASK).word == "cancelled"

    def test_one_that_is_to_be_retried_is_called_off(self, worker: Worker) -> None:
        worker.finish(worker.claim("r", task_id=TASK), "retried", b"")
        assert worker.cancel(TASK) == "cancelled"
        assert worker.claim("r", retries=1, task_id=TASK).word == "cancelled"

    @pytest.mark.parametrize("state", ["done", "failed"])
    def test_one_that_has_ended_stays_so(self, worker: Worker, state: str) -> None:
        worker.finish(worker.claim("r", task_id=TASK), state, b"outcome")  # type: ignore[arg-type]
        assert worker.cancel(TASK) == "ended"
        assert worker.claim("r", task_id=TASK).word == state

    def test_one_that_has_ended_without_a_result_may_run_again(self, worker: Worker) -> None:
        worker.finish(worker.claim("r", task_id=TASK), "done", b"")
        assert worker.cancel(TASK) == "ended"
        assert worker.claim("r", task_id=TASK).word == "run"

    def test_cancelling_twice_is_cancelling_once(self, worker: Worker) -> None:
        worker.park(worker.claim("r", needs="a", task_id=TASK), "a")
        assert [worker.cancel(TASK), worker.cancel(TASK)] == ["cancelled", "cancelled"]
        assert worker.deliver() == [b"r/0.1"]
        worker.claim("r", leg=1, task_id=TASK)

    def test_a_claim_and_a_cancellation_at_once_see_each_other(self, worker: Worker) -> None:
        """Whatever the order of their steps: the mark first, or the binding first."""
        perform, keep = worker.manager.store.perform, 60_000_000
        assert perform(fx.Mark("t1", cancelled=True, keep_us=keep)) is None
        assert perform(fx.Bind("t1", WORKFLOW, "r1", keep)) is True
        assert perform(fx.Bind("t2", WORKFLOW, "r2", keep)) is False
        assert perform(fx.Mark("t2", cancelled=True, keep_us=keep)) == (WORKFLOW, "r2")
        assert perform(fx.Mark("t2", cancelled=None, keep_us=0)) == (WORKFLOW, "r2")
        assert perform(fx.Bind("t2", WORKFLOW, "r2", keep)) is True  # a look changes nothing
        assert perform(fx.Mark("t2", cancelled=False, keep_us=keep)) == (WORKFLOW, "r2")
        assert perform(fx.Bind("t2", WORKFLOW, "r2", keep)) is False
        assert perform(fx.Mark("t3", cancelled=None, keep_us=0)) is None
