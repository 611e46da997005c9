"""Steps of a run: a result that is kept is the one that every later attempt gets."""
# ruff: noqa: D102, S101 - tests: a name is a sentence, a bare number the expected value

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ctxqueue import codec
from ctxqueue.errors import AttemptSuperseded, CapacityError, InvalidName, NotSerializable, ValueTooLarge
from ctxqueue.flows import steps
from ctxqueue.settings import MAX_RUN_CALLS
from ctxqueue.testing.contract.base import WORKFLOW, Contract
from ctxqueue.testing.contract.runs import Answer, Worker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ctxqueue.context import WorkflowHandle


class Steps(Contract):
    """once."""

    @pytest.fixture
    def worker(self, url: str, wf: WorkflowHandle) -> Iterator[Worker]:
        assert wf.workflow_id == WORKFLOW
        worker = Worker(url)
        yield worker
        worker.manager.close()

    def recall(self, worker: Worker, answer: Answer, name: str = "step") -> Any:
        packed = worker.manager.driver.run(steps.recall(worker.manager.terms, answer.attempt, name))
        return None if packed is None else codec.unpack(packed)

    def keep(self, worker: Worker, answer: Answer, result: Any, name: str = "step") -> Any:
        return codec.unpack(worker.manager.driver.run(steps.keep(worker.manager.terms, answer.attempt, name, result)))

    @pytest.mark.parametrize("workflow_id", [WORKFLOW, ""], ids=["in a workflow", "in none"])
    def test_the_first_result_is_kept(self, worker: Worker, workflow_id: str) -> None:
        answer = worker.claim("r", workflow_id=workflow_id)
        assert self.recall(worker, answer) is None
        assert self.keep(worker, answer, {"a": (1, 2)}) == {"a": (1, 2)}
        assert self.keep(worker, answer, "another") == {"a": (1, 2)}
        assert self.recall(worker, answer) == {"a": (1, 2)}
        assert self.recall(worker, answer, "other") is None

    def test_nothing_at_all_is_a_result_too(self, worker: Worker) -> None:
        answer = worker.claim("r")
        assert self.keep(worker, answer, None) is None
        assert self.keep(worker, answer, 1) is None

    def test_later_attempts_and_retries_get_it(self, worker: Worker) -> None:
        self.keep(worker, worker.claim("r"), 1)
        for retries, leg in ((0, 1), (1, 1)):
            assert self.recall(worker, worker.claim("r", retries=retries, leg=leg)) == 1
        assert self.recall(worker, worker.claim("another")) is None

    def test_an_attempt_that_was_taken_over_keeps_nothing(self, worker: Worker) -> None:
        first = worker.claim("r")
        second = worker.claim("r", retries=1)
        with pytest.raises(AttemptSuperseded):
            self.keep(worker, first, 1)
        with pytest.raises(AttemptSuperseded):
            self.recall(worker, first)
        assert self.recall(worker, second) is None

    def test_it_counts_among_the_calls_of_the_run(self, worker: Worker) -> None:
        answer = worker.claim("r")

        def keep_many() -> None:
            for number in range(MAX_RUN_CALLS + 50):
                self.keep(worker, answer, number, f"step {number}")

        with pytest.raises(CapacityError):
            keep_many()
        assert self.recall(worker, answer, "step 0") == 0
        assert self.recall(worker, answer, f"step {MAX_RUN_CALLS + 49}") is None

    @pytest.mark.parametrize(
        ("result", "error"),
        [(object(), NotSerializable), (float("nan"), NotSerializable), ("x" * 2_000_000, ValueTooLarge)],
    )
    def test_a_result_that_cannot_be_kept(self, worker: Worker, result: Any, error: type[Exception]) -> None:
        answer = worker.claim("r")
        with pytest.raises(error):
            self.keep(worker, answer, result)
        assert self.recall(worker, answer) is None

    @pytest.mark.parametrize("name", ["", "a\nb", 7, "x" * 2_000])
    def test_a_wrong_name(self, worker: Worker, name: Any) -> None:
        with pytest.raises(InvalidName):
            self.recall(worker, worker.claim("r"), name)
