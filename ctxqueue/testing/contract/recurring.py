"""Triggers that fire each time, as a store sees them."""
# ruff: noqa: D102, PLR2004, S101 - tests: a name is a sentence, a bare number the expected value

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ctxqueue import settings
from ctxqueue.effects import Firing, Outgoing, Recur, Rewatch
from ctxqueue.errors import CapacityError, WorkflowNotFound
from ctxqueue.flows import recurring
from ctxqueue.identity import Attempt, current_attempt
from ctxqueue.rules.conditions import all_of, at_least, in_workflow, key, stale
from ctxqueue.testing.contract.base import WORKFLOW, Contract, until
from ctxqueue.testing.contract.triggers import SHORT, Arming

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ctxqueue.context import SharedContextManager, WorkflowHandle


class Repeating(Arming):
    """A process of an app, and what it has launched."""

    def launched(self) -> list[list[str]]:
        """Return trigger, number and run of what was sent since the last call."""
        sent = [message.decode().split() for message in self.deliver()]
        return [[trigger, number, run] for trigger, what, number, run in (each for each in sent if len(each) == 4)]

    def numbers(self) -> list[int]:
        return [int(number) for _, number, _ in self.launched()]

    def end(self, trigger_id: str, number: int, *, parts: tuple[int, ...] = (0,), of: int = 1) -> int:
        """Do what the last task does."""
        flow = recurring.run_ended(self.manager.terms, WORKFLOW, trigger_id, number, parts, of)
        return self.manager.driver.run(flow)


