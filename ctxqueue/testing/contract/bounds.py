"""Limits, each a clear error with nothing half written."""
# ruff: noqa: D102, PLR2004, S101 - tests: a name is a sentence, a bare number the expected value

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ctxqueue.context import SharedContextManager
from ctxqueue.errors import CapacityError, CommitTooLarge, ValueTooLarge
from ctxqueue.models import Put
from ctxqueue.testing.contract.base import WORKFLOW, Contract, nothing_written

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ctxqueue.context import WorkflowHandle

    Configured = Callable[..., SharedContextManager]
    Limited = Callable[..., WorkflowHandle]


class Limiting:
    """Fixtures: the same store, and the same workflow, under settings of one's own."""

    @pytest.fixture
    def configured(self, url: str) -> Iterator[Configured]:
        """Open the store again with settings."""
        managers: list[SharedContextManager] = []

        def open_with(**settings: Any) -> SharedContextManager:
            managers.append(SharedContextManager(url, settings))
            return managers[-1]

        yield open_with
        for manager in managers:
            manager.close()

    @pytest.fixture
    def limited(self, operator: WorkflowHandle, configured: Configured) -> Limited:
        """Return the agent's hold on the workflow under other settings."""
        return lambda **settings: configured(**settings).workflow(operator.workflow_id, agent_id="analyst_001")


