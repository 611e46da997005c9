"""Triggers as a store sees them: a message that is sent once, when its condition holds or its time is up."""
# ruff: noqa: D102, PLR2004, S101 - tests: a name is a sentence, a bare number the expected value

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from ctxqueue import settings
from ctxqueue.errors import (
    AccessDenied,
    CapacityError,
    ConfigurationError,
    InvalidInput,
    WorkflowClosed,
    WorkflowNotFound,
)
from ctxqueue.flows import triggers
from ctxqueue.identity import Attempt, current_attempt
from ctxqueue.rules.conditions import all_of, any_of, at_least, key
from ctxqueue.testing.contract.base import WORKFLOW, Contract, until
from ctxqueue.testing.contract.runs import AGENT, Worker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ctxqueue.context import SharedContextManager, WorkflowHandle

SHORT = 0.03
"""Seconds of a time that is waited for."""


class PlainCanvases:
    """Signatures are bytes already."""

    def __init__(self) -> None:
        self.now_at = 0
        self.causes: dict[str, dict[str, Any]] = {}
        """By run, of those that fire each time."""
        self.depths: list[int] = []
        self.timers: list[tuple[str, float]] = []

    def frozen(self, signature: bytes) -> bytes:
        return signature

    def launch(self, _workflow_id: str, trigger_id: str, *, late: bool) -> bytes:
        return f"{trigger_id} {'late' if late else 'launch'}".encode()

    def launch_again(
        self, _workflow_id: str, trigger_id: str, run_id: str, number: int, cause: dict[str, Any], depth: int
    ) -> bytes:
        self.causes[run_id] = cause
        self.depths.append(depth)
        return f"{trigger_id} again {number} {run_id}".encode()

    def look_later(self, _workflow_id: str, subscription_id: str, seconds: float) -> bytes | None:
        self.timers.append((subscription_id, seconds))
        return f"{subscription_id} later".encode()

    def depth(self) -> int:
        return self.now_at


class Arming(Worker):
    """A process of an app that arms triggers."""

    def __init__(self, url: str, **given: Any) -> None:
        super().__init__(url, **given)
        self.canvases = PlainCanvases()
        self.manager.terms = replace(self.manager.terms, canvases=self.canvases)
        self.wf = self.manager.workflow(WORKFLOW, agent_id=AGENT.agent_id, groups=AGENT.groups)

    def states(self) -> list[str]:
        return [trigger.state for trigger in self.wf.triggers()]

    def released(self) -> list[bytes]:
        """Sweep, and return what was sent."""
        self.sweep()
        return self.deliver()