class Recurring(Contract):
    """Triggers with ``every``."""

    @pytest.fixture
    def repeating(self, url: str, wf: WorkflowHandle) -> Iterator[Repeating]:
        assert wf.workflow_id == WORKFLOW
        repeating = Repeating(url)
        yield repeating
        repeating.manager.close()

    @pytest.fixture
    def other(self, repeating: Repeating) -> WorkflowHandle:
        return repeating.manager.workflow(WORKFLOW, agent_id="other_1")

    def test_a_trigger_fires_each_time(self, repeating: Repeating, other: WorkflowHandle) -> None:
        trigger = repeating.wf.when(all_of("a", key("b") > 1)).then(b"canvas", every=True)
        assert trigger.state == "ARMED"
        assert [other.update({name: value}, merge_strategy="replace").fired for name, value in _WRITES] == [0, 1]
        ((sent, number, run),) = repeating.launched()
        assert (sent, number) == (trigger.id, "1")
        assert repeating.states() == ["RUNNING"]
        assert repeating.canvases.causes[run] == {
            "trigger": trigger.id,
            "workflow": WORKFLOW,
            "revision": 2,
            "agent": "other_1",
            "keys": ["a", "b"],
        }
        assert repeating.end(trigger.id, 1) == 0
        assert repeating.states() == ["ARMED"]
        assert other.update({"b": 3}, merge_strategy="replace").fired == 1
        assert repeating.numbers() == [2]
        assert repeating.end(trigger.id, 2) == 0
        assert other.update({"b": 1}, merge_strategy="replace").fired == 0
        assert other.update({"c": 1}).fired == 0
        assert other.update({"b": 2}, merge_strategy="replace").fired == 1

    def test_what_changes_while_it_runs_brings_one_more_run(self, repeating: Repeating, other: WorkflowHandle) -> None:
        other.put("a", 1)
        trigger = repeating.wf.when("a").then(b"canvas", every=True)
        assert repeating.numbers() == [1]
        for value in range(5):
            assert other.update({"a": value}, merge_strategy="replace").fired == 0
        assert repeating.states() == ["RUNNING"]
        assert [each.state for each in repeating.manager.workflow(WORKFLOW).triggers()] == ["RUNNING_DIRTY"]
        assert repeating.launched() == []
        assert repeating.end(trigger.id, 1) == 1
        assert repeating.numbers() == [2]
        assert repeating.end(trigger.id, 1) == 0  # told again
        assert repeating.states() == ["RUNNING"]
        assert repeating.end(trigger.id, 2) == 0
        assert repeating.launched() == []
        repeating.sweep()
        assert repeating.states() == ["ARMED"]
        assert repeating.launched() == []

    def test_a_look_that_was_overtaken_writes_nothing_and_one_that_comes_twice_fires_once(
        self, repeating: Repeating, other: WorkflowHandle
    ) -> None:
        trigger = repeating.wf.when(key("a") > 5).then(b"canvas", every=True)
        perform = repeating.manager.store.perform
        first, second = (perform(Rewatch(WORKFLOW, trigger.id, (), 1_000, "app")) for _ in range(2))
        message = Outgoing("app\0item\0r\x000.0", b"message")
        firing = Firing("r", message, running_us=60_000_000)

        def recur(turn: int) -> tuple[str, tuple[Outgoing, ...]]:
            reply = perform(Recur(WORKFLOW, trigger.id, turn, b"notes", None, firing, "app", 1_000_000))
            return reply.answer, reply.outgoing

        assert recur(first.turn) == ("moved", ())
        assert recur(second.turn) == ("done", (message,))
        assert recur(second.turn) == ("moved", ())
        assert repeating.states() == ["RUNNING"]
        assert other.update({"a": 9}).fired == 0
        assert perform(Rewatch(WORKFLOW, trigger.id, (), 1_000, "app")).answer == "running"
        assert perform(Rewatch(WORKFLOW, trigger.id, (), 1_000, "another")).answer == "others"
        trigger.cancel()
        assert recur(second.turn) == ("gone", ())

    def test_it_runs_until_each_part_has_ended(self, repeating: Repeating, other: WorkflowHandle) -> None:
        other.put("a", 1)
        trigger = repeating.wf.when("a").then(b"canvas", every=True)
        other.put("a", 2)
        assert [repeating.end(trigger.id, 1, parts=parts, of=3) for parts in ((0,), (0,), (2, 0), (1,))] == [0, 0, 0, 1]

    def test_a_run_of_which_no_end_is_heard_is_given_up(
        self, repeating: Repeating, other: WorkflowHandle, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(recurring, "microseconds", lambda _seconds: int(SHORT * 1_000_000))
        monkeypatch.setattr(recurring, "RUN_LEASES", 0)
        other.put("a", 1)
        trigger = repeating.wf.when("a").then(b"canvas", every=True)
        assert repeating.numbers() == [1]
        other.put("a", 2)

        def again() -> list[int]:
            repeating.sweep()
            return repeating.numbers()

        assert until(again, "the end is not waited for any more") == [2]
        assert repeating.end(trigger.id, 1) == 0
        until(lambda: repeating.states() == ["ARMED"], "nor is that of the second one")
        repeating.sweep()
        assert repeating.launched() == []

    def test_an_entry_that_becomes_stale_is_made_anew_each_time(
        self, repeating: Repeating, other: WorkflowHandle
    ) -> None:
        other.update({"rates": 1})
        other.put("report", 1, depends_on=["rates"])
        trigger = repeating.wf.when(stale("report")).then(b"canvas", every=True)
        for number in (1, 2):
            assert other.update({"rates": number}).fired == 1
            other.put("report", number, depends_on=["rates"])
            assert repeating.end(trigger.id, number) == 0
        assert repeating.numbers() == [1, 2]

    def test_each_that_matches_counts(self, repeating: Repeating, other: WorkflowHandle) -> None:
        trigger = repeating.wf.when(at_least(2, "r_*")).then(b"canvas", every=True)
        fired = []
        for number, name in enumerate(["r_1", "r_2", "r_3", "r_3"]):
            fired.append(other.update({name: number}, merge_strategy="replace").fired)
            repeating.end(trigger.id, number)
        assert fired == [0, 1, 1, 1]
        assert other.delete("r_1") is True
        assert repeating.numbers() == [1, 2, 3, 4]

    def test_keys_of_other_workflows_count(self, repeating: Repeating, manager: SharedContextManager) -> None:
        there = manager.workflow("other", agent_id="other_1")
        there.open()
        trigger = repeating.wf.when(all_of("global_rates", in_workflow("other", "a"))).then(b"canvas", every=True)
        manager.workflow(WORKFLOW, agent_id="other_1").put("global_rates", 1)
        for number in (1, 2, 3):
            there.put("a", number)
            repeating.sweep()
            assert repeating.numbers() == [number]
            assert repeating.end(trigger.id, number) == 0
        assert trigger.cancel() is True
        there.put("a", 4)
        assert repeating.launched() == []
        until(lambda: repeating.manager.cleanup_expired_contexts().scanned <= 3, "only the messages are due")

    def test_its_time_is_up_though_it_fires_each_time(self, repeating: Repeating, other: WorkflowHandle) -> None:
        trigger = repeating.wf.when("a").then(b"canvas", every=True, timeout=SHORT, on_timeout=b"late")
        other.put("a", 1)
        late = f"{trigger.id} late".encode()
        until(lambda: late in repeating.released(), "its time is up")
        assert other.update({"a": 2}).fired == 0
        assert repeating.end(trigger.id, 1) == 0

    def test_one_that_fires_each_time_is_fired_by_hand(self, repeating: Repeating) -> None:
        trigger = repeating.wf.when("a").then(b"canvas", every=True)
        assert (trigger.fire(), trigger.fire()) == (True, False)
        repeating.end(trigger.id, 1)
        assert trigger.fire() is True
        assert repeating.numbers() == [1, 2]
        assert trigger.cancel() is True
        assert repeating.states() == ["CANCELLED"]
        assert (trigger.fire(), trigger.cancel(), repeating.end(trigger.id, 2)) == (False, False, 0)

    def test_a_loop_of_its_own_changes_is_set_aside(self, repeating: Repeating, other: WorkflowHandle) -> None:
        other.put("a", 0)
        trigger = repeating.wf.when("a").then(b"canvas", every=True)
        for number in range(1, 17):
            repeating.canvases.now_at = number
            other.put("a", number)  # by its task
            repeating.end(trigger.id, number)
        (seen,) = repeating.wf.triggers()
        assert seen.state == "FAILED"
        assert "17 in a row" in seen.reason
        assert repeating.canvases.depths == list(range(1, 17))

    def test_what_others_change_while_it_runs_is_no_loop(self, repeating: Repeating, other: WorkflowHandle) -> None:
        other.put("a", 0)
        trigger = repeating.wf.when("a").then(b"canvas", every=True)
        for number in range(1, 20):
            repeating.canvases.now_at = 0
            other.put("a", number)
            repeating.canvases.now_at = 1
            assert repeating.end(trigger.id, number) == 1
        assert set(repeating.canvases.depths) == {1}

    def test_a_process_of_no_app_leaves_it_to_the_next_sweep(
        self, repeating: Repeating, manager: SharedContextManager
    ) -> None:
        repeating.wf.when("a").then(b"canvas", every=True)
        repeating.wf.subscribe("a", b"canvas")
        assert manager.workflow(WORKFLOW).update({"a": 1}).fired == 0
        assert repeating.launched() == []
        repeating.sweep()
        assert repeating.numbers() == [1, 1]

    def test_what_fires_each_time_does_not_keep_a_workflow(self, url: str, wf: WorkflowHandle) -> None:
        repeating = Repeating(url, idle_life=SHORT)
        try:
            wf.remove()
            repeating.wf.open()
            repeating.wf.when("a").then(b"canvas", every=True)
            repeating.wf.subscribe("a*", b"canvas")

            def gone() -> bool:
                repeating.sweep()
                try:
                    repeating.wf.view()
                except WorkflowNotFound:
                    return True
                return False

            until(gone, "the workflow has ended")
            repeating.wf.open()
            assert (repeating.wf.triggers(), repeating.wf.subscriptions()) == ([], [])
        finally:
            repeating.manager.close()

    def test_a_trigger_whose_record_was_trimmed_is_not_armed_again(
        self, repeating: Repeating, other: WorkflowHandle
    ) -> None:
        def body(epoch: int) -> list[str]:
            token = current_attempt.set(Attempt("run", 0, WORKFLOW, epoch))
            try:
                return [repeating.wf.when("a").then(b"canvas").id for _ in range(102)]
            finally:
                current_attempt.reset(token)

        first = body(1)
        assert [each.cancel() for each in repeating.wf.triggers()] == [True] * 102
        assert body(2) == first
        assert other.update({"a": 1}).fired == 0

    def test_triggers_that_fire_each_time_are_bounded(
        self, repeating: Repeating, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert (settings.MAX_RECURRING, settings.MAX_SUBSCRIPTIONS) == (500, 50)
        monkeypatch.setattr("ctxqueue.flows.triggers.MAX_RECURRING", 1)
        repeating.wf.when("a").then(b"canvas", every=True)
        with pytest.raises(CapacityError, match="1 triggers that fire each time"):
            repeating.wf.when("a").then(b"canvas", every=True)


_WRITES: list[tuple[str, Any]] = [("a", 1), ("b", 2)]
