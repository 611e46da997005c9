"""Subscriptions, as a store sees them: what they are told of, and how often."""
# ruff: noqa: D102, PLR2004, S101 - tests: a name is a sentence, a bare number the expected value

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from ctxqueue.effects import Load, Recur, Rewatch
from ctxqueue.errors import AccessDenied, CapacityError, ConfigurationError, InvalidInput, WorkflowNotFound
from ctxqueue.flows import signatures, subscribing
from ctxqueue.flows.subscriptions import Notes
from ctxqueue.identity import Attempt, current_attempt
from ctxqueue.rules.changes import changed_by
from ctxqueue.rules.conditions import key
from ctxqueue.testing.contract.base import WORKFLOW, Contract, until
from ctxqueue.testing.contract.recurring import Repeating
from ctxqueue.testing.contract.runs import AGENT
from ctxqueue.testing.contract.triggers import SHORT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ctxqueue.context import SharedContextManager, WorkflowHandle


def even_revisions(cause: dict[str, Any], _view: Any) -> bool:
    """Choose every second."""
    return bool(cause["revision"] % 2 == 0)


def fails(_cause: dict[str, Any], _view: Any) -> bool:
    """Choose nothing, and say what nobody is to see."""
    raise ValueError("hunter2")


class Subscriptions(Contract):
    """What others change is told to who wants to know."""

    @pytest.fixture
    def repeating(self, url: str, wf: WorkflowHandle) -> Iterator[Repeating]:
        assert wf.workflow_id == WORKFLOW
        repeating = Repeating(url)
        yield repeating
        repeating.manager.close()

    @pytest.fixture
    def other(self, repeating: Repeating) -> WorkflowHandle:
        return repeating.manager.workflow(WORKFLOW, agent_id="other_1")

    def test_others_changes_are_told(self, repeating: Repeating, other: WorkflowHandle) -> None:
        other.update({"a_1": 1, "b": 1})
        subscription = repeating.wf.subscribe(["a_*", "b"], b"canvas")
        assert other.update({"c": 1}).fired == 0
        assert repeating.wf.update({"b": 2}).fired == 0
        assert other.update({"a_2": 1, "b": 3, "c": 2}).fired == 1
        ((_, number, run),) = repeating.launched()
        assert number == "1"
        assert repeating.canvases.causes[run] == {
            "subscription": subscription.id,
            "workflow": WORKFLOW,
            "revision": 4,
            "agent": "other_1",
            "keys": ["a_2", "b"],
        }
        assert other.delete("a_1") is True
        assert repeating.canvases.causes[repeating.launched()[0][2]]["keys"] == ["a_1"]
        (newest, first) = repeating.wf.notifications()
        assert (first.subscription, first.keys, first.revision, first.agent_id) == (
            *(subscription.id, ("a_2", "b"), 4, "other_1"),
        )
        assert newest.keys == ("a_1",)
        assert other.notifications() == []
        assert subscription.cancel() is True
        assert subscription.cancel() is False
        assert other.update({"b": 9}).fired == 0
        assert [each.state for each in repeating.wf.subscriptions()] == ["CANCELLED"]
        assert repeating.wf.triggers() == []

    def test_an_entry_that_expires_is_told(self, repeating: Repeating, other: WorkflowHandle) -> None:
        repeating.wf.subscribe(["late", "l*"], b"canvas")
        other.put("late", 1, ttl=SHORT)
        assert repeating.numbers() == [1]

        def told() -> list[list[str]]:
            repeating.sweep()
            return repeating.launched()

        ((_, _, run),) = until(told, "it has expired")
        assert repeating.canvases.causes[run]["keys"] == ["late"]
        assert repeating.canvases.causes[run]["agent"] == ""

    def test_nobody_is_told_of_what_it_may_not_read(self, repeating: Repeating, other: WorkflowHandle) -> None:
        repeating.wf.subscribe("*", b"canvas")
        other.put("api_key", 1)
        other.put("mine", 1, scope="private")
        other.put("hidden", 1, sensitive=True)
        other.set_agent_state(step=1)
        assert repeating.launched() == []
        colleague = repeating.manager.workflow(WORKFLOW, agent_id="other_2", groups=AGENT.groups)
        colleague.put("seen", 1, scope="agent_group", group="audit")
        (run,) = (run for _, _, run in repeating.launched())
        assert repeating.canvases.causes[run]["keys"] == ["seen"]
        with pytest.raises(AccessDenied, match="may not subscribe to 'api_key'"):
            repeating.wf.subscribe(["a", "api_key"], b"canvas")

    def test_the_global_context_is_told_of(self, repeating: Repeating, other: WorkflowHandle) -> None:
        subscription = repeating.wf.subscribe(["global_*", "a"], b"canvas")
        other.put("global_rates", 1)
        assert repeating.numbers() == [1]
        other.put("global_rates", 2)
        assert repeating.numbers() == [2]
        assert subscription.cancel() is True
        other.put("global_rates", 3)
        assert repeating.launched() == []

    def test_many_quick_changes_are_told_of_once(self, repeating: Repeating, other: WorkflowHandle) -> None:
        repeating.wf.subscribe("n_*", b"canvas", debounce=0.3)
        for number in range(40):
            assert other.update({f"n_{number % 7}": number}, merge_strategy="replace").fired == 0
        asked = [seconds for _, seconds in repeating.canvases.timers]
        assert 0 < len(asked) < 20
        assert max(asked) <= 0.3

        def told() -> list[list[str]]:
            repeating.sweep()
            return repeating.launched()

        ((_, first, run),) = until(told, "it has been quiet")
        assert first == "1"
        assert repeating.canvases.causes[run]["keys"] == [f"n_{each}" for each in range(7)]
        assert repeating.canvases.causes[run]["revision"] == 40
        repeating.sweep()
        assert repeating.launched() == []

    def test_a_number_has_to_change_by_more(self, repeating: Repeating, other: WorkflowHandle) -> None:
        other.put("rates", {"USD": 1.0, "EUR": "2.00", "of": "ecb"})
        repeating.wf.subscribe("rates", b"canvas", when=changed_by(0.01))
        fired = [
            other.update({"rates": {"USD": 1.0 + change}}).fired
            for change in (0.005, 0.01, 0.0101, 0.0101, 0.02, 0.0203)
        ]
        assert fired == [0, 0, 1, 0, 0, 1]
        assert other.update({"rates": {"of": "fed"}}).fired == 0
        assert other.update({"rates": {"EUR": "2.03"}}).fired == 1
        assert other.update({"rates": {"CHF": 1}}).fired == 1
        assert other.delete("rates") is True
        assert repeating.numbers() == [1, 2, 3, 4, 5]

    def test_what_is_sensitive_has_changed_whenever_it_was_written(
        self, repeating: Repeating, manager: SharedContextManager, other: WorkflowHandle
    ) -> None:
        reader = repeating.manager.workflow(WORKFLOW, agent_id="financial_calculator_1")
        other.put("exchange_api_key", 1000)
        reader.subscribe("exchange_api_key", b"canvas", when=changed_by(0.5))
        other.put("exchange_api_key", 1001)
        assert repeating.numbers() == [1]
        assert [each.keys for each in reader.notifications()] == [("exchange_api_key",)]
        by_another_type = manager.workflow(WORKFLOW, agent_id="financial_calculator_1", agent_type="reporter")
        assert by_another_type.notifications() == manager.workflow(WORKFLOW).notifications() == []

    def test_a_condition_or_a_function_may_choose(self, repeating: Repeating, other: WorkflowHandle) -> None:
        first = repeating.wf.subscribe("a", b"canvas", when=key("a") > 5)
        second = repeating.wf.subscribe("a", b"canvas", when=even_revisions)
        for value in (1, 2, 6, 7):
            other.put("a", value)
        sent = [(trigger, number) for trigger, number, _ in repeating.launched()]
        assert sorted(sent) == sorted([(first.id, "1"), (first.id, "2"), (second.id, "1"), (second.id, "2")])

    def test_a_function_that_raises_is_set_aside_and_the_others_go_on(
        self, repeating: Repeating, other: WorkflowHandle
    ) -> None:
        wrong = repeating.wf.subscribe("a", b"canvas", when=fails)
        right = repeating.wf.subscribe("a", b"canvas")
        assert other.update({"a": 1}).fired == 1
        assert [trigger for trigger, _, _ in repeating.launched()] == [right.id]
        reasons = {each.id: (each.state, each.reason) for each in repeating.wf.subscriptions()}
        assert reasons[wrong.id][0] == "FAILED"
        assert reasons[wrong.id][1].startswith("ValueError in ")
        assert "hunter2" not in reasons[wrong.id][1]
        assert reasons[right.id] == ("ARMED", "")
        assert other.update({"a": 2}).fired == 1

    def test_what_the_log_has_no_more_is_told_from_what_stands_there(self, repeating: Repeating) -> None:
        repeating.wf.subscribe("n*", b"canvas")
        small = type(repeating.manager)(repeating.manager.store, {"log_limit": 10})
        for number in range(40):
            small.workflow(WORKFLOW, agent_id="other_1").put(f"n{number}", number)
        repeating.sweep()
        (run,) = (run for _, _, run in repeating.launched())
        assert repeating.canvases.causes[run]["keys"] == sorted(f"n{number}" for number in range(40))

    @pytest.mark.parametrize("reached", [2, 99])
    def test_where_the_server_has_lost_what_was_read_all_that_stands_there_is_told(
        self, repeating: Repeating, other: WorkflowHandle, reached: int
    ) -> None:
        for name in ("n_1", "n_2", "else"):
            other.put(name, 1)
        subscription = repeating.wf.subscribe("n_*", b"canvas")
        perform = repeating.manager.store.perform
        watched = perform(Rewatch(WORKFLOW, subscription.id, (), 1_000, "app"))
        head, _ = perform(Load(WORKFLOW, ()))
        assert head is not None
        notes = msgspec.msgpack.encode(Notes({"": (head.incarnation, reached, b"another")}, {}))
        perform(Recur(WORKFLOW, subscription.id, watched.turn, notes, None, None, "app", 1_000))
        other.put("n_3", 1)
        ((_, _, run),) = repeating.launched()
        assert repeating.canvases.causes[run]["keys"] == ["n_1", "n_2", "n_3"]
        other.put("n_2", 2)
        ((_, _, run),) = repeating.launched()
        assert repeating.canvases.causes[run]["keys"] == ["n_2"]

    def test_notifications_and_subscriptions_are_bounded(
        self, repeating: Repeating, other: WorkflowHandle, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        repeating.wf.subscribe("a", b"canvas")
        for number in range(103):
            other.put("a", number)
        seen = repeating.wf.notifications()
        assert (len(seen), seen[0].revision, seen[-1].revision) == (100, 103, 4)
        monkeypatch.setattr(subscribing, "MAX_SUBSCRIPTIONS", 2)
        second = repeating.wf.subscribe("b", b"canvas")
        with pytest.raises(CapacityError, match="has 2 subscriptions"):
            repeating.wf.subscribe("c", b"canvas")
        repeating.manager.workflow(WORKFLOW, agent_id="third_1").subscribe("c", b"canvas")
        assert second.cancel() is True
        repeating.wf.subscribe("c", b"canvas")

    def test_a_body_that_runs_again_subscribes_once(self, repeating: Repeating, other: WorkflowHandle) -> None:
        ids = []
        for epoch in (1, 2):
            token = current_attempt.set(Attempt("run", 0, WORKFLOW, epoch))
            try:
                ids.append(
                    [repeating.wf.subscribe("a", b"canvas").id, repeating.wf.when("a").then(b"c", every=True).id]
                )
            finally:
                current_attempt.reset(token)
        assert ids[0] == ids[1]
        other.put("a", 1)
        assert repeating.numbers() == [1, 1]

    def test_one_that_was_called_off_launches_nothing_any_more(
        self, repeating: Repeating, other: WorkflowHandle
    ) -> None:
        subscription = repeating.wf.subscribe("a", b"canvas")
        other.put("a", 1)
        run = repeating.manager.driver.run
        again = signatures.launched_again(WORKFLOW, subscription.id, {"keys": ["a"]}, 1)
        launch = run(again)
        assert launch is not None
        assert (launch[0].canvas, launch[0].cause, launch[1]) == (b"canvas", {"keys": ["a"]}, False)
        subscription.cancel()
        assert run(signatures.launched_again(WORKFLOW, subscription.id, {}, 1)) is None

    def test_who_wants_to_know_is_drawn(self, repeating: Repeating) -> None:
        repeating.wf.subscribe(["a", "b_*"], b"canvas")
        repeating.wf.when(key("n") > 1).then(b"canvas", every=True)
        for label in ("b_*", "n #62; 1"):
            assert label in repeating.wf.graph()

    def test_what_makes_no_subscription_is_refused(self, repeating: Repeating, manager: SharedContextManager) -> None:
        subscribe = repeating.wf.subscribe
        for patterns in ([], "", ["a"] * 0, 5, [f"k{number}" for number in range(101)]):
            with pytest.raises(InvalidInput):
                subscribe(patterns, b"canvas")  # type: ignore[arg-type]
        for when in (lambda _cause, _view: True, "a", 5, self.test_what_makes_no_subscription_is_refused):
            with pytest.raises(InvalidInput):
                subscribe("a", b"canvas", when=when)
        for debounce in (-1, "soon", float("nan")):
            with pytest.raises(InvalidInput):
                subscribe("a", b"canvas", debounce=debounce)  # type: ignore[arg-type]
        with pytest.raises(WorkflowNotFound):
            repeating.manager.workflow("unknown").subscribe("a", b"canvas")
        with pytest.raises(ConfigurationError, match="belongs to no Celery app"):
            manager.workflow(WORKFLOW).subscribe("a", b"canvas")
        assert repeating.wf.subscriptions() == []
