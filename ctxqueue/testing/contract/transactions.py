"""Transactions: writes that are staged, and go out as one commit."""
# ruff: noqa: D102, PLR2004, S101 - tests: a name is a sentence, a bare number the expected value

from __future__ import annotations

import threading
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from ctxqueue.context import connect
from ctxqueue.errors import (
    CommitTooLarge,
    EntryExists,
    InvalidInput,
    MixedWorkflows,
    NotSerializable,
    UnknownStrategy,
    VersionConflict,
)
from ctxqueue.identity import Attempt, current_attempt
from ctxqueue.models import Put
from ctxqueue.testing.contract.base import Contract, nothing_written, revision_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from ctxqueue.context import SharedContextManager, WorkflowHandle


class Transactions(Contract):
    """``with wf.transaction()``, outside tasks and as a task does it."""

    def test_all_is_written_as_one_revision_at_the_end_of_the_block(self, wf: WorkflowHandle) -> None:
        wf.put("gone", 1)
        before = revision_of(wf)
        with wf.transaction() as transaction:
            assert wf.put("a", 1).version == 0
            assert wf.create("b", 2, ttl=60).value == 2
            assert wf.update({"c": [1], "d": {"x": 1}}).versions == {"c": 0, "d": 0}
            assert wf.delete("gone") is True
            wf.set_agent_state(step=2)
            assert dict(wf.view()) == {"gone": 1}
            assert revision_of(wf) == before
        assert transaction.result is not None
        assert transaction.result.revision == revision_of(wf) == before + 1
        assert transaction.result.versions["a"] == 1
        assert dict(wf.view()) == {"a": 1, "b": 2, "c": [1], "d": {"x": 1}}
        assert wf.view().agent_state == {"step": 2}

    def test_a_block_that_raises_writes_nothing(self, wf: WorkflowHandle, operator: WorkflowHandle) -> None:
        def fail() -> None:
            with wf.transaction():
                wf.put("a", 1)
                raise LookupError

        with nothing_written(operator), pytest.raises(LookupError):
            fail()
        wf.put("a", 2)
        assert wf["a"] == 2

    def test_an_empty_block_writes_nothing(self, wf: WorkflowHandle, operator: WorkflowHandle) -> None:
        with nothing_written(operator), wf.transaction() as transaction:
            assert wf.get("a") is None
        assert transaction.result is None

    def test_other_handles_write_at_once(self, wf: WorkflowHandle, manager: SharedContextManager) -> None:
        other = manager.workflow(wf.workflow_id, agent_id="other_1")
        same = manager.workflow(wf.workflow_id, agent_id="analyst_001")
        elsewhere = manager.workflow("elsewhere", agent_id="analyst_001")
        elsewhere.open()
        with wf.transaction():
            same.put("staged", 1)
            other.put("at once", 1)
            elsewhere.put("at once", 1)
            assert (wf.get("staged"), wf["at once"], elsewhere["at once"]) == (None, 1, 1)
        assert wf["staged"] == 1

    # --- several writes of one key -------------------------------------------------------------------------------

    @pytest.mark.parametrize(
        ("writes", "expected"),
        [
            ([("put", {"a": 1}), ("update", {"b": 2})], {"a": 1, "b": 2}),
            ([("update", {"b": 2}), ("put", 7)], 7),
            ([("update", {"b": 2}), ("update", {"c": 3})], {"old": 0, "b": 2, "c": 3}),
            ([("delete", None), ("update", {"b": 2})], {"b": 2}),
            ([("put", 1), ("delete", None)], None),
            ([("update", {"b": 2}), ("delete", None)], None),
            ([("delete", None), ("create", 5)], 5),
            ([("update", {"b": 2}), ("delete", None), ("put", 3), ("put", 4)], 4),
        ],
        ids=lambda writes: "-".join(kind for kind, _ in writes) if isinstance(writes, list) else "",
    )
    def test_writes_of_one_key_fold_in_their_order(
        self, wf: WorkflowHandle, writes: list[tuple[str, Any]], expected: Any
    ) -> None:
        wf.put("k", {"old": 0})
        make: dict[str, Callable[[Any], Any]] = {
            "put": lambda value: wf.put("k", value),
            "create": lambda value: wf.create("k", value),
            "update": lambda value: wf.update({"k": value}),
            "delete": lambda _value: wf.delete("k"),
        }
        with wf.transaction():
            for kind, value in writes:
                make[kind](value)
        entry = wf.get("k")
        assert (entry.value if entry else None) == expected
        assert entry is None or entry.version == 2

    def test_what_is_given_of_an_entry_goes_with_its_last_writes(self, wf: WorkflowHandle) -> None:
        wf.put("kept", [1], priority="high", ttl=3_600, metadata={"m": 1})
        with wf.transaction():
            wf.update({"kept": [2]}, merge_strategy="append")
            wf.put("new", 1, ttl=60, priority="low")
            wf.update({"new": Put(2, priority="high")}, merge_strategy="increment")
        kept, new = wf.get("kept"), wf.get("new")
        assert kept is not None
        assert new is not None
        assert (kept.value, kept.priority.value, dict(kept.metadata)) == ([1, 2], "high", {"m": 1})
        assert kept.expires_at is not None
        assert (new.value, new.priority.value) == (3, "high")
        assert new.expires_at is not None

    # --- with others ---------------------------------------------------------------------------------------------

    def test_concurrent_updates_all_take_effect(self, wf: WorkflowHandle, manager: SharedContextManager) -> None:
        def write(number: int) -> None:
            handle = manager.workflow(wf.workflow_id, agent_id=f"writer_{number}")
            for step in range(5):
                with handle.transaction():
                    handle.update({"log": [(number, step)]}, merge_strategy="append")
                    handle.update({"count": 1}, merge_strategy="increment")

        threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(wf["log"]) == [(number, step) for number in range(4) for step in range(5)]
        assert wf["count"] == 20

    def test_what_came_in_between_is_merged_with(self, wf: WorkflowHandle, manager: SharedContextManager) -> None:
        other = manager.workflow(wf.workflow_id, agent_id="other_1")
        wf.put("log", [1])
        with wf.transaction() as transaction:
            wf.update({"log": [3]}, merge_strategy="append")
            other.update({"log": [2]}, merge_strategy="append")
        assert wf["log"] == [1, 2, 3]
        assert transaction.result is not None

    def test_expected_versions_are_met_or_nothing_is_written(
        self, wf: WorkflowHandle, operator: WorkflowHandle
    ) -> None:
        wf.put("a", 1)
        wf.put("b", [1])

        def write(a: int, b: int) -> None:
            with wf.transaction():
                wf.put("a", 2, expected_version=a)
                wf.update({"b": Put([2], expected_version=b)}, merge_strategy="append")
                wf.put("c", 3)

        for a, b in ((2, 1), (0, 1), (1, 2), (1, 0)):
            with nothing_written(operator), pytest.raises(VersionConflict):
                write(a, b)
        write(1, 1)
        assert (wf["a"], wf["b"], wf["c"]) == (2, [1, 2], 3)

    def test_create_meets_an_entry(self, wf: WorkflowHandle, operator: WorkflowHandle) -> None:
        wf.put("a", 1)

        def write() -> None:
            with wf.transaction():
                wf.create("a", 2)

        with nothing_written(operator), pytest.raises(EntryExists):
            write()

    # --- mistakes ------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize(
        ("write", "error"),
        [
            (lambda wf: wf.put("a", object()), NotSerializable),
            (lambda wf: wf.update({"a": 1}, merge_strategy="nonsense"), UnknownStrategy),
            (lambda wf: wf.put("global_k", 1), MixedWorkflows),
            (lambda wf: wf.put("staged", 1, expected_version=1), InvalidInput),
            (lambda wf: wf.create("staged", 1), EntryExists),
            (lambda wf: wf.update({"staged": [1]}, merge_strategy="append"), InvalidInput),
            (lambda wf: wf.put("a", 1, operation_id="o"), InvalidInput),
            (lambda wf: wf.delete("a", purge=True), InvalidInput),
            (lambda wf: wf.update({f"k{number}": 1 for number in range(200)}), CommitTooLarge),
            (lambda wf: wf.update({"a": "x" * 700_000, "b": "x" * 700_000}), CommitTooLarge),
            (lambda wf: wf.transaction().__enter__(), InvalidInput),
        ],
        ids=lambda given: given.__name__ if isinstance(given, type) else "",
    )
    def test_wrong_input_raises_where_it_is_made(
        self, wf: WorkflowHandle, write: Callable[[WorkflowHandle], Any], error: type[Exception]
    ) -> None:
        with wf.transaction():
            wf.put("staged", 1)
            with pytest.raises(error):
                write(wf)
        assert dict(wf.view()) == {"staged": 1}

    def test_what_does_not_go_with_what_stands_there_raises_at_the_end(
        self, wf: WorkflowHandle, operator: WorkflowHandle
    ) -> None:
        wf.put("a", 1)

        def write() -> None:
            with wf.transaction():
                wf.update({"a": [1]}, merge_strategy="append")
                wf.put("b", 1)

        with nothing_written(operator), pytest.raises(InvalidInput):
            write()

    def test_the_global_context_alone_is_written_to(self, wf: WorkflowHandle) -> None:
        with wf.transaction():
            wf.put("global_a", 1)
            wf.update({"global_b": [1]})
        assert (wf["global_a"], wf["global_b"]) == (1, [1])

    # --- in a task -----------------------------------------------------------------------------------------------

    def committed(self, manager: SharedContextManager, attempt: Attempt, body: Callable[[], None]) -> list[Any]:
        """Do as a task does: run the body, then commit what it has staged."""
        token = current_attempt.set(attempt)
        try:
            body()
            return [manager.driver.run(transaction.commit()) for transaction in attempt.staged]
        finally:
            current_attempt.reset(token)

    def test_a_task_commits_at_its_end_and_replays_whatever_keys_it_computes(
        self, wf: WorkflowHandle, manager: SharedContextManager
    ) -> None:
        def body(*keys: str) -> None:
            for key in keys:
                with wf.transaction():
                    wf.update({key: [key], "log": [key]}, merge_strategy="append")
            assert wf.get("log") is None or wf["log"] == ["a", "b"]

        first = self.committed(manager, Attempt("r", 0, wf.workflow_id, 1), lambda: body("a", "b"))
        again = self.committed(manager, Attempt("r", 0, wf.workflow_id, 2), lambda: body("x", "y"))
        assert [result.replayed for result in first] == [False, False]
        assert [result.replayed for result in again] == [True, True]
        assert [result.revision for result in again] == [result.revision for result in first]
        assert dict(wf.view()) == {"a": ["a"], "b": ["b"], "log": ["a", "b"]}
        retried = self.committed(manager, Attempt("r", 1, wf.workflow_id, 3), body)
        assert retried == []

    def test_a_replay_is_recognised_though_what_it_computes_does_not_fit(
        self, wf: WorkflowHandle, manager: SharedContextManager
    ) -> None:
        def body(value: Any, expected: int) -> None:
            with wf.transaction():
                wf.update({"k": value}, merge_strategy="append")
                wf.put("v", 1, expected_version=expected)

        self.committed(manager, Attempt("r", 0, wf.workflow_id, 1), lambda: body([1], 0))
        wf.put("k", "no list")
        (again,) = self.committed(manager, Attempt("r", 0, wf.workflow_id, 2), lambda: body([2], 0))
        assert again.replayed is True
        assert wf["k"] == "no list"

    def test_a_block_that_raised_and_was_caught_writes_nothing(
        self, wf: WorkflowHandle, manager: SharedContextManager
    ) -> None:
        def fail() -> None:
            with wf.transaction():
                wf.put("bad", 1)
                raise LookupError

        def body() -> None:
            with pytest.raises(LookupError):
                fail()
            with wf.transaction():
                wf.put("good", 1)

        self.committed(manager, Attempt("r", 0, wf.workflow_id, 1), body)
        assert dict(wf.view()) == {"good": 1}

    def test_a_block_without_writes_has_its_number_in_the_run(
        self, wf: WorkflowHandle, manager: SharedContextManager
    ) -> None:
        def body(*, flag: bool) -> None:
            with wf.transaction():
                if flag:
                    wf.put("flag", 1)
            with wf.transaction():
                wf.update({"count": 1}, merge_strategy="increment")

        self.committed(manager, Attempt("r", 0, wf.workflow_id, 1), lambda: body(flag=False))
        first, second = self.committed(manager, Attempt("r", 0, wf.workflow_id, 2), lambda: body(flag=True))
        assert (first.replayed, second.replayed) == (False, True)
        assert dict(wf.view()) == {"count": 1, "flag": 1}

    def test_a_replay_is_recognised_though_all_of_it_would_be_too_large(
        self, wf: WorkflowHandle, manager: SharedContextManager
    ) -> None:
        wf.put("k", ["x" * 600_000])

        def body() -> None:
            with wf.transaction():
                wf.update({"k": ["y" * 200_000]}, merge_strategy="append")
                wf.put("other", "z" * 200_000)

        self.committed(manager, Attempt("r", 0, wf.workflow_id, 1), body)
        (again,) = self.committed(manager, Attempt("r", 0, wf.workflow_id, 2), body)
        assert again.replayed is True
        assert len(wf["k"]) == 2

    def test_a_handle_on_another_store_writes_there_at_once(self, wf: WorkflowHandle) -> None:
        with connect(f"memory://{uuid.uuid4().hex}") as elsewhere:
            same = elsewhere.workflow(wf.workflow_id, agent_id=wf.agent.agent_id)
            same.open()
            with wf.transaction():
                same.put("there", 1)
                wf.put("here", 1)
            assert (dict(same.view()), dict(wf.view())) == ({"there": 1}, {"here": 1})
