"""Which tasks wait in a workflow, as the operator sees them, and one that is let go on."""
# ruff: noqa: D102, S101 - tests: a name is a sentence, a bare number the expected value

from __future__ import annotations

from datetime import timedelta
from itertools import chain
from typing import TYPE_CHECKING

import pytest

from ctxqueue.effects import Outgoing
from ctxqueue.errors import InvalidInput, WorkflowNotFound
from ctxqueue.flows import parked
from ctxqueue.rules.conditions import all_of, any_of, key
from ctxqueue.testing.contract.base import WORKFLOW, Contract
from ctxqueue.testing.contract.runs import LONG, Worker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ctxqueue.context import SharedContextManager, WorkflowHandle


class Waiters(Contract):
    """parked(), and its flows."""

    @pytest.fixture
    def worker(self, url: str, operator: WorkflowHandle) -> Iterator[Worker]:
        """Return a process of an app, on the open workflow."""
        assert operator.workflow_id == WORKFLOW
        worker = Worker(url)
        yield worker
        worker.manager.close()

    def test_parked_tasks_are_listed_with_what_they_need(self, worker: Worker) -> None:
        worker.claim_and_park("r1", all_of("a", any_of("b", "c")))
        worker.claim_and_park("r2", key("total") > 10)  # noqa: PLR2004 - any number
        assert worker.manager.summary(WORKFLOW).waiting
        found = {task.run_id: task for task in worker.manager.parked(WORKFLOW)}
        assert found["r1"].needs == ("a", "b", "c")
        assert found["r2"].needs == ("total > 10",)
        for task in found.values():
            assert task.deadline is not None
            assert task.deadline - task.parked_at == timedelta(seconds=LONG)

    def test_what_a_bare_process_lets_go_waits_in_the_outbox(
        self, worker: Worker, operator: WorkflowHandle, manager: SharedContextManager
    ) -> None:
        worker.claim_and_park("r1", "a")
        operator.put("a", 1)
        assert manager.backlog().outbox == 1
        assert len(worker.deliver()) == 1
        assert manager.backlog().outbox == 0

    def test_pages_of_parked_tasks_neither_repeat_nor_leave_out(self, worker: Worker) -> None:
        runs = {f"r{number:02}" for number in range(20)}
        for run in runs:
            worker.claim_and_park(run, "never")
        pages = [worker.manager.parked(WORKFLOW, limit=7)]
        while pages[-1].next_cursor is not None:
            pages.append(worker.manager.parked(WORKFLOW, limit=7, cursor=pages[-1].next_cursor))
        assert sorted(task.run_id for task in chain(*pages)) == sorted(runs)
        with pytest.raises(InvalidInput):
            worker.manager.parked(WORKFLOW, limit=0)
        with pytest.raises(InvalidInput):
            worker.manager.parked(WORKFLOW, cursor="\x00")
        with pytest.raises(WorkflowNotFound):
            worker.manager.parked("nowhere")

    def test_one_is_let_go_on_by_another_message_and_once(self, worker: Worker) -> None:
        worker.claim_and_park("r1", "never")
        driver, terms = worker.manager.driver, worker.manager.terms
        ((_, waiting),) = driver.run(parked.parked(WORKFLOW, 100, None)).items
        passing = Outgoing(waiting.item_id, b"go on")
        assert driver.run(parked.release(terms, WORKFLOW, "r1", passing))
        assert worker.deliver() == [b"go on"]
        assert not driver.run(parked.release(terms, WORKFLOW, "r1", passing))
        assert worker.manager.parked(WORKFLOW).items == ()