class Triggers(Contract):
    """when, fire, deadlines, cancel, list."""

    @pytest.fixture
    def arming(self, url: str, wf: WorkflowHandle) -> Iterator[Arming]:
        assert wf.workflow_id == WORKFLOW
        arming = Arming(url)
        yield arming
        arming.manager.close()

    @pytest.mark.parametrize(
        ("condition", "writes", "fired"),
        [
            ("a", ["b", "a", "a"], [0, 1, 0]),
            (all_of("a", any_of("b", "c")), ["c", "a", "b"], [0, 1, 0]),
            (all_of("a", key("b") == 1), ["b", "a"], [0, 1]),
            (at_least(2, "r_*"), ["r_1", "r_2", "r_3"], [0, 1, 0]),
        ],
        ids=str,
    )
    def test_it_fires_once_when_its_condition_comes_true(
        self, arming: Arming, wf: WorkflowHandle, condition: Any, writes: list[str], fired: list[int]
    ) -> None:
        trigger = arming.wf.when(condition).then(b"canvas")
        assert trigger.state == "ARMED"
        assert [wf.update({name: 1}).fired for name in writes] == fired
        assert arming.deliver() == [f"{trigger.id} launch".encode()]
        assert arming.states() == ["FIRED"]

    @pytest.mark.parametrize("condition", ["a", all_of("a", any_of("a", "b")), key("a") > 0], ids=str)
    def test_what_was_there_first_counts(self, arming: Arming, wf: WorkflowHandle, condition: Any) -> None:
        wf.put("a", 1)
        trigger = arming.wf.when(condition).then(b"canvas")
        assert trigger.state == "FIRED"
        assert arming.published == [f"{trigger.id} launch".encode()]
        wf.put("a", 2)
        assert len(arming.deliver()) == 1

    def test_what_is_to_be_launched_and_why(self, arming: Arming, wf: WorkflowHandle) -> None:
        trigger = arming.wf.when(all_of("a", "b")).then(b"canvas", pass_cause=True)
        wf.put("a", 1)
        last = arming.manager.workflow(WORKFLOW, agent_id="other_1").put("b", 1)
        launch = arming.manager.driver.run(triggers.launched(arming.manager.terms, WORKFLOW, trigger.id, late=False))
        assert launch is not None
        assert (launch.canvas, launch.pass_cause, launch.depth) == (b"canvas", True, 1)
        assert launch.cause == {
            "trigger": trigger.id,
            "workflow": WORKFLOW,
            "revision": last.revision,
            "agent": "other_1",
            "keys": ["a", "b"],
        }

    @pytest.mark.parametrize("condition", ["never", key("a") > 5], ids=str)
    def test_its_time_is_up(self, arming: Arming, wf: WorkflowHandle, condition: Any) -> None:
        wf.put("a", 1)
        trigger = arming.wf.when(condition).then(b"canvas", timeout=SHORT, on_timeout=b"late")
        assert until(arming.released, "its time is up") == [f"{trigger.id} late".encode()]
        launch = arming.manager.driver.run(triggers.launched(arming.manager.terms, WORKFLOW, trigger.id, late=True))
        assert launch is not None
        assert launch.canvas == b"late"
        assert launch.cause["missing"] == [str(condition) if isinstance(condition, str) else "a > 5"]
        assert arming.manager.driver.run(triggers.ended(WORKFLOW, trigger.id, "EXPIRED"))
        assert arming.states() == ["EXPIRED"]
        assert wf.update({"never": 1, "a": 6}).fired == 0

    def test_a_firing_that_the_broker_did_not_take_goes_out_again_until_it_is_claimed(
        self, url: str, wf: WorkflowHandle
    ) -> None:
        arming = Arming(url, lease=SHORT, broken=True)
        try:
            trigger = arming.wf.when("a").then(b"canvas")
            arming.manager.workflow(WORKFLOW).put("a", 1)
            arming.broken = False
            message = f"{trigger.id} launch".encode()
            assert until(arming.released, "it goes out") == [message]
            assert set(until(arming.released, "nobody has claimed it")) == {message}
            assert arming.claim(trigger.id).word == "run"
            until(lambda: arming.manager.cleanup_expired_contexts().scanned == 0, "nothing is due")
            assert wf.get("a") is not None
        finally:
            arming.manager.close()

    def test_one_that_is_called_off_does_not_fire(self, arming: Arming, wf: WorkflowHandle) -> None:
        first, second = (arming.wf.when("a").then(b"canvas") for _ in range(2))
        judged = arming.wf.when(key("a") > 0).then(b"canvas", timeout=60)
        assert (first.cancel(), first.cancel(), judged.cancel()) == (True, False, True)
        assert wf.update({"a": 1}).fired == 1
        assert arming.deliver() == [f"{second.id} launch".encode()]
        assert second.cancel() is False
        assert sorted(arming.states()) == ["CANCELLED", "CANCELLED", "FIRED"]
        until(lambda: arming.manager.cleanup_expired_contexts().scanned <= 1, "nothing else is due")

    def test_one_is_fired_by_hand(self, arming: Arming, wf: WorkflowHandle) -> None:
        trigger = arming.wf.when("a").then(b"canvas")
        assert (trigger.fire(), trigger.fire()) == (True, False)
        assert arming.deliver() == [f"{trigger.id} launch".encode()]
        assert wf.update({"a": 1}).fired == 0

    def test_an_agent_sees_its_own_and_the_operator_all(self, arming: Arming, manager: SharedContextManager) -> None:
        mine = arming.wf.when(all_of("a", key("b") >= 2)).then(b"canvas")
        (seen,) = arming.wf.triggers()
        assert (seen.id, seen.state, seen.condition, seen.reason) == (mine.id, "ARMED", "a, b >= 2", "")
        assert manager.workflow(WORKFLOW, agent_id="other_1").triggers() == []
        (seen_by_operator,) = manager.workflow(WORKFLOW).triggers()
        assert seen_by_operator.id == mine.id
        assert arming.manager.workflow(WORKFLOW, agent_id="other_1").triggers() == []

    def test_one_that_is_set_aside_says_why(self, arming: Arming, wf: WorkflowHandle) -> None:
        trigger = arming.wf.when("a").then(b"canvas")
        wf.put("a", 1)
        assert arming.manager.driver.run(triggers.ended(WORKFLOW, trigger.id, "FAILED", "no such task")) is True
        (seen,) = arming.wf.triggers()
        assert (seen.state, seen.reason) == ("FAILED", "no such task")
        assert (
            arming.manager.driver.run(triggers.launched(arming.manager.terms, WORKFLOW, trigger.id, late=False)) is None
        )

    def test_of_those_that_have_ended_the_last_are_kept(self, arming: Arming) -> None:
        for _ in range(103):
            arming.wf.when("a").then(b"canvas").cancel()
        armed = arming.wf.when("a").then(b"canvas")
        found = arming.wf.triggers()
        assert len(found) == 101
        assert [each.id for each in found if each.state == "ARMED"] == [armed.id]

    def test_a_body_that_runs_again_arms_nothing_twice(self, arming: Arming) -> None:
        ids = []
        for epoch in (1, 2):
            token = current_attempt.set(Attempt("run", 0, WORKFLOW, epoch))
            try:
                ids.append([arming.wf.when("a").then(b"canvas").id for _ in range(2)])
            finally:
                current_attempt.reset(token)
        assert ids[0] == ids[1]
        assert len(set(ids[0])) == len(arming.wf.triggers()) == 2

    def test_who_waits_for_what_is_drawn(self, arming: Arming, wf: WorkflowHandle) -> None:
        wf.update({"rates": 1, 'odd "key"': 1})
        arming.manager.workflow(WORKFLOW, agent_id="other_1").put("private_notes", 1)
        wf.put("report", 1, depends_on=["rates", "prices"])
        arming.wf.when(all_of("report", "approval")).then(b"canvas")
        arming.wf.when(all_of(key("rates") > 1, at_least(2, "r_*"))).then(b"canvas")
        arming.claim_and_park("r", "revenue")
        mermaid, dot = arming.wf.graph(), arming.wf.graph("dot")
        for text in (mermaid, dot):
            for label in ("rates v1", "report v1", "prices", "approval", "2 of r_*", "revenue"):
                assert label in text
            assert "private_notes" not in text
        assert mermaid.startswith("flowchart LR\n")
        assert "odd #34;key#34; v1" in mermaid
        assert dot.startswith("digraph workflow {")
        assert 'odd \\"key\\" v1' in dot
        assert mermaid.count("waiting ") == dot.count("waiting ") == 3
        assert mermaid.count(" --> ") == 2
        assert mermaid.count(" -.-> ") == dot.count("[style=dashed]") == 5
        with pytest.raises(InvalidInput, match="one of mermaid, dot"):
            arming.wf.graph("svg")

    def test_a_workflow_that_is_closed_calls_them_off(self, arming: Arming, wf: WorkflowHandle) -> None:
        arming.wf.when("a").then(b"canvas", timeout=60)
        arming.wf.when(key("a") > 1).then(b"canvas")
        wf.close()
        assert arming.released() == []
        with pytest.raises(WorkflowClosed):
            arming.wf.when("a").then(b"canvas")
        wf.remove()
        until(lambda: arming.manager.cleanup_expired_contexts().scanned == 0, "nothing is due")

    def test_a_workflow_with_one_is_not_idle(self, url: str, wf: WorkflowHandle) -> None:
        arming = Arming(url, idle_life=SHORT)
        try:
            arming.manager.workflow("other").open()
            arming.wf.when("a").then(b"canvas")
            until(lambda: not _is_there_after_a_sweep(arming, "other"), "an idle one is gone")
            assert wf.update({"a": 1}).fired == 1
        finally:
            arming.manager.close()

    def test_a_loop_of_triggers_ends(self, arming: Arming) -> None:
        arming.canvases.now_at = settings.MAX_TRIGGER_DEPTH
        with pytest.raises(CapacityError, match="trigger 17 in a row"):
            arming.wf.when("a").then(b"canvas")

    def test_what_is_refused(
        self, arming: Arming, manager: SharedContextManager, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with pytest.raises(AccessDenied, match="may not wait for 'api_key'"):
            arming.wf.when("api_key").then(b"canvas")
        with pytest.raises(WorkflowNotFound):
            arming.manager.workflow("unknown").when("a").then(b"canvas")
        with pytest.raises(ConfigurationError, match="belongs to no Celery app"):
            manager.workflow(WORKFLOW).when("a").then(b"canvas")
        monkeypatch.setattr(triggers, "MAX_TRIGGERS", 1)
        arming.wf.when("a").then(b"canvas")
        with pytest.raises(CapacityError, match="has 1 triggers"):
            arming.wf.when("a").then(b"canvas")


def _is_there_after_a_sweep(arming: Arming, workflow_id: str) -> bool:
    arming.sweep()
    try:
        arming.manager.workflow(workflow_id).view()
    except WorkflowNotFound:
        return False
    return True
