"""Runs that wait for more than that keys are there: values, counts, staleness."""
# ruff: noqa: D102, PLR2004, S101 - tests: a name is a sentence, a bare number the expected value

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ctxqueue.effects import Rewatch, do
from ctxqueue.errors import AccessDenied, CapacityError, RecordTooNew, WorkflowNotFound
from ctxqueue.flows import committing, judging
from ctxqueue.rules.conditions import all_of, any_of, at_least, in_workflow, key, stale
from ctxqueue.testing.contract.base import WORKFLOW, Contract, until
from ctxqueue.testing.contract.runs import AGENT, Worker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ctxqueue.context import SharedContextManager, WorkflowHandle
    from ctxqueue.effects import Flow

SHORT = 0.03
"""Seconds of a time that is waited for."""


class Judging(Contract):
    """Conditions that are judged in Python."""

    @pytest.fixture
    def worker(self, url: str, wf: WorkflowHandle) -> Iterator[Worker]:
        assert wf.workflow_id == WORKFLOW
        worker = Worker(url)
        yield worker
        worker.manager.close()

    @pytest.mark.parametrize(
        ("needs", "writes", "fired"),
        [
            (key("n") > 5, [("n", 5), ("n", "9"), ("n", 6)], [0, 0, 1]),
            (key("n") >= 5, [("n", 4), ("n", 5), ("n", 6)], [0, 1, 0]),
            (key("n") < 5, [("n", 5), ("m", 1), ("n", 4)], [0, 0, 1]),
            (key("n") == {"a": [1]}, [("n", {"a": []}), ("n", {"a": [1]})], [0, 1]),
            (key("n") != "draft", [("n", "draft"), ("n", "final")], [0, 1]),
            (key("n").in_(["b", "c"]), [("n", "a"), ("n", ["b"]), ("n", "c")], [0, 0, 1]),
            (all_of(key("n") > 1, "m"), [("n", 2), ("m", 1)], [0, 1]),
            (any_of(key("n") > 1, "m"), [("n", 1), ("m", 1)], [0, 1]),
            (at_least(2, "r_*"), [("r_1", 1), ("r_1", 2), ("s_2", 1), ("r_2", 1), ("r_3", 1)], [0, 0, 0, 1, 0]),
            (at_least(1, "r_[ab]?"), [("r_c1", 1), ("r_a", 1), ("r_b1", 1)], [0, 0, 1]),
            (at_least(3, "*"), [("x", 1), ("y", 1), ("z", 1)], [0, 0, 1]),
            (all_of(at_least(1, "r_*"), at_least(1, "s_*")), [("r_1", 1), ("s_1", 1)], [0, 1]),
        ],
        ids=str,
    )
    def test_conditions_on_more_than_presence(
        self, worker: Worker, wf: WorkflowHandle, needs: Any, writes: list[tuple[str, Any]], fired: list[int]
    ) -> None:
        worker.claim_and_park("r", needs)
        assert [wf.update({name: value}, merge_strategy="replace").fired for name, value in writes] == fired
        assert worker.deliver() == [b"r/0.1"]
        back = worker.claim("r", leg=1, needs=needs)
        assert (back.word, back.missing) == ("run", ())
        until(lambda: worker.manager.cleanup_expired_contexts().scanned == 0, "nothing is due")

    def test_what_holds_already_parks_nothing(self, worker: Worker, wf: WorkflowHandle) -> None:
        wf.update({"n": 6, "r_1": 1, "r_2": 1})
        answer = worker.claim("r", needs=all_of(key("n") > 5, at_least(2, "r_*")))
        assert (answer.word, answer.missing) == ("run", ())

    def test_a_value_that_is_written_over_before_the_run_comes_back_is_waited_for_again(
        self, worker: Worker, wf: WorkflowHandle
    ) -> None:
        needs = all_of("there", key("n") > 5)
        worker.claim_and_park("r", needs)
        wf.update({"n": 6, "there": 1})
        wf.update({"n": 5, "there": 2})
        assert worker.deliver() == [b"r/0.1"]
        back = worker.claim("r", leg=1, needs=needs)
        assert (back.word, back.missing) == ("run", ("n > 5",))
        assert worker.park(back, needs, leg=2)[0].answer == "parked"
        wf.put("n", 7)
        assert worker.deliver() == [b"r/0.2"]
        assert worker.claim("r", leg=2, needs=needs).missing == ()

    def test_what_is_missing_is_named(self, worker: Worker, wf: WorkflowHandle) -> None:
        wf.update({"n": 5, "r_1": 1, "there": 1})
        answer = worker.claim("r", needs=all_of("there", key("n") > 5, at_least(2, "r_*"), stale("report")))
        assert answer.missing == ("n > 5", "2 of r_*", "report stale")

    def test_a_run_waits_for_an_entry_to_become_stale(self, worker: Worker, wf: WorkflowHandle) -> None:
        wf.update({"rates": 1, "revenue": 1})
        wf.put("report", 1, depends_on=["rates"])
        worker.claim_and_park("r", stale("report"))
        assert wf.update({"revenue": 2}).fired == 0
        wf.put("report", 2, depends_on=["revenue"])
        assert wf.update({"rates": 2}).fired == 0
        assert wf.update({"revenue": 3}).fired == 1

    def test_what_was_written_between_the_look_and_the_parking_counts(self, worker: Worker, wf: WorkflowHandle) -> None:
        answer = worker.claim("r", needs=key("n") > 5)
        wf.put("n", 6)
        worker.park(answer, key("n") > 5)
        assert worker.deliver() == [b"r/0.1"]

    def test_what_a_writer_that_died_did_not_look_at_is_looked_at_by_the_sweep(
        self, url: str, wf: WorkflowHandle, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def died(*_given: object) -> Flow[int]:
            yield from ()
            return 0

        worker = Worker(url, lease=SHORT)
        try:
            assert wf.workflow_id == WORKFLOW
            worker.claim_and_park("r", key("n") > 5)
            with monkeypatch.context() as dying:
                dying.setattr(committing, "judge", died)
                worker.manager.workflow(WORKFLOW).put("n", 6)
            assert worker.deliver() == []

            def released() -> list[bytes]:
                worker.sweep()
                return worker.deliver()

            assert until(released, "the sweep has looked") == [b"r/0.1"]
        finally:
            worker.manager.close()

    def test_what_this_process_cannot_read_is_left_to_another_and_the_commit_stands(
        self, url: str, wf: WorkflowHandle, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def too_new(_kept: bytes) -> Any:
            raise RecordTooNew("a later version has written it")

        worker = Worker(url, lease=SHORT)
        try:
            worker.claim_and_park("r", key("n") > 5)
            with monkeypatch.context() as earlier:
                earlier.setattr(judging, "judge_of", too_new)
                assert worker.manager.workflow(WORKFLOW).update({"n": 6}).fired == 0
                worker.sweep()
            assert wf["n"] == 6

            def released() -> list[bytes]:
                worker.sweep()
                return worker.deliver()

            assert until(released, "another sweep has looked") == [b"r/0.1"]
        finally:
            worker.manager.close()

    def test_a_write_after_the_look_is_looked_at_again(self, worker: Worker, wf: WorkflowHandle) -> None:
        worker.claim_and_park("r", key("n") > 5)
        flow = judging.judge(worker.manager.terms, WORKFLOW, "r")
        perform = worker.manager.store.perform
        effect = next(flow)
        effect = flow.send(perform(effect))
        seen = perform(effect)
        wf.put("n", 6)
        published = len(worker.deliver())
        fired = None
        try:
            effect = flow.send(seen)
            while True:
                effect = flow.send(perform(effect))
        except StopIteration as stop:
            fired = stop.value
        assert (published, fired) == (1, 0)

    def test_a_deadline_ends_the_wait(self, worker: Worker, wf: WorkflowHandle) -> None:
        def released() -> list[bytes]:
            worker.sweep()
            return worker.deliver()

        answer = worker.claim("r", needs=key("n") > 5)
        armed, _ = worker.park(answer, key("n") > 5, timeout=SHORT)
        assert armed.answer == "parked"
        assert until(released, "its time is up") == [b"r/0.1"]
        back = worker.claim("r", leg=1, needs=key("n") > 5)
        assert back.missing == ("n > 5",)
        assert worker.park(back, key("n") > 5, leg=2)[0].answer == "timeout"
        assert wf.update({"n": 6}).fired == 0

    def test_a_workflow_that_is_closed_ends_the_wait(self, worker: Worker, wf: WorkflowHandle) -> None:
        worker.claim_and_park("r", key("n") > 5)
        wf.close()
        worker.sweep()
        assert worker.deliver() == [b"r/0.1"]
        until(lambda: worker.manager.cleanup_expired_contexts().scanned == 0, "nothing is due")

    def test_an_agent_waits_for_what_it_sees(self, worker: Worker, manager: SharedContextManager) -> None:
        worker.claim_and_park("r", any_of(key("n") > 5, at_least(2, "r_*")))
        other = manager.workflow(WORKFLOW, agent_id="other_1")
        other.put("n", 6, scope="private")
        other.update({"r_1": 1})
        other.put("r_2", 1, sensitive=True)
        other.put("n", 7, sensitive=True)
        assert worker.deliver() == []
        mine = manager.workflow(WORKFLOW, agent_id=AGENT.agent_id, groups=AGENT.groups)
        mine.put("n", 6, scope="agent_group", group="audit")
        assert worker.deliver() == [b"r/0.1"]

    def test_nobody_waits_for_a_value_that_it_may_not_read(self, worker: Worker) -> None:
        with pytest.raises(AccessDenied, match="may not wait for 'api_key'"):
            worker.claim("r", needs=key("api_key") == "guess")

    @pytest.mark.parametrize(
        ("needs", "writes"),
        [
            (all_of("a", in_workflow("other", "b")), [(WORKFLOW, "a"), ("other", "b")]),
            (all_of("a", in_workflow("other", "b")), [("other", "b"), (WORKFLOW, "a")]),
            (in_workflow("other", all_of("a", key("b") > 0)), [("other", "b"), (WORKFLOW, "a"), ("other", "a")]),
            (all_of("a", "global_rates"), [(WORKFLOW, "a"), (WORKFLOW, "global_rates")]),
            (key("global_rates") > 0, [(WORKFLOW, "a"), (WORKFLOW, "global_rates")]),
            (all_of(in_workflow("other", "a"), in_workflow("third", "a")), [("third", "a"), ("other", "a")]),
            (in_workflow("other", at_least(2, "r_*")), [("other", "r_1"), (WORKFLOW, "r_2"), ("other", "r_2")]),
        ],
        ids=lambda given: ", ".join("/".join(pair) for pair in given) if isinstance(given, list) else str(given)[:8],
    )
    def test_what_is_in_other_workflows(
        self, worker: Worker, manager: SharedContextManager, needs: Any, writes: list[tuple[str, str]]
    ) -> None:
        for name in ("other", "third"):
            manager.workflow(name).open()
        worker.claim_and_park("r", needs)
        for name, written in writes:
            assert worker.deliver() == []
            manager.workflow(name, agent_id="other_1").put(written, 1)
            worker.sweep()
        assert worker.deliver() == [b"r/0.1"]
        back = worker.claim("r", leg=1, needs=needs)
        assert (back.word, back.missing) == ("run", ())
        assert worker.finish(back) is True
        until(lambda: worker.manager.cleanup_expired_contexts().scanned == 0, "nothing is due")

    def test_a_workflow_that_is_not_there_is_named(self, worker: Worker) -> None:
        with pytest.raises(WorkflowNotFound, match="nowhere"):
            worker.claim("r", needs=in_workflow("nowhere", "a"))

    def test_another_workflow_that_is_removed_is_waited_for_in_vain(
        self, worker: Worker, manager: SharedContextManager
    ) -> None:
        other = manager.workflow("other")
        other.open()
        needs = all_of("a", in_workflow("other", "b"))
        worker.claim_and_park("r", needs)
        other.remove()
        worker.sweep()
        manager.workflow(WORKFLOW).put("a", 1)
        assert worker.deliver() == []
        assert worker.claim("r").word == "parked"
        manager.workflow(WORKFLOW).close()
        worker.sweep()
        assert worker.deliver() == [b"r/0.1"]

    def test_an_agent_waits_elsewhere_too_for_what_it_sees(self, worker: Worker, manager: SharedContextManager) -> None:
        other = manager.workflow("other", agent_id="other_1")
        other.open()
        worker.claim_and_park("r", in_workflow("other", "a"))
        other.put("a", 1, scope="private")
        other.put("a", 1, sensitive=True)
        assert worker.deliver() == []
        other.put("a", 1)
        assert worker.deliver() == [b"r/0.1"]

    def test_many_runs_that_are_judged_all_come_back_once(self, worker: Worker, wf: WorkflowHandle) -> None:
        for number in range(120):
            worker.claim_and_park(f"r{number}", key("n") > (5 if number % 2 else 50))
        assert wf.update({"n": 5}, merge_strategy="replace").fired == 0
        assert wf.update({"n": 6}, merge_strategy="replace").fired == 60
        assert wf.update({"n": 51}, merge_strategy="replace").fired == 60
        assert sorted(worker.deliver()) == sorted(f"r{number}/0.1".encode() for number in range(120))

    def test_patterns_are_bounded(self, worker: Worker, wf: WorkflowHandle) -> None:
        for number in range(50):
            worker.claim_and_park(f"r{number}", at_least(1, f"p{number}_*"))
        with pytest.raises(CapacityError, match="different patterns"):
            worker.park(worker.claim("more"), at_least(1, "other_*"))
        worker.park(worker.claim("exact"), key("n") > 5)
        assert wf.update({"p7_x": 1, "n": 6}).fired == 2

    def test_patterns_of_another_workflow_are_bounded_there(
        self, worker: Worker, manager: SharedContextManager
    ) -> None:
        other = manager.workflow("other")
        other.open()
        for number in range(50):
            worker.claim_and_park(f"r{number}", in_workflow("other", at_least(1, f"p{number}_*")))
        one_more = in_workflow("other", at_least(1, "more_*"))
        with pytest.raises(CapacityError, match="'other' is waited on by as many different patterns"):
            worker.park(worker.claim("more"), one_more)
        with pytest.raises(CapacityError, match="'other' is waited on"):
            manager.workflow(WORKFLOW).wait_for(one_more)
        worker.park(worker.claim("again"), in_workflow("other", at_least(2, "p7_*")))
        worker.park(worker.claim("exact"), in_workflow("other", "more_1"))
        assert other.update({"p7_x": 1, "more_1": 1}).fired == 2
        assert worker.claim("more").word != "parked"

    def test_an_entry_that_expires_uncovers_what_is_waited_for(
        self, worker: Worker, manager: SharedContextManager
    ) -> None:
        mine = manager.workflow(WORKFLOW, agent_id=AGENT.agent_id)
        manager.workflow(WORKFLOW, agent_id="other_1").put("n", 6)
        mine.put("n", 1, scope="private", ttl=SHORT)
        worker.claim_and_park("r", any_of(key("n") > 5, at_least(1, "r_*")))

        def released() -> list[bytes]:
            worker.sweep()
            return worker.deliver()

        assert until(released, "its own entry has expired") == [b"r/0.1"]
        until(lambda: worker.manager.cleanup_expired_contexts().scanned <= 1, "nothing else is due")

    def test_a_run_that_waits_no_more_is_not_watched(self, worker: Worker, wf: WorkflowHandle) -> None:
        worker.claim_and_park("r", key("n") > 5)
        wf.put("n", 6)
        assert worker.manager.driver.run(do(Rewatch(WORKFLOW, "r", (), 1))).answer == "gone"
