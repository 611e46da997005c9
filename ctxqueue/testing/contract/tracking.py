"""Dependencies and notifications by the reference's names: signatures that are kept, functions of this process."""
# ruff: noqa: D102, PLR2004, S101 - tests: a name is a sentence, a bare number the expected value

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from ctxqueue.errors import AccessDenied, CapacityError, ConditionError, InvalidInput, WorkflowNotFound
from ctxqueue.models import Put
from ctxqueue.testing.contract.base import WORKFLOW, Contract, until
from ctxqueue.testing.contract.recurring import Repeating

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ctxqueue.context import SharedContextManager, WorkflowHandle


class Calls:
    """A function, and what it was called with."""

    def __init__(self, *, fails: bool = False) -> None:
        self.seen: list[tuple[str, str, str]] = []
        self._fails = fails
        self._lock = threading.Lock()

    def __call__(self, *given: str) -> None:
        with self._lock:
            self.seen.append(given)  # type: ignore[arg-type]  # three, or the test fails
        if self._fails:
            raise ValueError("it fails")

    def until(self, *expected: tuple[str, str, str]) -> None:
        until(lambda: len(self.seen) >= len(expected), f"it was called {len(expected)} times")
        assert self.seen == list(expected)


class Tracking(Contract):
    """ContextDependencyTracker, ContextNotificationManager."""

    @pytest.fixture
    def repeating(self, url: str, wf: WorkflowHandle) -> Iterator[Repeating]:
        assert wf.workflow_id == WORKFLOW
        repeating = Repeating(url)
        yield repeating
        repeating.manager.close()

    @pytest.fixture
    def other(self, repeating: Repeating) -> WorkflowHandle:
        return repeating.manager.workflow(WORKFLOW, agent_id="other_1")

    def test_a_signature_is_sent_once_all_is_there_that_an_entry_depends_on(
        self, repeating: Repeating, other: WorkflowHandle
    ) -> None:
        other.put("report", 1, depends_on=["revenue", "rates"])
        tracker = repeating.manager.dependency_tracker
        subscription = tracker.register_dependency_callback(WORKFLOW, "report", "revenue", b"canvas")
        assert repeating.manager.dependency_tracker.is_resolved(WORKFLOW, "report") is False
        other.put("revenue", 1)
        assert repeating.launched() == []
        other.put("rates", 1)
        ((sent, number, run),) = repeating.launched()
        assert (sent, number) == (subscription.id, "1")
        assert repeating.canvases.causes[run]["keys"] == ["revenue"]
        assert tracker.is_resolved(WORKFLOW, "report") is True
        other.put("rates", 2)
        assert repeating.launched() == []
        repeating.manager.workflow(WORKFLOW).put("revenue", 2)  # the operator's own counts too
        assert repeating.numbers() == [2]
        other.put("report", 2, depends_on=["revenue", "totals"])
        other.put("revenue", 3)
        assert repeating.launched() == []
        other.put("totals", 1)
        assert repeating.numbers() == [3]
        assert subscription.cancel() is True
        other.put("revenue", 4)
        assert repeating.launched() == []

    def test_what_is_there_already_counts(self, repeating: Repeating, other: WorkflowHandle) -> None:
        other.put("revenue", 1)
        tracker = repeating.manager.dependency_tracker
        tracker.register_dependency_callback(WORKFLOW, "calculator_waiting", "revenue", b"canvas")
        assert repeating.numbers() == [1]
        tracker.register_dependency_callback(WORKFLOW, "calculator_waiting", "rates", b"canvas")
        assert repeating.launched() == []
        other.put("rates", 1)
        assert repeating.numbers() == [1]

    def test_what_depends_on_what(self, repeating: Repeating, other: WorkflowHandle) -> None:
        other.update({"report": Put(1, depends_on=["revenue", "rates"]), "chart": Put(1, depends_on=["report"])})
        tracker = repeating.manager.dependency_tracker
        assert tracker.reverse_dependencies(WORKFLOW) == {"report": {"revenue", "rates"}, "chart": {"report"}}
        assert tracker.dependency_graph(WORKFLOW) == {"revenue": {"report"}, "rates": {"report"}, "report": {"chart"}}
        assert tracker.stale(WORKFLOW) == []
        other.put("report", 2)
        assert tracker.stale(WORKFLOW) == ["chart"]

    def test_a_function_is_called_for_each_key_that_others_change(
        self, manager: SharedContextManager, other: WorkflowHandle
    ) -> None:
        calls, wrong = Calls(), Calls(fails=True)
        subscribe = manager.subscribe_to_context_changes
        subscription = subscribe(WORKFLOW, "analyst_1", ["rates", "revenue_*", "global_day"], calls)
        subscribe(WORKFLOW, "analyst_1", ["rates"], wrong)
        manager.workflow(WORKFLOW, agent_id="analyst_1").put("rates", 1)
        other.put("rates", 2)
        other.put("else", 2)
        calls.until((WORKFLOW, "other_1", "rates"))
        other.put("revenue_1", 2)
        other.put("rates", 3)
        expected = [(WORKFLOW, "other_1", name) for name in ("rates", "revenue_1", "rates")]
        calls.until(*expected)
        wrong.until(expected[0], expected[2])
        other.put("global_day", 1)
        calls.until(*expected, (WORKFLOW, "other_1", "global_day"))
        notices = manager.notification_manager.notification_history(WORKFLOW, "analyst_1")
        assert sorted(each.keys for each in notices) == sorted(
            [("rates",), ("revenue_1",), ("rates",), ("global_day",), ("rates",), ("rates",)]
        )
        assert (subscription.state, subscription.cancel(), subscription.cancel()) == ("ARMED", True, False)
        assert subscription.state == "CANCELLED"
        assert manager.notification_manager.notify_context_update(WORKFLOW, "other_1", ["rates", "else"]) == 1
        wrong.until(expected[0], expected[2], expected[0])
        assert manager.notification_manager.notify_context_update(WORKFLOW, "analyst_1", ["rates"]) == 0
        assert len(calls.seen) == 4

    def test_a_function_is_called_once_what_an_entry_depends_on_is_there(
        self, manager: SharedContextManager, other: WorkflowHandle
    ) -> None:
        other.put("report", 1, depends_on=["revenue", "rates"])
        register = manager.dependency_tracker.register_dependency_callback
        calls, at_once = Calls(), Calls()
        register(WORKFLOW, "report", "revenue", calls)
        other.put("revenue", 1)
        other.put("rates", 1)
        calls.until((WORKFLOW, "report", "revenue"))
        register(WORKFLOW, "waiting", "rates", at_once)
        at_once.until((WORKFLOW, "waiting", "rates"))
        other.put("rates", 2)
        at_once.until(*[(WORKFLOW, "waiting", "rates")] * 2)
        other.put("revenue", 2)
        calls.until(*[(WORKFLOW, "report", "revenue")] * 2)
        update = manager.dependency_tracker.update_dependencies
        assert update(WORKFLOW, "revenue", "other_1") == update(other.open(), "revenue", "other_1") == 1
        calls.until(*[(WORKFLOW, "report", "revenue")] * 4)
        assert update(WORKFLOW, "else", "other_1") == 0

    def test_functions_end_with_the_workflow(self, manager: SharedContextManager, other: WorkflowHandle) -> None:
        subscription = manager.subscribe_to_context_changes(WORKFLOW, "analyst_1", "a", Calls())
        other.remove()
        until(lambda: subscription.state == "CANCELLED", "it has ended")

    def test_what_makes_no_function_is_refused(
        self, manager: SharedContextManager, wf: WorkflowHandle, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def coroutine(*_given: str) -> None: ...

        with pytest.raises(InvalidInput, match="aconnect"):
            wf.subscribe("a", coroutine)
        for given in ({"debounce": 1.0}, {"when": Calls()}):
            with pytest.raises(InvalidInput, match="go with a signature"):
                wf.subscribe("a", Calls(), **given)
        with pytest.raises(AccessDenied):
            wf.subscribe("api_key", Calls())
        with pytest.raises(WorkflowNotFound):
            manager.subscribe_to_context_changes("unknown", "analyst_1", "a", Calls())
        tracker: Any = manager.dependency_tracker
        with pytest.raises(WorkflowNotFound):
            tracker.dependency_graph("unknown")
        with pytest.raises(ConditionError):
            tracker.register_dependency_callback(WORKFLOW, "report", "rates_*", Calls())
        monkeypatch.setattr("ctxqueue.callbacks.MAX_SUBSCRIPTIONS", 1)
        first = wf.subscribe("a", Calls())
        with pytest.raises(CapacityError, match="has 1 functions"):
            wf.subscribe("a", Calls())
        assert first.cancel() is True
        assert wf.subscribe("a", Calls()).cancel() is True