class Bounds(Limiting, Contract):
    """Sizes of values, commits and workflows."""

    def test_the_default_largest_value_is_a_megabyte(self, wf: WorkflowHandle, operator: WorkflowHandle) -> None:
        wf.put("k", "x" * (1024 * 1024 - 5))
        for call in (wf.put, wf.create, lambda key, value: wf.update({key: value})):
            with (
                nothing_written(operator),
                pytest.raises(ValueTooLarge, match=r"'j' takes 1048577 bytes: at most 1048576"),
            ):
                call("j", "x" * (1024 * 1024 - 4))
        assert len(wf["k"]) == 1024 * 1024 - 5

    @pytest.mark.parametrize("strategy", ["smart_merge", "append"])
    def test_what_merging_would_make_too_large_is_refused(
        self, limited: Limited, operator: WorkflowHandle, strategy: str
    ) -> None:
        wf = limited(max_value=5_000)
        wf.put("k", ["x" * 2_000], priority="high")
        wf.update({"k": ["y" * 2_000]}, merge_strategy=strategy)
        with nothing_written(operator), pytest.raises(ValueTooLarge, match=r"'k'.* after merging: at most 5000"):
            wf.update({"j": ["z"], "k": ["z" * 2_000]}, merge_strategy=strategy)
        assert len(wf["k"]) == 2

    def test_a_growing_list_stops_at_the_largest_value(self, wf: WorkflowHandle) -> None:
        for _ in range(20):
            wf.update({"k": ["x" * 50_000]}, merge_strategy="append")
        with pytest.raises(ValueTooLarge):
            wf.update({"k": ["x" * 50_000]}, merge_strategy="append")
        assert len(wf["k"]) == 20

    def test_a_commit_has_at_most_200_keys(self, wf: WorkflowHandle, operator: WorkflowHandle) -> None:
        result = wf.update({f"k{number}": number for number in range(200)})
        assert len(result.versions) == 200
        with nothing_written(operator), pytest.raises(CommitTooLarge, match="201 keys: at most 200"):
            wf.update({f"k{number}": number for number in range(201)})

    def test_a_commit_has_at_most_a_megabyte(self, wf: WorkflowHandle, operator: WorkflowHandle) -> None:
        half = "x" * 524_283
        wf.update({"a": half, "b": half})
        with nothing_written(operator), pytest.raises(CommitTooLarge, match="more than 1048576 bytes of values"):
            wf.update({"c": half, "d": half + "x"})

    def test_options_are_laid_over_many_large_values(self, wf: WorkflowHandle) -> None:
        keys = [f"k{number}" for number in range(5)]
        for key in keys:
            wf.put(key, "x" * 600_000, metadata={"is": key})
        wf.update({key: Put(key, pinned=True) for key in [*keys, "new"]}, merge_strategy="replace")
        entries = [wf.get(key) for key in [*keys, "new"]]
        assert [(entry.value, entry.pinned, dict(entry.metadata)) for entry in entries if entry] == [
            *((key, True, {"is": key}) for key in keys),
            ("new", True, {}),
        ]

    def test_metadata_has_a_bound(self, wf: WorkflowHandle, operator: WorkflowHandle) -> None:
        wf.put("k", 1, metadata={"m": "x" * 60_000})
        with nothing_written(operator):
            with pytest.raises(ValueTooLarge, match="metadata"):
                wf.put("k", 1, metadata={"m": "x" * 70_000})
            with pytest.raises(ValueTooLarge, match="metadata"):
                wf.update({"k": Put(1, depends_on=tuple(f"{number:0250}" for number in range(300)))})

    def test_a_workflow_is_bounded_in_entries(self, limited: Limited, operator: WorkflowHandle) -> None:
        wf = limited(max_entries=3)
        wf.update(
            {key: Put(value, priority="high") for key, value in {"a": 1, "b": {"x": 1}, "private_c": [1]}.items()}
        )
        with nothing_written(operator):
            with pytest.raises(CapacityError, match=r"would hold more entries.*ctxqueue_max_entries"):
                wf.put("d", 1)
            with pytest.raises(CapacityError, match="more entries"):
                wf.update({"a": 2, "d": 1, "e": {"x": 1}})
            with pytest.raises(CapacityError):
                wf.update({"d": [1]}, merge_strategy="append")
        wf.put("a", 2)
        wf.update({"b": {"y": 1}, "private_c": [2]})
        wf.delete("a")
        wf.put("d", 1)
        assert set(wf.view()) == {"b", "private_c", "d"}
        wf.put("global_e", 1)

    def test_a_workflow_is_bounded_in_bytes(self, limited: Limited, operator: WorkflowHandle) -> None:
        wf = limited(max_bytes=10_000)
        for key in "abcd":
            wf.put(key, "x" * 2_000, priority="high")
        with nothing_written(operator):
            with pytest.raises(CapacityError, match=r"bytes.*ctxqueue_max_bytes"):
                wf.put("e", "x" * 2_000)
            with pytest.raises(CapacityError):
                wf.update({"a": "x" * 4_000})
        wf.put("a", "x" * 2_001, priority="high")
        wf.delete("b")
        wf.put("e", "x" * 2_000, priority="high")
        wf.put("e", "x", priority="high")
        wf.put("f", "x" * 1_500, priority="high")
        for key in "acdef":
            wf.delete(key)
        for key in "abcd":
            wf.put(key, "x" * 2_000)

    def test_a_workflow_over_a_lowered_limit_can_shrink(
        self, wf: WorkflowHandle, limited: Limited, operator: WorkflowHandle
    ) -> None:
        wf.update({f"k{number}": Put("x" * 1_000, priority="high") for number in range(10)})
        for narrow in (limited(max_entries=3), limited(max_bytes=3_000)):
            with nothing_written(operator), pytest.raises(CapacityError):
                narrow.put("new", "x" * 1_000)
            narrow.put("k1", "y" * 1_000, priority="high")
            assert narrow.delete(operator.list(prefix="k", limit=1).items[0].key) is True
        assert len(operator.list()) == 8

    def test_what_a_sweep_removed_makes_room(self, limited: Limited, manager: SharedContextManager) -> None:
        wf = limited(max_entries=2)
        wf.update({"a": Put(1, ttl=0.01), "b": Put(1, ttl=0.01)})
        while manager.cleanup_expired_contexts().expired < 1:
            pass
        manager.cleanup_expired_contexts()
        wf.update({"c": 1, "d": 1})
        assert manager.workflow(WORKFLOW).open().revision >= 3
