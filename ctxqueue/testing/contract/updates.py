"""Updating: merge strategies, options of single values, and what concurrent updates do."""
# ruff: noqa: D102, PLR2004, S101 - tests: a name is a sentence, a bare number the expected value

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from ctxqueue.context import connect
from ctxqueue.errors import InvalidInput, VersionConflict
from ctxqueue.models import ContextPriority, Put
from ctxqueue.testing.contract.base import Contract, nothing_written

if TYPE_CHECKING:
    from ctxqueue.context import SharedContextManager, WorkflowHandle

SMART = [
    ("dicts deeply", "medium", {"a": {"x": 1, "y": [1]}, "b": 1}, {"a": {"y": [2]}}, {"a": {"x": 1, "y": [2]}, "b": 1}),
    ("lists replaced", "medium", [1, 2], [2, 3], [2, 3]),
    ("lists of a low entry replaced", "low", [1, 2], [2, 3], [2, 3]),
    ("lists of a high entry united", "high", [1, 2], [2, 3], [1, 2, 3]),
    ("lists of a critical entry united", "critical", [{"a": 1}], [{"a": 1}, {"a": 2}], [{"a": 1}, {"a": 2}]),
    ("lists in a high dict united", "high", {"l": [1]}, {"l": [2, 1]}, {"l": [1, 2]}),
    ("other types replaced", "medium", {"a": 1}, "text", "text"),
    ("a dict over something else", "medium", 5, {"a": 1}, {"a": 1}),
    ("nothing over something", "high", [1], None, None),
    ("numbers replaced", "medium", 1, 2, 2),
]


