"""Each call takes effect once: operation ids, bodies that run again, attempts that were taken over."""
# ruff: noqa: D102, PLR2004, S101 - tests: a name is a sentence, a bare number the expected value

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from ctxqueue.context import SharedContextManager, connect
from ctxqueue.errors import (
    AttemptSuperseded,
    CapacityError,
    CommitTooLarge,
    OperationDiverged,
    ValueTooLarge,
    VersionConflict,
)
from ctxqueue.identity import Attempt, current_attempt
from ctxqueue.models import Secret
from ctxqueue.rules.merging import register_reducer
from ctxqueue.settings import MAX_RUN_CALLS
from ctxqueue.testing.contract.base import WORKFLOW, Contract, nothing_written, revision_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ctxqueue.context import WorkflowHandle


@contextmanager
def attempt_at(run_id: str, *, retries: int = 0, epoch: int = 1) -> Iterator[None]:
    """Make calls in the name of an attempt, as a task's body does."""
    token = current_attempt.set(Attempt(run_id, retries, WORKFLOW, epoch))
    try:
        yield
    finally:
        current_attempt.reset(token)


class Calls(Contract):
    """The journal."""

    def test_plain_calls_are_never_taken_for_each_other(self, wf: WorkflowHandle) -> None:
        assert [wf.put("k", 1).version for _ in range(3)] == [1, 2, 3]
        for _ in range(2):
            assert wf.update({"l": [1]}, merge_strategy="append").replayed is False
        assert wf["l"] == [1, 1]

    def test_an_operation_takes_effect_once(self, wf: WorkflowHandle, url: str) -> None:
        first = wf.update({"l": [1], "k": 1}, merge_strategy="replace", operation_id="op")
        wf.put("k", 2)
        with connect(url) as elsewhere:
            same = elsewhere.workflow(WORKFLOW, agent_id="analyst_001")
            again = same.update({"l": [1], "k": 1}, merge_strategy="replace", operation_id="op")
        assert (again.revision, again.versions) == (first.revision, first.versions)
        assert (first.replayed, again.replayed) == (False, True)
        assert (wf["k"], revision_of(wf)) == (2, 2)

    @pytest.mark.parametrize("strategy", ["smart_merge", "replace", "append"])
    def test_an_update_repeated_with_another_input_gets_the_first_outcome(
        self, wf: WorkflowHandle, operator: WorkflowHandle, strategy: str
    ) -> None:
        wf.put("k", [0], priority="high")
        first = wf.update({"k": [1]}, merge_strategy=strategy, operation_id="op")
        with nothing_written(operator):
            again = wf.update({"k": [2]}, merge_strategy=strategy, operation_id="op")
        assert (again.revision, again.versions, again.replayed) == (first.revision, {"k": 2}, True)

    def test_a_repeated_update_that_would_no_longer_fit_gets_the_first_outcome(
        self, wf: WorkflowHandle, operator: WorkflowHandle
    ) -> None:
        wf.update({key: {"base": "x" * 400_000} for key in "ab"})
        calls: list[dict[str, Any]] = [{"a": {"first": "y" * 400_000}}, {"b": {"first": "y"}, "c": 1}]
        others: list[dict[str, Any]] = [
            {"a": {"other": "z" * 400_000}},
            {"b": {"other": "z" * 600_000}, "c": "z" * 300_000},
        ]
        with attempt_at("run"):
            first = [wf.update(updates).versions for updates in calls]
        with nothing_written(operator), attempt_at("run", epoch=2):
            again = [wf.update(updates) for updates in others]
        assert [result.versions for result in again] == first
        assert [result.replayed for result in again] == [True, True]
        with nothing_written(operator), attempt_at("another run"):
            for updates, error in zip(others, (ValueTooLarge, CommitTooLarge), strict=True):
                with pytest.raises(error):
                    wf.update(updates)

    def test_an_update_fits_that_would_not_have_before_others_made_room(
        self, wf: WorkflowHandle, manager: SharedContextManager, url: str
    ) -> None:
        small = SharedContextManager(url, {"max_value": 5_000})
        elsewhere = small.workflow(wf.workflow_id, agent_id="analyst_001")
        elsewhere.update({"k": {"a": "x" * 4_000}})
        manager.workflow(wf.workflow_id, agent_id="other_1").put("k", {})
        assert elsewhere.update({"k": {"b": "x" * 4_000}}).versions == {"k": 3}
        assert wf["k"] == {"b": "x" * 4_000}
        small.close()

    @pytest.mark.parametrize("second", [{"b": 2, "a": 1}, {"a": 1}, {"a": 1, "b": 2, "c": 3}, {"x": 9}], ids=str)
    def test_an_update_repeated_with_other_keys_gets_the_first_outcome(
        self, wf: WorkflowHandle, operator: WorkflowHandle, second: dict[str, int]
    ) -> None:
        wf.put("b", 0)
        wf.put("b", 0)
        first = wf.update({"a": 1, "b": 2}, operation_id="op")
        with nothing_written(operator):
            again = wf.update(second, operation_id="op")
        assert again.versions == first.versions == {"a": 1, "b": 3}
        assert (again.revision, again.replayed) == (first.revision, True)

    def test_a_put_repeated_returns_the_first_entry(self, wf: WorkflowHandle, operator: WorkflowHandle) -> None:
        first = wf.put("k", 1, operation_id="op", ttl=60)
        with nothing_written(operator):
            assert wf.put("k", 1, operation_id="op", ttl=60) == first
            assert wf.put("k", 2, operation_id="op", priority="high") == first
            assert wf.put("other", 2, operation_id="op") == first
            assert wf.put("k", 2, operation_id="op", expected_version=9) == first
        wf.put("k", 5)
        again = wf.put("k", 1, operation_id="op", ttl=60)
        assert (again.version, again.revision, again.timestamp, again.value) == (1, 1, first.timestamp, 1)
        assert wf["k"] == 5

    def test_a_create_repeated_is_no_conflict(self, wf: WorkflowHandle) -> None:
        first = wf.create("k", 1, operation_id="op")
        assert wf.create("k", 1, operation_id="op") == first
        wf.delete("k")
        assert wf.create("k", 1, operation_id="op").version == 1
        assert wf.get("k") is None

    def test_an_operation_whose_first_entry_is_gone(self, wf: WorkflowHandle) -> None:
        wf.put("k", 1, operation_id="op")
        wf.put("k", 2)
        first = wf.put("other", 2, operation_id="op")
        assert (first.key, first.version, first.value) == ("k", 1, 1)
        wf.delete("k", purge=True)
        with pytest.raises(OperationDiverged, match="on another key"):
            wf.put("other", 2, operation_id="op")
        assert wf.get("other") is None

    def test_a_put_repeated_with_another_value_returns_the_first_entry(self, wf: WorkflowHandle) -> None:
        with attempt_at("run"):
            wf.put("k", "first")
        wf.put("k", "of somebody else")
        with attempt_at("run", epoch=2):
            again = wf.put("k", "second")
        assert (again.version, again.value) == (1, "first")

    def test_a_reducer_is_not_asked_about_what_is_only_guessed(self, wf: WorkflowHandle, url: str) -> None:
        steps = {"draft": "review", "review": "published"}

        def advance(existing: str, new: str, _priority: object) -> str:
            if steps.get(existing) != new:
                raise ValueError(f"{existing} -> {new}")
            return new

        register_reducer("advances_in_tests", advance)
        wf.put("k", "draft")
        wf.update({"k": "review"}, merge_strategy="advances_in_tests", operation_id="op")
        with connect(url) as manager:
            elsewhere = manager.workflow(WORKFLOW, agent_id=wf.agent.agent_id)
            again = elsewhere.update({"k": "review"}, merge_strategy="advances_in_tests", operation_id="op")
            assert again.replayed is True
            elsewhere.put("k", "draft")
            elsewhere.put("k", "review")
        wf.update({"k": "published"}, merge_strategy="advances_in_tests")
        with pytest.raises(ValueError, match="published -> review"):
            wf.update({"k": "review"}, merge_strategy="advances_in_tests")
        assert wf["k"] == "published"

    def test_an_operation_is_one_agents_own(self, wf: WorkflowHandle, manager: SharedContextManager) -> None:
        other = manager.workflow(WORKFLOW, agent_id="other_1")
        assert wf.update({"k": 1}, operation_id="op").replayed is False
        assert other.update({"k": 2}, operation_id="op").replayed is False
        assert wf["k"] == 2

    def test_an_operation_gives_nobody_anothers_secret(self, wf: WorkflowHandle, manager: SharedContextManager) -> None:
        manager.workflow(WORKFLOW, agent_id="web_extractor_1").put("login_credential", "hidden", operation_id="op")
        entry = wf.put("k", 1, operation_id="op")
        assert "hidden" not in repr(entry.value.reveal() if isinstance(entry.value, Secret) else entry.value)

    def test_a_refused_call_is_not_recorded(self, wf: WorkflowHandle) -> None:
        wf.put("k", 1)
        with pytest.raises(VersionConflict):
            wf.put("k", 2, expected_version=5, operation_id="op")
        assert wf.put("k", 2, expected_version=1, operation_id="op").version == 2

    def test_operations_of_two_workflows_are_apart(self, wf: WorkflowHandle, manager: SharedContextManager) -> None:
        other = manager.workflow("other", agent_id="analyst_001")
        other.open()
        assert wf.update({"k": 1}, operation_id="op").replayed is False
        assert other.update({"k": 1}, operation_id="op").replayed is False

    @pytest.mark.parametrize("settings", [{"on_divergence": "error"}, {"on_divergence": "apply"}], ids=str)
    @pytest.mark.parametrize(
        "changed",
        [
            {"value": 2},
            {"priority": "high"},
            {"ttl": 60},
            {"metadata": {"m": 1}},
            {"pinned": True},
            {"depends_on": ["d"]},
        ],
        ids=str,
    )
    def test_divergence_may_be_an_error_or_a_new_write(
        self, wf: WorkflowHandle, url: str, settings: dict[str, Any], changed: dict[str, Any]
    ) -> None:
        manager = SharedContextManager(url, settings)
        handle = manager.workflow(wf.workflow_id, agent_id="analyst_001")
        handle.put("k", 1, operation_id="op", priority="medium")
        handle.put("k", 1, operation_id="op", priority=handle.get("k").priority)  # type: ignore[union-attr]
        assert wf.get("k").version == 1  # type: ignore[union-attr]
        options = {"value": 1, "priority": "medium", **changed}
        if settings["on_divergence"] == "apply":
            assert handle.put("k", operation_id="op", **options).version == 2
        else:
            with pytest.raises(OperationDiverged, match="another input"):
                handle.put("k", operation_id="op", **options)
            assert wf.get("k").version == 1  # type: ignore[union-attr]
        manager.close()

    def test_a_body_that_runs_again_makes_the_same_calls(self, wf: WorkflowHandle) -> None:
        def body(offset: int) -> list[object]:
            with attempt_at("run-1", epoch=1 + offset):
                return [
                    wf.update({"l": [offset]}, merge_strategy="append").versions,
                    wf.update({"l": [offset]}, merge_strategy="append").versions,
                    wf.put("k", offset).version,
                    wf.update({"b": offset, "a": offset} if offset else {"a": offset, "b": offset}).versions,
                    wf.delete("k"),
                    wf.put("k", offset).version,
                ]

        first = body(0)
        revision = revision_of(wf)
        assert body(1) == body(2) == first
        assert (wf["l"], wf["a"], revision_of(wf)) == ([0, 0], 0, revision)

    def test_a_body_that_chooses_other_keys_makes_new_calls(self, wf: WorkflowHandle) -> None:
        for key in ("a", "b"):
            with attempt_at("run-1"):
                assert wf.update({key: 1}).replayed is False
        with attempt_at("run-1"):
            assert wf.update({"a": 1}, merge_strategy="replace").replayed is False
            assert wf.update({"a": 2}).replayed is True

    def test_a_retry_makes_new_calls(self, wf: WorkflowHandle) -> None:
        for retries in range(2):
            with attempt_at("run-1", retries=retries):
                assert wf.update({"l": [retries]}, merge_strategy="append").replayed is False
        assert wf["l"] == [0, 1]

    def test_an_attempt_that_was_taken_over_commits_no_more(self, wf: WorkflowHandle, operator: WorkflowHandle) -> None:
        with attempt_at("run-1", epoch=2):
            wf.put("k", 2)
        with attempt_at("run-1", epoch=1), nothing_written(operator):
            for call in (
                lambda: wf.put("k", 1),
                lambda: wf.update({"j": 1}, operation_id="op"),
                lambda: wf.delete("k"),
            ):
                with pytest.raises(AttemptSuperseded, match="attempt 1 was taken over by attempt 2"):
                    call()
        with attempt_at("run-2", epoch=1):
            wf.put("k", 3)

    def test_an_attempt_is_fenced_in_each_workflow_that_has_seen_its_successor(
        self, wf: WorkflowHandle, manager: SharedContextManager
    ) -> None:
        other = manager.workflow("other", agent_id="analyst_001")
        other.open()
        with attempt_at("run-1", epoch=5):
            other.put("k", 1)
            wf.put("global_k", 1)
        with attempt_at("run-1", epoch=4):
            wf.put("j", 1)
            for handle, key in ((other, "j"), (wf, "global_j")):
                with pytest.raises(AttemptSuperseded):
                    handle.put(key, 2)

    def test_the_calls_of_a_run_are_bounded(self, wf: WorkflowHandle) -> None:
        with attempt_at("run-1"):
            for number in range(MAX_RUN_CALLS):
                wf.put("k", number)
            with pytest.raises(CapacityError, match="split the task"):  # noqa: PT012 - a few more may pass
                for number in range(20):
                    wf.put("k", number)
            assert wf.get("k") is not None
        with attempt_at("run-2"):
            wf.put("k", 1)
