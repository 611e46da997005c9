"""What was: earlier values, the log of changes, a workflow as it stood at a revision."""
# ruff: noqa: D102, PLR2004, S101 - tests: a name is a sentence, a bare number the expected value

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ctxqueue.errors import (
    AccessDenied,
    HistoryDiverged,
    InvalidInput,
    InvalidName,
    RevisionTrimmed,
    VersionConflict,
    WorkflowNotFound,
)
from ctxqueue.models import Put
from ctxqueue.testing.contract.base import WORKFLOW, Contract, until
from ctxqueue.testing.contract.bounds import Limiting

if TYPE_CHECKING:
    from ctxqueue.context import SharedContextManager, WorkflowHandle
    from ctxqueue.testing.contract.bounds import Limited


def values(wf: WorkflowHandle, key: str, **arguments: Any) -> list[tuple[int, Any]]:
    """Return (version, value) of each version."""
    return [(entry.version, entry.value) for entry in wf.history(key, **arguments)]


def log(wf: WorkflowHandle, **arguments: Any) -> list[tuple[int, str, str, int]]:
    """Return (revision, kind, key, version) of each change."""
    return [(change.revision, change.kind, change.key, change.version) for change in wf.changes(**arguments)]


class Histories(Limiting, Contract):
    """history, changes, at, purge."""

    # --- history -----------------------------------------------------------------------------------------------

    def test_earlier_values_are_kept_newest_first(self, wf: WorkflowHandle) -> None:
        wf.put("k", 1)
        wf.update({"k": 2}, merge_strategy="increment")
        wf.update({"k": {"a": 1}})
        assert values(wf, "k") == [(3, {"a": 1}), (2, 3), (1, 1)]
        assert values(wf, "k", limit=2) == [(3, {"a": 1}), (2, 3)]
        assert values(wf, "none") == []

    def test_as_many_as_the_setting_says(self, limited: Limited, wf: WorkflowHandle) -> None:
        for number in range(30):
            wf.put("k", number)
        assert [version for version, _ in values(wf, "k", limit=100)] == list(range(30, 10, -1))
        for kept, left in ((3, [31, 30, 29]), (1, [32, 30, 29]), (0, [33, 30, 29])):
            limited(history=kept).put("k", "new")
            assert [version for version, _ in values(wf, "k")][:3] == left

    def test_a_deleted_entry_has_its_history(self, wf: WorkflowHandle) -> None:
        wf.put("k", 1)
        wf.put("k", 2)
        wf.delete("k")
        assert values(wf, "k") == [(2, 2), (1, 1)]
        wf.put("k", 3)
        assert values(wf, "k") == [(3, 3), (2, 2), (1, 1)]

    def test_what_is_gone_is_forgotten_once_the_log_tells_of_it_no_more(
        self, limited: Limited, wf: WorkflowHandle, manager: SharedContextManager
    ) -> None:
        short = limited(log_limit=10)
        short.update({"gone": 1, "back": 1, "stays": 1, "expires": 1})
        short.update({"gone": 2, "back": 2, "stays": 2, "expires": Put(2, ttl=0.001)})
        for key in ("gone", "back"):
            short.delete(key)
        until(lambda: short.get("expires") is None, "it has expired")
        manager.cleanup_expired_contexts()  # revision 5
        short.put("back", 3)
        for number in range(7):
            short.put("late", number)
            short.delete("late")
            assert values(wf, "gone") == ([(2, 2), (1, 1)] if number < 3 else [])  # it went with revision 3
        assert values(wf, "expires") == []
        assert values(wf, "back") == [(3, 3), (2, 2), (1, 1)]
        assert values(wf, "stays") == [(2, 2), (1, 1)]
        assert len(values(wf, "late")) == 7
        for revision in range(11, 21):  # all that the log promises
            late = {"late": (revision - 7) // 2} if revision % 2 else {}
            assert dict(wf.at(revision)) == {"back": 3, "stays": 2, **late}

    def test_large_values_come_page_by_page(self, wf: WorkflowHandle) -> None:
        for number in range(12):
            wf.put("k", [number, "x" * 100_000])
        assert [value[0] for _, value in values(wf, "k")] == list(range(11, -1, -1))

    def test_an_expired_value_is_not_served(self, wf: WorkflowHandle, manager: SharedContextManager) -> None:
        wf.put("k", 1)
        wf.put("k", 2, ttl=0.001)
        until(lambda: wf.get("k") is None, "it has expired")
        assert values(wf, "k") == [(1, 1)]
        manager.cleanup_expired_contexts()
        wf.put("k", 3)
        assert values(wf, "k") == [(3, 3), (1, 1)]

    def test_the_innermost_address_that_the_agent_may_see(
        self, wf: WorkflowHandle, manager: SharedContextManager
    ) -> None:
        wf.put("k", "workflow")
        wf.put("k", "global", scope="global")
        wf.put("k", "own", scope="private")
        other = manager.workflow(WORKFLOW, agent_id="other_1")
        assert values(wf, "k") == [(1, "own")]
        assert values(other, "k") == [(1, "workflow")]
        assert values(other, "k", scope="global") == [(1, "global")]
        with pytest.raises(AccessDenied):
            other.history("k", group="audit")

    def test_a_version_that_was_sensitive_stays_so(self, wf: WorkflowHandle, manager: SharedContextManager) -> None:
        operator = manager.workflow(WORKFLOW)
        wf.put("note", "secret", sensitive=True)
        operator.put("note", "plain", sensitive=False)
        assert values(wf, "note") == [(2, "plain")]
        concealed = operator.history("note")[1]
        assert "secret" not in repr(concealed.value)
        assert operator.history("note", reveal=True)[1].value == "secret"

    def test_purge_forgets(self, wf: WorkflowHandle) -> None:
        for number in range(3):
            wf.put("k", number)
        wf.put("other", 1)
        wf.put("other", 2)
        assert wf.delete("k", purge=True) is True
        assert values(wf, "k") == []
        assert len(values(wf, "other")) == 2
        wf.put("k", 3)
        wf.put("k", 4)
        wf.delete("k")
        assert len(values(wf, "k")) == 2
        assert wf.delete("k", purge=True) is False
        assert values(wf, "k") == []
        with pytest.raises(VersionConflict):
            wf.delete("other", purge=True, expected_version=1)
        assert len(values(wf, "other")) == 2

    @pytest.mark.parametrize("limit", [0, -1, 1_001, True, "1", None])
    def test_a_wrong_limit(self, wf: WorkflowHandle, limit: Any) -> None:
        for call in (lambda: wf.history("k", limit=limit), lambda: wf.changes(limit=limit)):
            with pytest.raises(InvalidInput, match="limit"):
                call()

    def test_a_wrong_key_or_an_unknown_workflow(self, wf: WorkflowHandle, manager: SharedContextManager) -> None:
        with pytest.raises(InvalidName):
            wf.history("")
        nowhere = manager.workflow("nowhere", agent_id="analyst_001")
        for call in (lambda: nowhere.history("k"), nowhere.changes, lambda: nowhere.at(0), lambda: nowhere.etag):
            with pytest.raises(WorkflowNotFound):
                call()

    # --- changes -----------------------------------------------------------------------------------------------

    def test_every_change_is_logged_once(self, wf: WorkflowHandle, manager: SharedContextManager) -> None:
        wf.update({"a": 1, "b": 1})
        wf.put("a", 2)
        wf.delete("b")
        wf.delete("b")
        wf.put("c", 1, ttl=0.001)
        until(lambda: wf.get("c") is None, "it has expired")
        manager.cleanup_expired_contexts()
        manager.cleanup_expired_contexts()
        wf.put("d", 1, ttl=0.001)
        until(lambda: wf.get("d") is None, "it has expired")
        wf.put("d", 2)
        assert log(wf) == [
            (1, "put", "a", 1),
            (1, "put", "b", 1),
            (2, "put", "a", 2),
            (3, "deleted", "b", 1),
            (4, "put", "c", 2),
            (5, "expired", "c", 2),
            (6, "put", "d", 3),
            (7, "expired", "d", 3),
            (7, "put", "d", 4),
        ]
        by = {change.key: change.agent_id for change in wf.changes() if change.kind == "put"}
        assert set(by.values()) == {"analyst_001"}
        assert log(wf, from_revision=5) == [(6, "put", "d", 3), (7, "expired", "d", 3), (7, "put", "d", 4)]
        assert log(wf, from_revision=7) == []

    def test_nobody_expired_what_the_next_one_found_expired(
        self, wf: WorkflowHandle, manager: SharedContextManager
    ) -> None:
        wf.put("k", 1, ttl=0.05)
        until(lambda: wf.get("k") is None, "it has expired")
        manager.workflow(wf.workflow_id, agent_id="other_1").put("k", 2)
        changes = [(change.kind, change.agent_id) for change in wf.changes() if change.key == "k"]
        assert changes == [("put", wf.agent.agent_id), ("expired", ""), ("put", "other_1")]

    def test_pages_go_on_within_a_revision(self, wf: WorkflowHandle) -> None:
        wf.update({f"k{number:02}": 1 for number in range(30)})
        wf.update({f"k{number:02}": 2 for number in range(30)})
        found, cursor = [], None
        while True:
            page = wf.changes(limit=7, cursor=cursor)
            found += [(change.revision, change.key) for change in page]
            cursor = page.next_cursor
            if cursor is None:
                break
        assert found == [(revision, f"k{number:02}") for revision in (1, 2) for number in range(30)]

    def test_a_trimmed_log_says_so(self, limited: Limited, wf: WorkflowHandle) -> None:
        short = limited(log_limit=5)
        for number in range(8):
            short.put("k", number)
        with pytest.raises(RevisionTrimmed, match="begins at revision 4, 1 is gone"):
            wf.changes()
        assert [change.revision for change in wf.changes(3)] == [4, 5, 6, 7, 8]

    def test_a_revision_that_never_was(self, wf: WorkflowHandle) -> None:
        wf.put("k", 1)
        assert wf.changes(1).items == ()
        with pytest.raises(HistoryDiverged):
            wf.changes(2)
        with pytest.raises(HistoryDiverged):
            wf.at(2)

    def test_a_cursor_into_another_history(self, wf: WorkflowHandle) -> None:
        for _ in range(3):
            wf.update({"a": 1, "b": 1})
        cursor = wf.changes(limit=3).next_cursor
        wf.remove()
        wf.open()
        for _ in range(3):
            wf.update({"a": 1, "b": 1})
        with pytest.raises(HistoryDiverged):
            wf.changes(cursor=cursor)
        for wrong in (
            "x",
            "",
            "MS4y",
            7,
            "a.-5.00",
            f"a.{2**63}.00",
            "a.1.00.-3",
            "a.1.",
            "a.1.00.",
            ".1.00",
            "a.1.0g",
        ):
            with pytest.raises(InvalidInput, match="cursor"):
                wf.changes(cursor=wrong)  # type: ignore[arg-type]

    @pytest.mark.parametrize("revision", [-1, True, 1.0, "1", None])
    def test_a_wrong_revision(self, wf: WorkflowHandle, revision: Any) -> None:
        for call in (wf.changes, wf.at):
            with pytest.raises(InvalidInput, match="revision"):
                call(revision)

    @pytest.mark.parametrize("revision", [2**53, 2**63, 2**64, 10**40])
    def test_a_revision_beyond_what_stores_count_to(self, wf: WorkflowHandle, revision: int) -> None:
        with pytest.raises((HistoryDiverged, InvalidInput)):
            wf.changes(revision)
        with pytest.raises(HistoryDiverged):
            wf.at(revision)

    def test_the_log_shows_only_what_the_agent_may_see(self, wf: WorkflowHandle, manager: SharedContextManager) -> None:
        other = manager.workflow(WORKFLOW, agent_id="web_extractor_1", groups=["audit"])
        wf.put("private_notes", 1)
        wf.put("exchange_credential", "x")
        wf.put("exchange_api_key", "x")
        wf.put("plain", "x", sensitive=True)
        wf.delete("plain")
        other.put("k", 1, group="audit")
        wf.set_agent_state(step=1)
        assert [change.key for change in wf.changes()] == ["private_notes"]
        assert [change.key for change in other.changes()] == ["exchange_credential", "k"]
        everything = ["private_notes", "exchange_credential", "exchange_api_key", "plain", "plain", "k"]
        assert [change.key for change in manager.workflow(WORKFLOW).changes()] == everything

    # --- at ----------------------------------------------------------------------------------------------------

    def test_every_revision_can_be_seen_again(self, wf: WorkflowHandle) -> None:
        seen = [dict(wf.view())]
        for step in (
            lambda: wf.put("a", 1),
            lambda: wf.update({"a": 2, "b": {"x": 1}}),
            lambda: wf.update({"b": {"y": 2}}),
            lambda: wf.delete("a"),
            lambda: wf.put("a", 3),
            lambda: wf.put("a", "own", scope="private"),
            lambda: wf.delete("a", scope="private"),
            lambda: wf.delete("b"),
            lambda: wf.put("c", 1, ttl=3_600),
        ):
            step()
            seen.append(dict(wf.view()))
        for revision, expected in enumerate(seen):
            view = wf.at(revision)
            assert (dict(view), view.revision) == (expected, revision)

    def test_what_is_not_kept_any_more(self, limited: Limited, wf: WorkflowHandle) -> None:
        for number in range(5):
            limited(history=2).put("k", number)
        assert [wf.at(revision)["k"] for revision in (5, 4)] == [4, 3]
        with pytest.raises(RevisionTrimmed, match=r"version 3 of 'k'.*ctxqueue_history"):
            wf.at(3)
        assert dict(wf.at(0)) == {}
        for _ in range(3):
            limited(log_limit=2).put("other", 1)
        with pytest.raises(RevisionTrimmed, match="log"):
            wf.at(4)

    def test_small_values_over_many_large_ones_in_one_commit(self, wf: WorkflowHandle) -> None:
        large = {f"k{number:02}": str(number % 10) * 200_000 for number in range(12)}
        for strategy, small in (("replace", 1), ("smart_merge", {"n": 1}), ("deep_merge", [1])):
            for key, text in large.items():
                wf.put(key, text, priority="high", metadata={"of": key})
            before = {key: wf.view().entry(key).version for key in large}
            result = wf.update(dict.fromkeys(large, small), merge_strategy=strategy)
            assert result.versions == {key: version + 1 for key, version in before.items()}
            view = wf.view()
            for key in large:
                assert view[key] == small
                entry = view.entry(key)
                assert (entry.priority.value, entry.metadata) == ("high", {"of": key})
            kept = [key for key in large if len(wf.history(key)) > 1 and wf.history(key)[1].version == before[key]]
            assert kept == list(large)[: len(kept)]
            assert kept, "as many as a megabyte holds"

    def test_what_has_expired_is_not_seen_as_of_any_revision(
        self, wf: WorkflowHandle, manager: SharedContextManager
    ) -> None:
        wf.update({"a": Put(1, ttl=0.001), "b": 1})
        until(lambda: wf.get("a") is None, "it has expired")
        assert dict(wf.at(1)) == {"b": 1}
        manager.cleanup_expired_contexts()
        wf.put("a", 2)
        assert dict(wf.at(1)) == {"b": 1}

    def test_the_visibility_rule_holds_for_the_past(self, wf: WorkflowHandle, manager: SharedContextManager) -> None:
        other = manager.workflow(WORKFLOW, agent_id="other_1")
        wf.update({"private_a": 1, "b_password": 1, "c": 1})
        for number in range(30):
            wf.update({"private_a": number, "b_password": number, "c": 2})
        assert dict(other.at(30)) == {"c": 2}
        with pytest.raises(RevisionTrimmed) as caught:
            other.at(2)
        assert "private_a" not in str(caught.value)
        assert "password" not in str(caught.value)

    def test_what_became_secret_since_is_missed_where_it_is_not_kept(
        self, wf: WorkflowHandle, manager: SharedContextManager
    ) -> None:
        other = manager.workflow(WORKFLOW, agent_id="other_1")
        wf.update({"was_plain": 1, "was_secret": Put(1, sensitive=True)})
        wf.update({"was_plain": Put(2, sensitive=True), "was_secret": Put(2, sensitive=False), "c": 1})
        for number in range(30):
            wf.update({"was_secret": number})
        assert dict(other.at(1)) == {"was_plain": 1}
        for number in range(30):
            wf.update({"was_plain": number})
        with pytest.raises(RevisionTrimmed, match="'was_plain'"):
            other.at(1)
