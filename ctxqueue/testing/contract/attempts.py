"""Attempts at a run: one at a time, the older ones fenced off, none lost."""
# ruff: noqa: D102, S101 - tests: a name is a sentence, a bare number the expected value

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ctxqueue.effects import Position
from ctxqueue.errors import AttemptSuperseded
from ctxqueue.flows import attempts
from ctxqueue.identity import current_attempt
from ctxqueue.testing.contract.base import WORKFLOW, Contract, until
from ctxqueue.testing.contract.runs import Answer, Worker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ctxqueue.context import WorkflowHandle

SHORT = 0.03
"""Seconds of a lease that is waited for."""


class Attempts(Contract):
    """claim, renew, finish, and the standby."""

    @pytest.fixture
    def worker(self, url: str, wf: WorkflowHandle) -> Iterator[Worker]:
        assert wf.workflow_id == WORKFLOW
        worker = Worker(url)
        yield worker
        worker.manager.close()

    @pytest.fixture
    def hasty(self, url: str, wf: WorkflowHandle) -> Iterator[Worker]:
        """A worker whose leases end at once."""
        assert wf.workflow_id == WORKFLOW
        worker = Worker(url, lease=SHORT)
        yield worker
        worker.manager.close()

    @pytest.mark.parametrize("workflow_id", [WORKFLOW, ""], ids=["in a workflow", "in none"])
    def test_a_run_is_claimed_and_finished_once(self, worker: Worker, workflow_id: str) -> None:
        answer = worker.claim("r", workflow_id=workflow_id)
        assert (answer.word, answer.claimed.epoch, answer.missing) == ("run", 1, ())
        assert worker.finish(answer) is True
        again = worker.claim("r", workflow_id=workflow_id)
        assert (again.word, again.claimed.outcome) == ("done", b"result")

    def test_a_failure_is_remembered_too(self, worker: Worker) -> None:
        worker.finish(worker.claim("r"), "failed", b"error")
        again = worker.claim("r")
        assert (again.word, again.claimed.outcome) == ("failed", b"error")

    def test_a_result_that_was_not_kept_lets_the_body_run_again(self, worker: Worker) -> None:
        worker.finish(worker.claim("r"), "done", b"")
        again = worker.claim("r")
        assert (again.word, again.claimed.epoch) == ("run", 2)

    def test_runs_are_apart(self, worker: Worker) -> None:
        assert [worker.claim(run).claimed.epoch for run in ("a", "b", "a:b", "a/b")] == [1, 1, 1, 1]

    def test_an_older_message_is_stale(self, worker: Worker) -> None:
        assert worker.claim("r", retries=1, leg=1).word == "run"
        for retries, leg in ((0, 0), (0, 5), (1, 0)):
            assert worker.claim("r", retries=retries, leg=leg).word == "stale"

    def test_a_newer_message_takes_over(self, worker: Worker) -> None:
        answers = [worker.claim("r", retries=retries, leg=leg) for retries, leg in ((0, 0), (0, 1), (1, 0))]
        assert [answer.claimed.epoch for answer in answers] == [1, 2, 3]
        assert [worker.finish(answer) for answer in answers] == [False, False, True]
        assert worker.claim("r", retries=1).word == "done"

    def test_a_message_whose_successor_was_published_is_stale(self, worker: Worker) -> None:
        worker.finish(worker.claim("r"), "retried", b"")
        assert worker.claim("r").word == "stale"
        assert worker.claim("r", retries=1).word == "run"

    def test_a_retry_counts_if_the_attempt_that_made_it_still_had_the_run(self, worker: Worker) -> None:
        first = worker.claim("r")
        second = worker.claim("r", leg=1)
        assert worker.claim("r", retries=1, after_epoch=first.claimed.epoch).word == "stale"
        assert worker.finish(second) is True
        assert worker.claim("r", retries=1, after_epoch=first.claimed.epoch).word == "stale"
        assert worker.claim("r", leg=1).word == "done"
        assert worker.claim("r", retries=1, after_epoch=second.claimed.epoch).word == "run"
        assert worker.claim("r", retries=1, leg=1, after_epoch=second.claimed.epoch).word == "run"
        assert worker.claim("other", retries=1, after_epoch=7).word == "run", "nothing is known of that run"

    def test_an_attempt_is_ended_from_outside_where_it_runs(self, worker: Worker) -> None:
        terms, run = worker.manager.terms, worker.manager.driver.run
        answer = worker.claim("r", leg=1)
        for retries, leg in ((0, 0), (1, 1), (0, 2)):
            assert run(attempts.end(terms, WORKFLOW, "r", Position(retries, leg), b"e")) is False
        assert run(attempts.end(terms, WORKFLOW, "r", Position(0, 1), b"e")) is True
        again = worker.claim("r", leg=1)
        assert (again.word, again.claimed.outcome) == ("failed", b"e")
        assert run(attempts.end(terms, WORKFLOW, "r", Position(0, 1), b"late")) is False, "it runs no more"
        assert run(attempts.end(terms, WORKFLOW, "unknown", Position(0, 0), b"e")) is False
        assert worker.finish(answer) is True, "its epoch is the newest"

    def test_an_attempt_that_is_given_up_is_begun_anew_at_once(self, worker: Worker) -> None:
        terms, run = worker.manager.terms, worker.manager.driver.run
        first = worker.claim("r")
        assert run(attempts.give_up(terms, WORKFLOW, "r", Position(0, 1))) is False
        assert run(attempts.give_up(terms, WORKFLOW, "r", Position(0, 0))) is True
        second = worker.claim("r")
        assert (second.word, second.claimed.lost) == ("run", 0)
        assert worker.finish(first) is False, "it was taken over"
        worker.finish(second)
        assert run(attempts.give_up(terms, WORKFLOW, "r", Position(0, 0))) is False, "it has ended"

    def test_attempts_that_are_taken_over_are_counted_where_they_are_lost(self, hasty: Worker) -> None:
        def next_begun() -> int | None:
            answer = hasty.claim("r")
            return answer.claimed.lost + 1 if answer.word == "run" else None

        assert [until(next_begun, "the lease before has ended") for _ in range(3)] == [1, 2, 3]
        assert hasty.claim("r", leg=1).claimed.lost == 0, "it got on"

    def test_a_result_that_was_not_kept_is_no_lost_attempt(self, worker: Worker) -> None:
        worker.finish(worker.claim("r"), "done", b"")
        assert worker.claim("r").claimed.lost == 0

    def test_a_second_delivery_is_kept_while_the_first_is_alive(self, worker: Worker) -> None:
        first = worker.claim("r")
        assert worker.claim("r").word == "standby"
        worker.sweep()
        assert worker.deliver() == []
        assert worker.finish(first) is True

    def test_a_message_is_asked_for_only_where_it_is_kept(self, worker: Worker) -> None:
        worker.claim("r")
        worker.finish(worker.claim("other"))
        worker.claim("other")
        assert worker.asked == []
        assert worker.claim("r").word == "standby"
        assert worker.asked == [b"r/0.0"]

    def test_the_standby_is_sent_once_the_lease_has_ended(self, hasty: Worker) -> None:
        first = hasty.claim_twice("r")

        def delivered() -> list[bytes]:
            hasty.sweep()
            return hasty.deliver()

        assert until(delivered, "the standby is sent") == [b"r/0.0"]
        hasty.give_leases_of(60.0)
        assert hasty.claim("r").claimed.epoch == first.claimed.epoch + 1
        assert delivered() == []

    def test_the_standby_of_a_run_that_ended_is_sent_all_the_same(self, hasty: Worker) -> None:
        hasty.finish(hasty.claim_twice("r"))

        def delivered() -> list[bytes]:
            hasty.sweep()
            return hasty.deliver()

        assert until(delivered, "the standby is sent") == [b"r/0.0"]
        assert hasty.claim("r").word == "done"

    def test_renewing_keeps_a_lease_and_puts_the_standby_off(self, hasty: Worker, worker: Worker) -> None:
        first = hasty.claim("r")
        assert worker.renew(first) is True
        assert worker.claim("r").word == "standby"
        gone = hasty.claim_twice("other")

        def delivered() -> list[bytes]:
            worker.sweep()
            return worker.deliver()

        assert until(delivered, "the other lease has ended") == [b"other/0.0"]
        assert worker.claim("r").word == "standby"
        assert worker.finish(first) is True
        assert gone.word == "run"

    def test_an_attempt_whose_lease_has_ended_is_fenced_off(self, hasty: Worker, wf: WorkflowHandle) -> None:
        first = hasty.claim("r")

        def taken_over() -> Answer | None:
            answer = hasty.claim("r")
            return answer if answer.word == "run" else None

        second = until(taken_over, "the lease has ended")
        assert (second.claimed.epoch, second.word) == (2, "run")
        assert hasty.renew(first) is False
        assert hasty.finish(first) is False
        token = current_attempt.set(first.attempt)
        try:
            with pytest.raises(AttemptSuperseded):
                wf.put("k", 1)
        finally:
            current_attempt.reset(token)
        assert wf.get("k") is None
        assert hasty.finish(second) is True
        assert hasty.renew(second) is False

    def test_a_message_that_takes_over_is_kept_too(self, hasty: Worker) -> None:
        """The attempt before wakes up late and acknowledges the delivery of both; then this one's process dies."""
        hasty.claim("r")
        hasty.claim_twice("other")

        def delivered() -> list[bytes]:
            hasty.sweep()
            return hasty.deliver()

        assert until(delivered, "the leases have ended") == [b"other/0.0"]
        assert hasty.claim("r").word == "run"
        assert until(delivered, "it is sent again") == [b"r/0.0"]
        third = hasty.claim("r")
        assert third.word == "run"
        assert hasty.finish(third) is True
        assert until(delivered, "the third is kept as well") == [b"r/0.0"]
        assert hasty.claim("r").word == "done"
        assert delivered() == []

    def test_nothing_is_renewed_that_was_never_claimed(self, worker: Worker) -> None:
        answer = worker.claim("r")
        answer.attempt.run_id = "other"
        assert worker.renew(answer) is False
        assert worker.finish(answer) is False

    def test_positions_are_ordered_by_retries_first(self) -> None:
        assert Position(0, 9) < Position(1, 0) < Position(1, 1)
