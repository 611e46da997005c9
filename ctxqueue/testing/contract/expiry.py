"""Entries that end by themselves: not read from then on, whatever the sweeper does."""
# ruff: noqa: D102, PLR2004, S101 - tests: a name is a sentence, a bare number the expected value

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from ctxqueue.errors import EntryExists, VersionConflict
from ctxqueue.models import Put
from ctxqueue.testing.contract.base import Contract, revision_of, standing, until

if TYPE_CHECKING:
    from ctxqueue.context import SharedContextManager, WorkflowHandle

SHORT = 0.03
"""Seconds of a time to live that is waited for."""


def has_expired(wf: WorkflowHandle, key: str) -> None:
    """Wait until it has."""
    until(lambda: wf.get(key) is None, f"{key} has expired")


class Expiry(Contract):
    """ttl, and cleanup_expired_contexts()."""

    @pytest.mark.parametrize("ttl", [3_600, 3_600.0, timedelta(hours=1)])
    def test_ttl_counts_from_the_write(self, wf: WorkflowHandle, ttl: float | timedelta) -> None:
        entry = wf.put("k", 1, ttl=ttl)
        assert entry.expires_at == entry.timestamp + timedelta(hours=1)
        assert wf.get("k") == entry

    def test_an_expired_entry_is_not_read(self, wf: WorkflowHandle) -> None:
        wf.put("stays", 1)
        entry = wf.put("k", 1, ttl=SHORT)
        has_expired(wf, "k")
        assert entry.expires_at is not None
        assert datetime.now(UTC) >= entry.expires_at - timedelta(seconds=1)
        assert "k" not in wf.view()
        assert [each.key for each in wf.list()] == ["stays"]
        assert [each.key for each in wf.list(limit=1)] == ["stays"]

    def test_an_expired_entry_counts_as_absent_for_writers(self, wf: WorkflowHandle) -> None:
        for key in ("created", "expected", "merged", "appended", "set", "refused", "deleted"):
            wf.update({key: Put([1], ttl=SHORT, priority="high", metadata={"old": True})})
            has_expired(wf, key)
        assert wf.create("created", 2).version == 2
        assert wf.put("expected", 2, expected_version=0).version == 2
        wf.update({"merged": [2]})
        wf.update({"appended": [2]}, merge_strategy="append")
        wf.update({"set": [2]}, merge_strategy="replace")
        with pytest.raises(VersionConflict) as caught:
            wf.put("refused", 2, expected_version=1)
        assert caught.value.current is None
        assert wf.delete("deleted") is False
        for key in ("merged", "appended", "set"):
            entry = wf.get(key)
            assert entry is not None
            assert (entry.value, entry.version, entry.metadata, entry.expires_at) == ([2], 2, {}, None)

    def test_put_without_ttl_lets_an_entry_live(self, wf: WorkflowHandle) -> None:
        wf.put("k", 1, ttl=60)
        assert wf.put("k", 2).expires_at is None

    def test_update_keeps_the_expiry(self, wf: WorkflowHandle) -> None:
        for key, value in (("dict", {"a": 1}), ("text", "a"), ("list", [1])):
            first = wf.put(key, value, ttl=60)
            wf.update({key: value}, merge_strategy="append" if key == "list" else "smart_merge")
            after = wf.get(key)
            assert after is not None
            assert (after.version, after.expires_at) == (2, first.expires_at)

    def test_a_ttl_in_an_update_is_a_new_expiry(self, wf: WorkflowHandle) -> None:
        first = wf.put("k", {"a": 1}, ttl=60)
        wf.update({"k": Put({"b": 2}, ttl=3_600)})
        after = wf.get("k")
        assert after is not None
        assert first.expires_at is not None
        assert after.expires_at is not None
        assert after.expires_at > first.expires_at + timedelta(minutes=50)

    def test_the_sweep_removes_each_expired_entry_once(
        self, wf: WorkflowHandle, manager: SharedContextManager, operator: WorkflowHandle
    ) -> None:
        wf.put("stays", 1)
        wf.update({f"k{number}": Put(number, ttl=SHORT) for number in range(5)})
        wf.put("later", 1, ttl=3_600)
        has_expired(wf, "k4")
        revision = revision_of(wf)
        report = manager.cleanup_expired_contexts()
        assert (report.scanned, report.expired, report.kept, report.complete) == (1, 5, 0, True)
        assert report.seconds > 0
        assert revision_of(wf) == revision + 1
        before = standing(operator)
        again = manager.cleanup_expired_contexts()
        assert (again.scanned, again.expired, again.complete) == (0, 0, True)
        assert standing(operator) == before
        assert sorted(key for _, _, key in before.entries) == ["later", "stays"]

    def test_a_renewed_entry_is_kept(self, wf: WorkflowHandle, manager: SharedContextManager) -> None:
        wf.put("renewed", 1, ttl=SHORT)
        wf.put("freed", 1, ttl=SHORT)
        wf.put("clock", 1, ttl=SHORT)
        wf.put("renewed", 2, ttl=3_600)
        wf.put("freed", 2)
        has_expired(wf, "clock")
        wf.put("clock", 2)
        report = manager.cleanup_expired_contexts()
        assert (report.scanned, report.expired, report.kept, report.complete) == (1, 0, 1, True)
        assert dict(wf.view()) == {"renewed": 2, "freed": 2, "clock": 2}
        assert manager.cleanup_expired_contexts().scanned == 0

    def test_versions_rise_across_an_expiry(self, wf: WorkflowHandle, manager: SharedContextManager) -> None:
        wf.put("k", 1)
        wf.put("k", 2, ttl=SHORT)
        has_expired(wf, "k")
        assert wf.create("k", 3).version == 3
        wf.put("k", 4, ttl=SHORT)
        has_expired(wf, "k")
        manager.cleanup_expired_contexts()
        assert wf.create("k", 5).version == 5

    def test_a_sweep_holds_to_its_limit(self, wf: WorkflowHandle, manager: SharedContextManager) -> None:
        second = manager.workflow("second", agent_id="analyst_001")
        second.open()
        for handle in (wf, second):
            handle.update({f"k{number}": Put(number, ttl=SHORT) for number in range(120)})
            has_expired(handle, "k0")
        expired, reports = 0, []
        while expired < 240:
            report = manager.cleanup_expired_contexts(limit=50)
            assert 0 < report.expired <= 50
            expired += report.expired
            reports.append(report.complete)
        assert reports[0] is False
        until(lambda: manager.cleanup_expired_contexts().complete, "nothing more is due")
        assert manager.cleanup_expired_contexts().scanned == 0

    def test_a_sweep_that_reached_its_limit_says_so(self, manager: SharedContextManager) -> None:
        handles = [manager.workflow(f"w{number}") for number in range(3)]
        for handle in handles:
            handle.open()
            handle.put("k", 1, ttl=SHORT)
            has_expired(handle, "k")
            handle.put("k", 2)
        for _ in range(2):
            report = manager.cleanup_expired_contexts(limit=1)
            assert (report.scanned, report.kept, report.complete) == (1, 1, False)
        assert manager.cleanup_expired_contexts(limit=1).complete is True

    def test_an_entry_may_be_recreated_before_and_after_the_sweep(
        self, wf: WorkflowHandle, manager: SharedContextManager
    ) -> None:
        wf.put("k", 1, ttl=SHORT)
        has_expired(wf, "k")
        wf.create("k", 2)
        with pytest.raises(EntryExists):
            wf.create("k", 2)
        manager.cleanup_expired_contexts()
        assert wf["k"] == 2