class Updates(Contract):
    """update(), and updates that meet."""

    @pytest.mark.parametrize(
        ("priority", "existing", "new", "merged"), [case[1:] for case in SMART], ids=[case[0] for case in SMART]
    )
    def test_smart_merge(self, wf: WorkflowHandle, priority: str, existing: Any, new: Any, merged: Any) -> None:
        wf.put("k", existing, priority=priority)
        wf.update({"k": new})
        assert wf["k"] == merged
        wf.update({"k": new})
        assert wf["k"] == merged

    def test_replace(self, wf: WorkflowHandle) -> None:
        wf.put("k", {"a": 1})
        wf.update({"k": {"b": 2}}, merge_strategy="replace")
        assert wf["k"] == {"b": 2}

    def test_append_concatenates(self, wf: WorkflowHandle) -> None:
        expected: list[int] = []
        for size in (0, 1, 14, 1, 20, 300):
            wf.update({"k": list(range(size))}, merge_strategy="append")
            expected += range(size)
            assert wf["k"] == expected

    def test_append_across_the_list_sizes_of_the_format(self, wf: WorkflowHandle) -> None:
        wf.put("k", [None] * 15)
        wf.update({"k": [True]}, merge_strategy="append")
        wf.update({"k": [False] * 65_519}, merge_strategy="append")
        wf.update({"k": [1, 2]}, merge_strategy="append")
        value = wf["k"]
        assert (len(value), value[:16], value[-3:]) == (65_537, [None] * 15 + [True], [False, 1, 2])

    def test_append_to_a_list_too_large_for_a_script(self, wf: WorkflowHandle) -> None:
        wf.put("k", ["x" * 1_000] * 100)
        result = wf.update({"k": ["last"], "other": ["first"]}, merge_strategy="append")
        assert (len(wf["k"]), wf["k"][-1], wf["other"]) == (101, "last", ["first"])
        assert (result.versions, result.attempts) == ({"k": 2, "other": 1}, 1)

    @pytest.mark.parametrize("existing", [{"a": 1}, "text", 5, None, (1, 2), {1, 2}, b"\x91\x01"])
    def test_append_to_what_is_no_list(self, wf: WorkflowHandle, operator: WorkflowHandle, existing: Any) -> None:
        wf.put("k", existing)
        with nothing_written(operator), pytest.raises(InvalidInput, match="append needs a list") as caught:
            wf.update({"new": [1], "k": [1]}, merge_strategy="append")
        assert "'k' in workflow" in str(caught.value)
        assert wf["k"] == existing

    def test_one_update_is_one_commit_of_all_its_keys(self, wf: WorkflowHandle) -> None:
        wf.put("b", {"x": 1})
        result = wf.update({"c": 1, "b": {"y": 2}, "a": [1]})
        assert (result.revision, result.replayed, result.attempts, result.fired) == (2, False, 1, 0)
        assert result.versions == {"a": 1, "b": 2, "c": 1}
        assert dict(wf.view()) == {"a": [1], "b": {"x": 1, "y": 2}, "c": 1}

    def test_update_keeps_what_is_known_of_an_entry(self, wf: WorkflowHandle, manager: SharedContextManager) -> None:
        for key, value in (("dict", {"a": 1}), ("list", [1]), ("number", 1)):
            wf.put(
                key, value, priority="high", pinned=True, depends_on=["d"], metadata={"m": 1}, sensitive=False, ttl=60
            )
        before = {entry.key: entry for entry in wf.list()}
        other = manager.workflow(wf.workflow_id, agent_id="other_1")
        other.update({"dict": {"b": 2}, "list": [2], "number": 2})
        for entry in other.list():
            old = before[entry.key]
            assert (entry.agent_id, entry.created_by, entry.version) == ("other_1", "analyst_001", 2)
            for name in ("priority", "pinned", "dependencies", "metadata", "expires_at"):
                assert getattr(entry, name) == getattr(old, name), (entry.key, name)

    def test_a_put_within_an_update_sets_its_own_options(self, wf: WorkflowHandle) -> None:
        wf.put("k", {"a": 1}, priority="low", metadata={"m": 1}, depends_on=["d"])
        wf.update({"k": Put({"b": 2}, priority="critical", pinned=True), "new": Put(5, ttl=60, metadata={"n": 2})})
        entry, new = wf.get("k"), wf.get("new")
        assert entry is not None
        assert new is not None
        assert (entry.value, entry.priority, entry.pinned) == ({"a": 1, "b": 2}, ContextPriority.CRITICAL, True)
        assert (entry.metadata, entry.dependencies) == ({"m": 1}, ("d",))
        assert (new.value, new.metadata, new.expires_at is not None) == (5, {"n": 2}, True)

    def test_a_put_within_an_update_is_held_to_its_version(self, wf: WorkflowHandle, operator: WorkflowHandle) -> None:
        wf.put("k", {"a": 1})
        assert wf.update({"k": Put({"b": 2}, expected_version=1)}).versions == {"k": 2}
        for expected in (0, 1, 3):
            with nothing_written(operator), pytest.raises(VersionConflict) as caught:
                wf.update({"new": 1, "k": Put({"c": 3}, expected_version=expected)})
            assert caught.value.current is not None
            assert caught.value.current.version == 2
        with nothing_written(operator), pytest.raises(VersionConflict):
            wf.update({"absent": Put(1, expected_version=4)})
        assert wf.update({"absent": Put(1, expected_version=0)}).versions["absent"] == 1

    def test_updates_of_many_writers_all_take_effect(self, wf: WorkflowHandle, url: str) -> None:
        wf.put("united", [], priority="high")
        writers, each = 4, 25

        def write(writer: int) -> None:
            with connect(url) as manager:
                mine = manager.workflow(wf.workflow_id, agent_id=f"writer_{writer}")
                for number in range(each):
                    mine.update({"merged": {f"{writer}.{number}": number}, "united": [[writer, number]]})
                    mine.update({"appended": [[writer, number]]}, merge_strategy="append")

        with ThreadPoolExecutor(writers) as pool:
            list(pool.map(write, range(writers)))
        expected = {(writer, number) for writer in range(writers) for number in range(each)}
        assert len(wf["merged"]) == writers * each
        for key in ("united", "appended"):
            items = [(writer, number) for writer, number in wf[key]]
            assert sorted(items) == sorted(expected)
            for writer in range(writers):
                assert [number for who, number in items if who == writer] == list(range(each))

    def test_a_process_that_wrote_last_still_sees_what_others_wrote(self, wf: WorkflowHandle, url: str) -> None:
        with connect(url) as manager:
            other = manager.workflow(wf.workflow_id, agent_id="other_1")
            for number in range(5):
                wf.update({"k": {f"mine{number}": 1}})
                other.update({"k": {f"theirs{number}": 1}})
        assert len(wf["k"]) == 10
        wf.update({"k": {"more": 1}})
        wf.delete("k")
        wf.update({"k": {"only": 1}})
        assert wf["k"] == {"only": 1}
        wf.put("k", {"put": 1})
        wf.update({"k": {"after": 1}})
        assert wf["k"] == {"put": 1, "after": 1}
