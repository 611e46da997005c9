"""Coordination whose parts are overtaken: by another look, by a crash between two effects, by a workflow's end."""
# ruff: noqa: D102, PLR2004, S101 - tests: a name is a sentence, a bare number the expected value

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from ctxqueue.effects import Effect, Fire, Load, RestAfar, WatchAfar, do
from ctxqueue.errors import CapacityError, DependencyTimeout, WorkflowNotFound
from ctxqueue.flows import committing, judging, looking, triggers
from ctxqueue.rules.conditions import all_of, any_of, at_least, in_workflow, key
from ctxqueue.rules.dependencies import watcher
from ctxqueue.testing.contract.base import WORKFLOW, Contract, until
from ctxqueue.testing.contract.runs import AGENT
from ctxqueue.testing.contract.triggers import Arming

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ctxqueue.context import SharedContextManager, WorkflowHandle
    from ctxqueue.effects import Flow

SHORT = 0.03
"""Seconds of a time that is waited for."""


class Overtaken(Contract):
    """Waits and triggers between two effects."""

    @pytest.fixture
    def arming(self, url: str, wf: WorkflowHandle) -> Iterator[Arming]:
        assert wf.workflow_id == WORKFLOW
        arming = Arming(url)
        yield arming
        arming.manager.close()

    @pytest.fixture
    def nobody_looks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let whoever commits die before it judges."""

        def died(*_given: object) -> Flow[int]:
            yield from ()
            return 0

        monkeypatch.setattr(committing, "judge", died)

    # --- the end of a workflow ---------------------------------------------------------------------------------

    def test_a_trigger_that_is_judged_after_the_close_does_not_fire(self, arming: Arming, wf: WorkflowHandle) -> None:
        other = arming.manager.workflow("other")
        other.open()
        arming.wf.when(all_of("a", in_workflow("other", "b"))).then(b"canvas")
        wf.close()
        other.put("b", 1)
        assert arming.deliver() == []
        assert arming.released() == []
        assert arming.states() == ["CANCELLED"]

    def test_a_trigger_that_a_close_called_off_is_listed_so(self, arming: Arming, wf: WorkflowHandle) -> None:
        arming.wf.when("a").then(b"canvas", timeout=60)
        wf.close()
        assert arming.released() == []
        (trigger,) = arming.wf.triggers()
        assert (trigger.state, bool(trigger.reason)) == ("CANCELLED", True)

    @pytest.mark.usefixtures("nobody_looks")
    @pytest.mark.parametrize("removed", [True, False])
    def test_a_run_that_was_told_of_a_write_and_not_looked_at_learns_of_the_end(
        self, arming: Arming, wf: WorkflowHandle, *, removed: bool
    ) -> None:
        arming.claim_and_park("r", key("n") > 5)
        trigger = arming.wf.when(key("n") > 5).then(b"canvas")
        wf.put("n", 6)
        (wf.remove if removed else wf.close)()
        assert until(arming.released, "it is told") == [b"r/0.1"]
        assert trigger.cancel() is False

    def test_a_run_in_a_workflow_that_many_others_watch_learns_of_the_end(
        self, arming: Arming, manager: SharedContextManager
    ) -> None:
        other = manager.workflow("other")
        other.open()
        for number in range(230):
            arming.claim_and_park(f"r{number}", in_workflow("other", "a"))
        arming.wf.when("never").then(b"canvas")
        arming.park(arming.claim("last", workflow_id="other"), "z")
        other.remove()
        assert until(arming.released, "it is told") == [b"last/0.1"]

    # --- other workflows ---------------------------------------------------------------------------------------

    @pytest.mark.parametrize("late", [True, False])
    def test_what_a_trigger_sends_does_not_hang_on_the_other_workflow(
        self, arming: Arming, manager: SharedContextManager, *, late: bool
    ) -> None:
        other = manager.workflow("other")
        other.open()
        trigger = arming.wf.when(in_workflow("other", "b")).then(b"canvas", timeout=60, on_timeout=b"late")
        if not late:
            other.put("b", 1)
        other.remove()
        until(lambda: manager.cleanup_expired_contexts().scanned <= 2, "it is gone")
        launch = arming.manager.driver.run(triggers.launched(arming.manager.terms, WORKFLOW, trigger.id, late=late))
        assert launch is not None
        assert launch.canvas == (b"late" if late else b"canvas")

    def test_an_older_message_that_comes_again_does_not_end_the_watch_of_a_run_that_is_parked_again(
        self, arming: Arming, manager: SharedContextManager
    ) -> None:
        other = manager.workflow("other", agent_id="other_1")
        other.open()
        needs = in_workflow("other", "b")
        arming.claim_and_park("r", needs)
        other.put("b", 1)
        assert arming.deliver() == [b"r/0.1"]
        other.delete("b")
        back = arming.claim("r", leg=1, needs=needs)
        assert back.missing == ("other: b",)
        assert arming.park(back, needs, leg=2)[0].answer == "parked"
        assert arming.claim("r", leg=1, needs=needs).word == "parked"
        other.put("b", 2)
        assert arming.deliver() == [b"r/0.2"]

    def test_who_dies_between_forgetting_another_workflow_and_firing_loses_nothing(
        self, url: str, manager: SharedContextManager, wf: WorkflowHandle, nobody_looks: None
    ) -> None:
        assert (wf.workflow_id, nobody_looks) == (WORKFLOW, None)
        arming = Arming(url, lease=SHORT)
        try:
            other = manager.workflow("other", agent_id="other_1")
            other.open()
            arming.claim_and_park("r", in_workflow("other", "b"))
            other.put("b", 1)
            name = f"\1{WORKFLOW}\1r"
            _die_before(arming, judging.judge(arming.manager.terms, "other", name), Fire)
            assert until(arming.released, "the sweep has looked") == [b"r/0.1"]
        finally:
            arming.manager.close()

    def test_nothing_is_left_of_runs_that_waited_for_another_workflow(
        self, arming: Arming, manager: SharedContextManager
    ) -> None:
        other = manager.workflow("other", agent_id="other_1")
        other.open()
        needs = in_workflow("other", any_of("b", "c", at_least(2, "d_*")))
        armed, _ = arming.park(arming.claim("r"), needs, timeout=SHORT, wait="0.1")
        assert armed.answer == "parked"
        until(arming.released, "its time is up")
        name, place = watcher(WORKFLOW, "r"), "w\0\0c"
        assert arming.manager.driver.run(do(RestAfar("other", name, (place,), 1))) is True
        arming.manager.driver.run(judging.judge(arming.manager.terms, "other", name))
        assert arming.manager.driver.run(do(RestAfar("other", name, (place,), 1))) is False
        arming.sweep()
        other.put("b", 1)
        for name in ("c", "d_1"):
            assert other.update({name: 1}).fired == 0
        other.remove()
        until(lambda: manager.cleanup_expired_contexts().scanned <= 1, "it is gone")

    @pytest.mark.parametrize("runs", [3, 60, 230])
    def test_what_a_deletion_brings_to_light_wakes_all_that_wait_for_it(
        self, arming: Arming, manager: SharedContextManager, runs: int
    ) -> None:
        manager.workflow(WORKFLOW, agent_id="other_1").put("n", 6)
        own = manager.workflow(WORKFLOW, agent_id=AGENT.agent_id)
        own.put("n", 1, scope="private")
        for number in range(runs):
            arming.claim_and_park(f"r{number}", key("n") > 5)
        assert own.delete("n", scope="private") is True
        assert sorted(arming.deliver()) == sorted(f"r{number}/0.1".encode() for number in range(runs))

    # --- two who look ------------------------------------------------------------------------------------------

    def test_who_looked_before_a_write_does_not_end_the_look_of_who_came_after_and_died(
        self, url: str, wf: WorkflowHandle, nobody_looks: None
    ) -> None:
        assert (wf.workflow_id, nobody_looks) == (WORKFLOW, None)
        arming = Arming(url, lease=SHORT)
        try:
            arming.claim_and_park("r", key("n") > 5)
            early = judging.judge(arming.manager.terms, WORKFLOW, "r")
            pending = _advance(arming, early, Load)
            arming.manager.workflow(WORKFLOW).put("n", 6)
            _die_before(arming, judging.judge(arming.manager.terms, WORKFLOW, "r"), Load)
            _finish(arming, early, pending)
            assert until(lambda: arming.deliver() or arming.released(), "somebody looks") == [b"r/0.1"]
        finally:
            arming.manager.close()

    @pytest.mark.parametrize("step", [WatchAfar, Load, RestAfar])
    def test_a_write_in_another_workflow_is_seen_whichever_step_of_a_look_it_comes_before(
        self, url: str, manager: SharedContextManager, wf: WorkflowHandle, nobody_looks: None, step: type[Effect[Any]]
    ) -> None:
        assert (wf.workflow_id, nobody_looks) == (WORKFLOW, None)
        arming = Arming(url, lease=SHORT)
        try:
            other = manager.workflow("other", agent_id="other_1")
            other.open()
            arming.claim_and_park("r", in_workflow("other", key("b") > 5))
            other.put("b", 1)  # from here on nobody there knows who waits, until the look says so anew
            looks = judging.judge(arming.manager.terms, "other", f"\1{WORKFLOW}\1r")
            effect = next(looks)
            while not isinstance(effect, step):
                effect = looks.send(arming.manager.driver.run(do(effect)))
            other.put("b", 6)
            _finish(arming, looks, arming.manager.driver.run(do(effect)))
            assert until(lambda: arming.deliver() or arming.released(), "it is let go") == [b"r/0.1"]
        finally:
            arming.manager.close()

    def test_a_body_that_goes_on_although_it_was_parked_ends_nothing(self, arming: Arming, wf: WorkflowHandle) -> None:
        answer = arming.claim("r")
        assert arming.park(answer, "a", wait="0.1")[0].answer == "parked"
        assert arming.finish(answer) is False
        wf.put("a", 1)
        assert arming.deliver() == [b"r/0.1"]
        assert arming.finish(answer) is False
        back = arming.claim("r", leg=1)
        assert (back.word, arming.finish(back)) == ("run", True)

    # --- deletions ---------------------------------------------------------------------------------------------

    def test_what_comes_to_be_seen_by_a_deletion_wakes(self, arming: Arming, manager: SharedContextManager) -> None:
        mine = manager.workflow(WORKFLOW, agent_id=AGENT.agent_id)
        mine.put("n", 6)
        mine.put("n", 1, scope="private")
        arming.claim_and_park("r", key("n") > 5)
        mine.delete("n", scope="private")
        assert arming.deliver() == [b"r/0.1"]

    # --- bounds ------------------------------------------------------------------------------------------------

    def test_a_condition_of_very_many_addresses(self, arming: Arming, wf: WorkflowHandle) -> None:
        many = tuple(f"group_{number}" for number in range(12))
        names = [f"k{number}" for number in range(999)]
        mine = arming.manager.workflow(WORKFLOW, agent_id="member_1", groups=many)
        mine.when(all_of(*names, key("n") > 5)).then(b"canvas")
        for first in range(0, len(names), 200):
            wf.update(dict.fromkeys(names[first : first + 200], 1))
        assert arming.deliver() == []
        wf.put("n", 6)
        assert len(arming.deliver()) == 1

    def test_a_pattern_that_is_waited_on_already_is_no_further_one(self, arming: Arming, wf: WorkflowHandle) -> None:
        for number in range(50):
            arming.claim_and_park(f"r{number}", at_least(1, f"p{number}_*"))
        arming.claim_and_park("again", at_least(2, "p7_*"))
        with pytest.raises(CapacityError, match="different patterns"):
            arming.park(arming.claim("more"), at_least(1, "other_*"))
        assert wf.update({"p7_x": 1}).fired == 1

    def test_a_condition_brings_no_more_patterns_than_there_may_be(self, arming: Arming) -> None:
        with pytest.raises(CapacityError, match="different patterns"):
            arming.claim_and_park("r", any_of(*(at_least(1, f"p{number}_*") for number in range(51))))

    def test_a_run_that_was_not_parked_for_its_pattern_does_not_keep_the_workflow(
        self, arming: Arming, wf: WorkflowHandle, manager: SharedContextManager
    ) -> None:
        for number in range(50):
            arming.claim_and_park(f"r{number}", at_least(1, f"p{number}_*"))
        with pytest.raises(CapacityError, match="different patterns"):
            arming.park(arming.claim("more"), at_least(1, "other_*"))
        wf.remove()
        until(lambda: manager.cleanup_expired_contexts().scanned <= 50, "it is gone")

    def test_a_run_that_waits_for_other_workflows_alone_is_looked_at_once(
        self, arming: Arming, manager: SharedContextManager, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        manager.workflow("other").open()
        answer = arming.claim("r")
        performed = []
        plain = arming.manager.driver.run
        perform = arming.manager.store.perform

        def counted(effect: Effect[Any]) -> Any:
            performed.append(effect)
            return perform(effect)

        monkeypatch.setattr(arming.manager.store, "perform", counted)
        assert plain is not None
        arming.park(answer, in_workflow("other", "a"))
        assert len(performed) < 15
        until(lambda: manager.cleanup_expired_contexts().scanned == 0, "nothing is due")

    # --- callers -----------------------------------------------------------------------------------------------

    def test_a_caller_that_may_not_see_what_came_does_not_look_all_the_time(
        self, wf: WorkflowHandle, manager: SharedContextManager, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        manager.workflow(WORKFLOW, agent_id="other_1").put("a", 1, sensitive=True)
        looks = _counted(monkeypatch)
        with pytest.raises(DependencyTimeout):
            wf.wait_for("a", timeout=0.6)
        assert len(looks) < 20

    def test_a_caller_is_told_at_once_that_another_workflow_is_not_there(
        self, wf: WorkflowHandle, manager: SharedContextManager
    ) -> None:
        began = time.monotonic()
        with pytest.raises(WorkflowNotFound, match="nowhere"):
            wf.wait_for(all_of("a", in_workflow("nowhere", "b")), timeout=5)
        assert time.monotonic() - began < 4
        assert wf.put("a", 1).revision
        until(lambda: manager.cleanup_expired_contexts().scanned == 0, "nothing is due")

    def test_operands_of_sensitive_keys_are_not_shown(self) -> None:
        assert "hunter2" not in str(key("api_key") == "hunter2")
        assert str(key("status") == "final") == "status == 'final'"


def _counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    looks: list[int] = []
    plain = looking.lacking

    def lacking(*given: Any) -> Flow[tuple[str, ...]]:
        looks.append(1)
        return plain(*given)

    monkeypatch.setattr(looking, "lacking", lacking)
    return looks


def _advance(arming: Arming, flow: Flow[Any], past: type[Effect[Any]]) -> Any:
    """Carry out a flow through its first effect of a kind, and return what that is to be answered."""
    effect = next(flow)
    while not isinstance(effect, past):
        effect = flow.send(arming.manager.store.perform(effect))
    return arming.manager.store.perform(effect)


def _die_before(arming: Arming, flow: Flow[Any], kind: type[Effect[Any]]) -> None:
    """Carry out a flow up to its first effect of a kind."""
    effect = next(flow)
    while not isinstance(effect, kind):
        effect = flow.send(arming.manager.store.perform(effect))
    flow.close()


def _finish(arming: Arming, flow: Flow[Any], answer: Any) -> Any:
    try:
        effect = flow.send(answer)
        while True:
            effect = flow.send(arming.manager.driver.run(do(effect)))
    except StopIteration as stop:
        return stop.value
