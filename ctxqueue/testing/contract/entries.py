"""Putting, getting, creating and deleting entries; versions and revisions."""
# ruff: noqa: D102, PLR2004, S101 - tests: a name is a sentence, a bare number the expected value

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from ctxqueue.errors import EntryExists, EntryNotFound, VersionConflict
from ctxqueue.models import ContextPriority, ContextScope
from ctxqueue.testing.contract.base import Contract, nothing_written, revision_of

if TYPE_CHECKING:
    from ctxqueue.context import SharedContextManager, WorkflowHandle


class Entries(Contract):
    """One entry at a time."""

    def test_what_was_put_is_found_with_all_that_is_known_of_it(self, wf: WorkflowHandle) -> None:
        put = wf.put("totals", {"a": 1}, priority="low", pinned=True, depends_on=["rates"], metadata={"unit": "EUR"})
        entry = wf.get("totals")
        assert entry == put
        assert entry is not None
        assert (entry.key, entry.scope, entry.owner) == ("totals", ContextScope.WORKFLOW, "")
        assert (entry.agent_id, entry.created_by) == ("analyst_001", "analyst_001")
        assert (entry.version, entry.revision) == (1, 1)
        assert (entry.priority, entry.pinned, entry.sensitive) == (ContextPriority.LOW, True, False)
        assert (entry.dependencies, entry.metadata, entry.expires_at) == (("rates",), {"unit": "EUR"}, None)
        assert entry.timestamp.tzinfo is UTC
        assert abs(datetime.now(UTC) - entry.timestamp) < timedelta(minutes=5)
        assert entry.value == wf["totals"] == {"a": 1}

    def test_a_missing_key(self, wf: WorkflowHandle) -> None:
        assert wf.get("k") is None
        assert wf.get("k", "else") == "else"
        with pytest.raises(EntryNotFound, match=r"'q3-close' has no entry 'k' that analyst_001 may read"):
            wf["k"]
        with pytest.raises(KeyError):
            wf["k"]

    def test_a_value_of_none_is_there(self, wf: WorkflowHandle) -> None:
        wf.put("k", None)
        assert wf["k"] is None
        assert wf.get("k") is not None
        assert "k" in wf.view()
        with pytest.raises(EntryExists):
            wf.create("k", 1)

    def test_the_last_put_wins_whole(self, wf: WorkflowHandle, manager: SharedContextManager) -> None:
        wf.put("k", {"a": 1}, priority="high", metadata={"m": 1}, depends_on=["d"], pinned=True)
        other = manager.workflow(wf.workflow_id, agent_id="other_002")
        other.put("k", {"b": 2})
        entry = wf.get("k")
        assert entry is not None
        assert (entry.value, entry.agent_id, entry.version) == ({"b": 2}, "other_002", 2)
        assert (entry.priority, entry.metadata) == (ContextPriority.MEDIUM, {})
        assert (entry.dependencies, entry.pinned) == ((), False)

    def test_create_refuses_what_is_there(self, wf: WorkflowHandle, operator: WorkflowHandle) -> None:
        assert wf.create("k", 1).version == 1
        with nothing_written(operator), pytest.raises(EntryExists, match=r"'k' exists in workflow 'q3-close'"):
            wf.create("k", 2)
        assert wf["k"] == 1

    def test_delete_says_whether_there_was_something(self, wf: WorkflowHandle) -> None:
        assert wf.delete("k") is False
        wf.put("k", 1)
        assert wf.delete("k") is True
        assert wf.get("k") is None
        assert wf.delete("k") is False

    def test_a_delete_that_found_nothing_makes_no_revision(self, wf: WorkflowHandle, operator: WorkflowHandle) -> None:
        wf.put("k", 1)
        with nothing_written(operator):
            wf.delete("other")

    def test_every_commit_is_one_revision(self, wf: WorkflowHandle) -> None:
        assert wf.put("a", 1).revision == 1
        assert wf.create("b", 1).revision == 2
        assert wf.update({"a": 2, "b": 2, "c": 2}).revision == 3
        wf.delete("a")
        assert revision_of(wf) == 4
        revisions = {entry.key: entry.revision for entry in wf.list()}
        assert revisions == {"b": 3, "c": 3}
        assert wf.view().revision == 4

    def test_versions_rise_across_delete_and_recreate(self, wf: WorkflowHandle) -> None:
        seen = [wf.put("k", 0).version, wf.put("k", 1).version]
        for round_ in range(3):
            wf.delete("k")
            seen += [wf.create("k", round_).version, wf.update({"k": round_}).versions["k"], wf.put("k", 9).version]
        assert seen == sorted(set(seen))

    def test_a_new_key_starts_above_what_was_deleted(self, wf: WorkflowHandle) -> None:
        for number in range(5):
            wf.put("long", number)
        wf.delete("long")
        assert wf.create("new", 1).version > 5
        assert wf.create("long", 1).version > 5

    def test_an_expected_version_is_held_to(self, wf: WorkflowHandle, operator: WorkflowHandle) -> None:
        first = wf.put("k", {"n": 1}, expected_version=0)
        second = wf.put("k", {"n": 2}, expected_version=first.version)
        with nothing_written(operator), pytest.raises(VersionConflict) as caught:
            wf.put("k", {"n": 3}, expected_version=first.version)
        assert caught.value.current == second
        assert caught.value.current is not None
        assert caught.value.current.value == {"n": 2}
        for word in ("'k'", "'q3-close'", "expected at version 1", "at version 2"):
            assert word in str(caught.value)

    def test_version_zero_expects_nothing_there(self, wf: WorkflowHandle) -> None:
        wf.put("k", 1)
        with pytest.raises(VersionConflict):
            wf.put("k", 2, expected_version=0)
        with pytest.raises(VersionConflict) as caught:
            wf.put("other", 2, expected_version=1)
        assert caught.value.current is None
        wf.delete("k")
        assert wf.put("k", 3, expected_version=0).version == 2

    def test_delete_is_held_to_an_expected_version_too(self, wf: WorkflowHandle, operator: WorkflowHandle) -> None:
        wf.put("k", 1)
        entry = wf.put("k", 2)
        with nothing_written(operator), pytest.raises(VersionConflict) as caught:
            wf.delete("k", expected_version=1)
        assert caught.value.current == entry
        assert wf.delete("k", expected_version=2) is True
        with pytest.raises(VersionConflict):
            wf.delete("k", expected_version=2)
        assert wf.delete("k", expected_version=0) is False

    def test_an_entry_keeps_its_value_while_others_write(self, wf: WorkflowHandle) -> None:
        wf.put("k", [1, 2])
        entry = wf.get("k")
        wf.put("k", [3])
        assert entry is not None
        assert entry.value == [1, 2]

    def test_what_was_read_is_the_readers_own(self, wf: WorkflowHandle) -> None:
        wf.put("k", [1, 2])
        wf["k"].append(3)
        assert wf["k"] == [1, 2]

    def test_to_dict_has_the_reference_documents_fields(self, wf: WorkflowHandle) -> None:
        entry = wf.put("k", [1], ttl=60, depends_on=["d"], metadata={"m": 1})
        assert entry.expires_at is not None
        assert entry.to_dict() == {
            "key": "k",
            "value": [1],
            "agent_id": "analyst_001",
            "timestamp": entry.timestamp.isoformat(),
            "scope": "workflow",
            "priority": "medium",
            "metadata": {"m": 1},
            "version": 1,
            "expires_at": entry.expires_at.isoformat(),
            "dependencies": ["d"],
        }
