"""Parked runs: each comes back once, when what it needs is there or its time is up."""
# ruff: noqa: D102, PLR2004, S101 - tests: a name is a sentence, a bare number the expected value

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ctxqueue.errors import AccessDenied, AttemptSuperseded, ConditionError, InvalidName, WorkflowNotFound
from ctxqueue.models import Put
from ctxqueue.rules.conditions import all_of, any_of, key
from ctxqueue.testing.contract.base import WORKFLOW, Contract, until
from ctxqueue.testing.contract.runs import Worker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ctxqueue.context import SharedContextManager, WorkflowHandle
    from ctxqueue.rules.conditions import Condition

SHORT = 0.03
"""Seconds of a time that is waited for."""


def deep(levels: int) -> Condition:
    """Return a condition on k and j, nested that deep."""
    condition: Condition = all_of("k", "j")
    for level in range(levels - 1):
        condition = all_of("l", condition) if level % 2 else any_of("other", condition)
    return condition


class Parking(Contract):
    """arm, fire, deadlines, and the outbox."""

    @pytest.fixture
    def worker(self, url: str, wf: WorkflowHandle) -> Iterator[Worker]:
        assert wf.workflow_id == WORKFLOW
        worker = Worker(url)
        yield worker
        worker.manager.close()

    def test_what_is_there_already_parks_nothing(self, worker: Worker, wf: WorkflowHandle) -> None:
        wf.update({"a": 1, "b": 1})
        answer = worker.claim("r", needs=all_of("a", "b"))
        assert (answer.word, answer.missing) == ("run", ())
        armed, missing = worker.park(answer, all_of("a", "b"))
        assert (armed.answer, missing) == ("ready", ())
        assert wf.update({"a": 2}).fired == 0
        assert worker.deliver() == []

    @pytest.mark.parametrize("others", [0, 600])
    def test_many_keys_among_few_and_many_entries(self, worker: Worker, wf: WorkflowHandle, others: int) -> None:
        for first in range(0, others, 200):
            wf.update({f"other{number}": 1 for number in range(first, first + 200)})
        keys = [f"k{number}" for number in range(60)]
        wf.update(dict.fromkeys(keys[1:], 1))
        wf.put("k59", 1, ttl=SHORT)
        until(lambda: wf.get("k59") is None, "it has expired")
        answer = worker.claim("r", needs=all_of(*keys))
        assert answer.missing == ("k0", "k59")
        worker.park(answer, all_of(*keys))
        assert wf.put("k59", 1).version > 1
        assert worker.deliver() == []
        wf.put("k0", 1)
        assert len(worker.deliver()) == 1

    def test_a_run_comes_back_when_all_it_needs_is_there(self, worker: Worker, wf: WorkflowHandle) -> None:
        wf.put("b", 1)
        needs = all_of("a", "b", "c")
        answer = worker.claim("r", needs=needs)
        assert (answer.word, answer.missing) == ("run", ("a", "c"))
        armed, missing = worker.park(answer, needs)
        assert (armed.answer, missing) == ("parked", ("a", "c"))
        assert worker.claim("r", needs=needs).word == "parked"
        assert wf.update({"c": 1}).fired == 0
        assert wf.update({"d": 1}).fired == 0
        assert worker.deliver() == []
        assert wf.update({"a": 1}).fired == 1
        assert worker.deliver() == [b"r/0.1"]
        assert wf.update({"a": 2, "c": 2}).fired == 0
        assert worker.deliver() == []
        back = worker.claim("r", leg=1, needs=needs)
        assert (back.word, back.missing, back.claimed.epoch) == ("run", (), 2)
        assert back.claimed.parked_us > 0
        assert worker.finish(back) is True
        assert worker.finish(answer) is False

    @pytest.mark.parametrize(
        ("needs", "writes", "fired"),
        [
            ("a", ["b", "a"], [0, 1]),
            (any_of("a", "b"), ["c", "b", "a"], [0, 1, 0]),
            (all_of("a", any_of("b", "c")), ["c", "a", "b"], [0, 1, 0]),
            (any_of(all_of("a", "b"), all_of("c", "d")), ["a", "c", "d", "b"], [0, 0, 1, 0]),
            (all_of("a", "a"), ["a"], [1]),
            (all_of(key("a").exists(), all_of(any_of("b"))), ["a", "b"], [0, 1]),
        ],
        ids=repr,
    )
    def test_conditions(
        self, worker: Worker, wf: WorkflowHandle, needs: Any, writes: list[str], fired: list[int]
    ) -> None:
        worker.claim_and_park("r", needs)
        assert [wf.update({name: 1}).fired for name in writes] == fired
        assert worker.deliver() == [b"r/0.1"]

    def test_one_commit_may_bring_all_that_is_needed(self, worker: Worker, wf: WorkflowHandle) -> None:
        worker.claim_and_park("r", all_of("a", "b", "c"))
        assert wf.update({"a": 1, "b": 1, "c": 1}).fired == 1
        assert worker.deliver() == [b"r/0.1"]

    @pytest.mark.parametrize("levels", [1, 5, 10, 12, 14, 15, 16, 17, 40])
    def test_a_deeply_nested_condition_is_kept_or_refused(
        self, worker: Worker, wf: WorkflowHandle, levels: int
    ) -> None:
        try:
            needs = deep(levels)
            worker.claim_and_park("r", needs)
        except ConditionError as error:
            assert "nested" in str(error)  # noqa: PT017 - either way is right
            assert levels > 10
        else:
            assert [wf.update({name: 1}).fired for name in ("x", "j", "l", "k")] == [0, 0, 0, 1]
        assert wf.put("k", 2).version == (2 if wf.get("x") else 1)

    def test_a_key_that_went_again_does_not_count(
        self, worker: Worker, wf: WorkflowHandle, manager: SharedContextManager
    ) -> None:
        worker.claim_and_park("r", all_of("a", "b", "c"))
        wf.update({"a": 1, "b": Put(1, ttl=SHORT)})
        wf.delete("a")
        until(lambda: wf.get("b") is None, "b has expired")
        assert wf.update({"c": 1}).fired == 0
        assert wf.update({"a": 1}).fired == 0
        manager.cleanup_expired_contexts()
        assert worker.deliver() == []
        assert wf.update({"b": 1}).fired == 1

    def test_what_is_there_when_it_comes_back_is_checked_again(self, worker: Worker, wf: WorkflowHandle) -> None:
        worker.claim_and_park("r", "a")
        wf.put("a", 1)
        wf.delete("a")
        assert worker.deliver() == [b"r/0.1"]
        back = worker.claim("r", leg=1, needs="a")
        assert (back.word, back.missing) == ("run", ("a",))
        armed, _ = worker.park(back, "a", leg=2)
        assert armed.answer == "parked"
        wf.put("a", 2)
        assert worker.deliver() == [b"r/0.2"]
        assert worker.claim("r", leg=2, needs="a").missing == ()

    def test_a_run_sees_the_keys_that_its_agent_sees(
        self, worker: Worker, wf: WorkflowHandle, manager: SharedContextManager
    ) -> None:
        for run in ("everyones", "own", "groups"):
            worker.claim_and_park(run, run)
        other = manager.workflow(wf.workflow_id, agent_id="other_1", groups=["theirs", "audit"])
        for run in ("everyones", "own", "groups"):
            other.put(run, 1, scope="private")
            other.put(run, 1, group="theirs")
            assert worker.deliver() == []
        other.put("everyones", 1)
        wf.put("own", 1, scope="private")
        other.put("groups", 1, group="audit")
        assert sorted(worker.deliver()) == [b"everyones/0.1", b"groups/0.1", b"own/0.1"]

    def test_nobody_waits_for_what_it_may_not_read(self, worker: Worker) -> None:
        for needs in ("vault_password", all_of("a", any_of("b", "api_key"))):
            with pytest.raises(AccessDenied, match="may not wait for"):
                worker.claim("r", needs=needs)

    @pytest.mark.parametrize("needs", ["revenue_*", "a?", "[ab]", ""])
    def test_a_condition_takes_exact_names(self, worker: Worker, needs: str) -> None:
        with pytest.raises((ConditionError, InvalidName)):
            worker.claim("r", needs=needs)

    def test_parking_in_an_unknown_workflow(self, worker: Worker) -> None:
        answer = worker.claim("r", workflow_id="nowhere", needs="a")
        assert (answer.word, answer.missing) == ("run", ("a",))
        with pytest.raises(WorkflowNotFound):
            worker.park(answer, "a")

    def test_an_attempt_that_was_taken_over_parks_nothing(self, worker: Worker, wf: WorkflowHandle) -> None:
        first = worker.claim("r", needs="a")
        worker.claim("r", retries=1, needs="a")
        with pytest.raises(AttemptSuperseded):
            worker.park(first, "a")
        assert wf.update({"a": 1}).fired == 0

    def test_parking_twice_is_parking_once(self, worker: Worker, wf: WorkflowHandle) -> None:
        answer = worker.claim("r", needs=all_of("a", "b"))
        worker.park(answer, all_of("a", "b"))
        for name in ("a", "b"):
            wf.put(name, 1)
            worker.park(answer, all_of("a", "b"))
            wf.delete(name)
            worker.park(answer, all_of("a", "b"))
        wf.update({"a": 1, "b": 1})
        assert worker.deliver() == [b"r/0.1"]
        assert wf.update({"a": 1, "b": 1}).fired == 0
        assert worker.deliver() == []

    def test_a_newer_message_that_is_parked_takes_the_place_of_the_older(
        self, worker: Worker, wf: WorkflowHandle
    ) -> None:
        worker.claim_and_park("r", all_of("a", "b"))
        again = worker.claim("r", retries=1, needs=all_of("c", "d"))
        armed, missing = worker.park(again, all_of("c", "d"))
        assert (armed.answer, missing) == ("parked", ("c", "d"))
        assert wf.update({"a": 1, "b": 1}).fired == 0
        assert wf.update({"d": 1, "c": 1}).fired == 1
        assert worker.deliver() == [b"r/1.1"]

    def test_a_deadline_sends_the_run_back_with_what_is_missing(self, worker: Worker, wf: WorkflowHandle) -> None:
        worker.claim_and_park("r", all_of("a", "b"), timeout=SHORT)
        wf.put("a", 1)
        worker.sweep()

        def delivered() -> list[bytes]:
            worker.sweep()
            return worker.deliver()

        assert until(delivered, "the deadline has passed") == [b"r/0.1"]
        back = worker.claim("r", leg=1, needs=all_of("a", "b"))
        assert (back.word, back.missing) == ("timeout", ("b",))
        armed, missing = worker.park(back, all_of("a", "b"), leg=2)
        assert (armed.answer, missing) == ("timeout", ("b",))
        assert wf.update({"b": 1}).fired == 0
        assert delivered() == []

    def test_what_came_after_the_deadline_still_counts(self, worker: Worker, wf: WorkflowHandle) -> None:
        worker.claim_and_park("r", "a", timeout=SHORT)

        def delivered() -> list[bytes]:
            worker.sweep()
            return worker.deliver()

        until(delivered, "the deadline has passed")
        wf.put("a", 1)
        assert worker.claim("r", leg=1, needs="a").word == "run"

    def test_parking_again_keeps_the_first_deadline(self, worker: Worker, wf: WorkflowHandle) -> None:
        def parked_again(run: str, timeout: float) -> bool:
            """Whether the machine was quick enough to do it before the deadline."""
            worker.claim_and_park(run, "a", timeout=timeout)
            wf.put("a", 1)
            wf.delete("a")
            assert worker.deliver() == [f"{run}/0.1".encode()]
            back = worker.claim(run, leg=1, needs="a")
            return back.word == "run" and worker.park(back, "a", leg=2, timeout=3_600)[0].answer == "parked"

        def delivered() -> list[bytes]:
            worker.sweep()
            return worker.deliver()

        run = next(run for run, timeout in (("r", SHORT), ("s", 1.0), ("t", 10.0)) if parked_again(run, timeout))
        assert until(delivered, "the first deadline has passed") == [f"{run}/0.2".encode()]
        assert worker.claim(run, leg=2, needs="a").word == "timeout"

    def test_a_retry_has_a_deadline_of_its_own(self, worker: Worker, wf: WorkflowHandle) -> None:
        worker.claim_and_park("r", "a", timeout=SHORT)
        wf.put("a", 1)
        worker.finish(worker.claim("r", leg=1, needs="a"), "retried", b"")
        wf.delete("a")
        again = worker.claim("r", retries=1, needs="a")
        armed, _ = worker.park(again, "a", timeout=3_600)
        assert armed.answer == "parked"
        assert worker.deliver() == [b"r/0.1"]
        wf.put("clock", 1, ttl=2 * SHORT)
        until(lambda: wf.get("clock") is None, "the first deadline has passed")
        worker.sweep()
        assert worker.deliver() == []
        assert worker.claim("r", retries=1, needs="a").word == "parked"

    def test_each_wait_of_a_body_keeps_its_own_deadline(self, worker: Worker, wf: WorkflowHandle) -> None:
        answer = worker.claim("r")
        assert worker.lacking(answer, "k", wait="0.1", timeout=SHORT) == (("k",), False)
        assert worker.park(answer, "k", timeout=SHORT, wait="0.1")[0].answer == "parked"

        def released() -> list[bytes]:
            worker.sweep()
            return worker.deliver()

        assert until(released, "its time is up") == [b"r/0.1"]
        answer = worker.claim("r", leg=1)
        assert worker.lacking(answer, "k", wait="0.1") == (("k",), True)
        assert worker.park(answer, "k", leg=2, wait="0.1")[0].answer == "timeout"
        assert worker.lacking(answer, "other", wait="0.2") == (("other",), False)
        assert worker.park(answer, "other", leg=2, wait="0.2")[0].answer == "parked"
        assert wf.update({"other": 1}).fired == 1
        answer = worker.claim("r", leg=2)
        assert worker.lacking(answer, "k", wait="0.1") == (("k",), True)
        assert worker.lacking(answer, "other", wait="0.2") == ((), False)
        wf.put("k", 1)
        assert worker.lacking(answer, "k", wait="0.1") == ((), False)

    def test_a_look_parks_nothing(self, worker: Worker, wf: WorkflowHandle) -> None:
        answer = worker.claim("r")
        worker.lacking(answer, "k", wait="0.1")
        assert wf.update({"k": 1}).fired == 0
        assert worker.finish(answer) is True

    def test_the_committing_process_publishes_its_own_apps_runs(self, worker: Worker, url: str) -> None:
        elsewhere = Worker(url, app="elsewhere")
        worker.claim_and_park("r", "a")
        elsewhere.claim_and_park("s", "a")
        mine = worker.manager.workflow(WORKFLOW, agent_id="analyst_001")
        assert mine.update({"a": 1}).fired == 2
        assert worker.published == [b"r/0.1"]
        assert worker.deliver() == [b"r/0.1"]
        assert elsewhere.deliver() == [b"s/0.1"]
        assert worker.deliver() == elsewhere.deliver() == []
        elsewhere.manager.close()

    def test_what_the_broker_did_not_take_goes_out_after_the_lease(self, url: str, wf: WorkflowHandle) -> None:
        worker = Worker(url, lease=SHORT, broken=True)
        worker.claim_and_park("r", "a")
        assert worker.manager.workflow(WORKFLOW).update({"a": 1}).fired == 1
        assert worker.deliver() == []
        worker.broken = False
        assert until(worker.deliver, "the lease has ended") == [b"r/0.1"]
        assert worker.deliver() == []
        assert wf["a"] == 1
        worker.manager.close()

    def test_many_runs_that_wait_for_one_key_all_come_back_once(self, worker: Worker, wf: WorkflowHandle) -> None:
        runs = [f"r{number:03}" for number in range(300)]
        for number, run in enumerate(runs):
            worker.claim_and_park(run, all_of("a", "b") if number % 3 else "a")
        wf.put("other", 1)
        result = wf.update({"a": 1})
        assert result.fired == 100
        first = worker.deliver()
        assert len(first) == 100
        assert worker.manager.workflow(WORKFLOW).update({"b": 1}).fired == 200
        assert sorted([*first, *worker.deliver()]) == [f"{run}/0.1".encode() for run in runs]
        worker.sweep()
        assert worker.deliver() == []
        assert wf.update({"a": 2, "b": 2}).fired == 0
