"""Watches: each change once, in order, by whoever may see it, also on from where another watch has ended."""
# ruff: noqa: D102, PLR2004, S101 - tests: a name is a sentence, a bare number the expected value

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, Any

import pytest

from ctxqueue.errors import HistoryDiverged, InvalidInput, RevisionTrimmed, WorkflowNotFound
from ctxqueue.models import Change, Progress
from ctxqueue.testing.contract.base import WORKFLOW, Contract, until
from ctxqueue.testing.contract.bounds import Limiting

if TYPE_CHECKING:
    from ctxqueue.context import SharedContextManager, WorkflowHandle
    from ctxqueue.testing.contract.bounds import Limited

SHORT = 0.05
"""Seconds without a change after which a test takes a watch for up to date."""
LONG = 60.0


def told(item: Change | Progress) -> tuple[Any, ...]:
    """Return what matters of it."""
    return (item.revision, item.kind, item.key) if isinstance(item, Change) else (item.revision, "progress")


class Watching(Limiting, Contract):
    """watch."""

    def test_each_change_comes_once_to_every_watcher_in_order(
        self, wf: WorkflowHandle, manager: SharedContextManager
    ) -> None:
        def write() -> None:
            for number in range(20):
                writer.update({"a": number, f"k{number}": 1})

        writer = manager.workflow(WORKFLOW, agent_id="writer_1")
        with wf.watch() as first, wf.watch(timeout=LONG) as second, ThreadPoolExecutor(3) as threads:
            seen = [
                threads.submit(lambda each: [told(item) for item in islice(each, 40)], each) for each in (first, second)
            ]
            threads.submit(write).result()
            expected = [(number + 1, "put", key) for number in range(20) for key in ("a", f"k{number}")]
            assert [each.result() for each in seen] == [expected, expected]

    def test_a_cursor_goes_on_behind_what_was_taken_also_within_a_revision(self, wf: WorkflowHandle) -> None:
        wf.put("before", 1)
        watch = wf.watch()
        assert watch.cursor == wf.etag
        wf.update(dict.fromkeys("abc", 1))
        wf.delete("a")
        rest = [(2, "put", "a"), (2, "put", "b"), (2, "put", "c"), (3, "deleted", "a")]
        for left in range(4, 0, -1):
            assert [told(item) for item in islice(wf.watch(from_revision=watch.cursor), left)] == rest[-left:]
            assert told(next(watch)) == rest[-left]
        assert watch.cursor == wf.etag
        watch.close()
        assert list(watch) == []
        assert [told(item) for item in islice(wf.watch(from_revision=1), 4)] == rest
        assert [told(item) for item in wf.watch(from_revision=0, timeout=SHORT)] == [(1, "put", "before"), *rest]

    def test_what_it_may_not_show_is_progress_alone(self, wf: WorkflowHandle, manager: SharedContextManager) -> None:
        other = manager.workflow(WORKFLOW, agent_id="other_1", groups=["audit"])
        with wf.watch("result_*", timeout=LONG) as watch:
            other.put("private_result", 1)
            assert told(next(watch)) == (1, "progress")
            other.put("result_1", 1, group="audit")
            other.put("result_password", 1)
            other.set_agent_state(mood="good")
            wf.put("total", 1)
            until(lambda: next(watch) == Progress(5), "it has come so far")
            assert watch.cursor == wf.etag
            other.update({"private_result": 2, "result_1": 1})
            assert told(next(watch)) == (6, "put", "result_1")
            assert watch.cursor == wf.etag

    def test_what_is_deleted_evicted_and_has_expired_is_told(
        self, wf: WorkflowHandle, manager: SharedContextManager, limited: Limited
    ) -> None:
        with wf.watch(timeout=LONG) as watch:
            wf.put("a", 1, ttl=SHORT)
            wf.put("b", 1)
            until(lambda: wf.get("a") is None, "it has expired")
            manager.cleanup_expired_contexts()
            wf.delete("b")
            wf.put("c", 1, priority="low")
            limited(max_entries=1).put("d", 1)
            seen = [told(item) for item in islice(watch, 7)]
        assert [each[1:] for each in seen] == [
            *(("put", "a"), ("put", "b"), ("expired", "a"), ("deleted", "b"), ("put", "c")),
            *(("put", "d"), ("evicted", "c")),
        ]

    def test_the_global_context_is_watched_by_its_keys(self, wf: WorkflowHandle, manager: SharedContextManager) -> None:
        with wf.watch("global_*", timeout=LONG) as watch:
            wf.put("local", 1)
            manager.workflow("another", agent_id="other_1").open()
            manager.workflow("another", agent_id="other_1").put("global_rate", 1)
            change = next(watch)
            assert told(change) == (wf.view().global_revision, "put", "global_rate")
            assert isinstance(change, Change)
            assert change.scope.value == "global"
        with pytest.raises(HistoryDiverged):
            next(wf.watch(from_revision=watch.cursor))

    def test_a_log_that_no_longer_reaches_back_is_no_gap(self, limited: Limited) -> None:
        short = limited(log_limit=5)
        short.put("k", 0)
        with short.watch(timeout=LONG) as watch:
            for number in range(8):
                short.put("k", number)
            for _ in range(2):
                with pytest.raises(RevisionTrimmed, match="1 is gone"):
                    next(watch)
            assert [told(item)[0] for item in short.watch(from_revision=short.at(5).revision, timeout=SHORT)][-1] == 9

    def test_another_history_is_not_gone_on_with(self, wf: WorkflowHandle) -> None:
        for _ in range(3):
            wf.put("k", 1)
        with wf.watch(timeout=LONG) as watch:
            wf.remove()
            with pytest.raises(WorkflowNotFound):
                next(watch)
            wf.open()
            for _ in range(3):
                wf.put("k", 2)
            for each in (watch, wf.watch(from_revision=watch.cursor)):
                with pytest.raises(HistoryDiverged, match="made anew"):
                    next(each)
        with pytest.raises(HistoryDiverged):
            next(wf.watch(from_revision=4))

    def test_it_ends_with_the_workflow_once_all_is_told(self, wf: WorkflowHandle) -> None:
        with wf.watch() as watch:
            wf.put("k", 1)
            wf.close()
            assert [told(item) for item in watch] == [(1, "put", "k")]

    def test_it_ends_when_nothing_has_come_for_some_time(self, wf: WorkflowHandle) -> None:
        begun = time.monotonic()
        assert list(wf.watch(timeout=SHORT)) == []
        assert time.monotonic() - begun >= SHORT

    def test_mistakes_in_a_watch(self, wf: WorkflowHandle, manager: SharedContextManager) -> None:
        wrong: list[dict[str, Any]] = [
            *({"pattern": ""}, {"pattern": 7}, {"timeout": 0}, {"timeout": -1}, {"from_revision": -1}),
            *({"from_revision": 1.5}, {"from_revision": True}, {"from_revision": "x"}),
        ]
        for given in wrong:
            with pytest.raises(InvalidInput):
                wf.watch(**given)
        with pytest.raises(WorkflowNotFound):
            manager.workflow("unknown").watch()
