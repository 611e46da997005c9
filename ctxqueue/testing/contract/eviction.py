"""What makes room where room has run out: low entries, then medium ones, those written longest ago first."""
# ruff: noqa: D102, PLR2004, S101 - tests: a name is a sentence, a bare number the expected value

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ctxqueue.errors import CapacityError
from ctxqueue.models import Put
from ctxqueue.stores.engine import eviction
from ctxqueue.testing.contract.base import Contract, nothing_written, until
from ctxqueue.testing.contract.bounds import Limiting
from ctxqueue.testing.contract.runs import Worker

if TYPE_CHECKING:
    from ctxqueue.context import WorkflowHandle
    from ctxqueue.testing.contract.bounds import Limited


def keys(wf: WorkflowHandle) -> set[str]:
    """Return what is left."""
    return set(wf.view())


class Eviction(Limiting, Contract):
    """Who goes, and who never does."""

    def test_low_entries_go_before_medium_ones_and_the_oldest_write_first(
        self, limited: Limited, wf: WorkflowHandle
    ) -> None:
        narrow = limited(max_entries=5)
        for key, priority in (("m1", "medium"), ("l1", "low"), ("m2", "medium"), ("l2", "low"), ("h", "high")):
            narrow.put(key, 1, priority=priority)
        gone = []
        for number in range(4):
            before = keys(wf)
            narrow.put(f"new{number}", 1, priority="high")
            gone += sorted(before - keys(wf))
        assert gone == ["l1", "l2", "m1", "m2"]
        with nothing_written(narrow), pytest.raises(CapacityError, match="entries"):
            narrow.put("one more", 1)

    def test_a_write_makes_an_entry_young_again(self, limited: Limited, wf: WorkflowHandle) -> None:
        narrow = limited(max_entries=3)
        for key in ("a", "b", "c"):
            narrow.put(key, 1)
        narrow.put("a", 2)
        narrow.update({"b": 2}, merge_strategy="increment")
        narrow.put("d", 1)
        assert keys(wf) == {"a", "b", "d"}

    def test_the_pinned_the_high_and_the_critical_never_go(self, limited: Limited, wf: WorkflowHandle) -> None:
        narrow = limited(max_entries=3)
        narrow.put("pinned", 1, pinned=True, priority="low")
        narrow.put("high", 1, priority="high")
        narrow.put("error_state", 1)
        with nothing_written(narrow), pytest.raises(CapacityError):
            narrow.put("new", 1)
        narrow.put("pinned", 1, priority="low")
        narrow.put("new", 1)
        assert keys(wf) == {"high", "error_state", "new"}

    def test_what_a_commit_writes_itself_does_not_go(self, limited: Limited, wf: WorkflowHandle) -> None:
        narrow = limited(max_entries=2)
        narrow.update({"a": Put(1, priority="low"), "b": Put(1, priority="low")})
        narrow.update({"a": 2, "c": 1})
        assert keys(wf) == {"a", "c"}
        with nothing_written(narrow), pytest.raises(CapacityError):
            narrow.update({"a": 3, "d": 1, "e": 1})

    def test_bytes_make_room_likewise(self, limited: Limited, wf: WorkflowHandle) -> None:
        narrow = limited(max_bytes=10_000)
        for key in "abcd":
            narrow.put(key, "x" * 2_000)
        narrow.put("e", "x" * 4_000, priority="high")
        assert keys(wf) == {"c", "d", "e"}
        with nothing_written(narrow), pytest.raises(CapacityError, match="bytes"):
            narrow.put("f", "x" * 6_000)

    def test_what_has_expired_goes_first(self, limited: Limited, wf: WorkflowHandle) -> None:
        narrow = limited(max_entries=2)
        narrow.put("expired", 1, ttl=0.001, priority="high")
        until(lambda: wf.get("expired") is None, "it has expired")
        narrow.put("low", 1, priority="low")
        narrow.put("new", 1)
        assert keys(wf) == {"low", "new"}
        assert [change.kind for change in wf.changes() if change.key == "expired"] == ["put", "expired"]

    def test_at_most_a_hundred_go_in_one_commit(self, limited: Limited, wf: WorkflowHandle) -> None:
        wf.update({f"k{number}": 1 for number in range(150)})
        narrow = limited(max_entries=150)
        with nothing_written(narrow), pytest.raises(CapacityError):
            narrow.update({f"new{number}": 1 for number in range(101)})
        narrow.update({f"new{number}": 1 for number in range(100)})
        assert len(keys(wf)) == 150

    def test_over_a_lowered_limit_it_does_not_grow(self, limited: Limited, wf: WorkflowHandle) -> None:
        wf.update({f"k{number}": 1 for number in range(150)})
        limited(max_entries=20).put("new", 1)
        assert len(keys(wf)) == 150

    def test_an_eviction_is_logged_and_counts_as_an_end(self, limited: Limited, wf: WorkflowHandle) -> None:
        narrow = limited(max_entries=1)
        narrow.put("a", 1)
        narrow.put("b", 1)
        assert [(change.kind, change.key, change.version) for change in wf.changes()] == [
            ("put", "a", 1),
            ("put", "b", 1),
            ("evicted", "a", 1),
        ]
        assert wf.get("a") is None
        assert narrow.put("a", 2).version > 1

    def test_what_a_released_run_is_about_to_read_stays(self, url: str, limited: Limited, wf: WorkflowHandle) -> None:
        worker = Worker(url)
        worker.claim_and_park("r", "awaited")
        narrow = limited(max_entries=2)
        narrow.put("awaited", 1, priority="low")
        narrow.put("other", 1)
        narrow.put("new", 1)
        assert keys(wf) == {"awaited", "new"}
        worker.manager.close()

    def test_of_many_that_waited_for_the_same_no_more_is_spared(
        self, url: str, limited: Limited, wf: WorkflowHandle
    ) -> None:
        worker = Worker(url)
        for number in range(eviction.MOST_GUARDS + 1):
            worker.claim_and_park(f"r{number}", "awaited")
        narrow = limited(max_entries=2)
        narrow.put("awaited", 1, priority="low")
        until(lambda: worker.manager.cleanup_expired_contexts().scanned == 0, "all are released")
        narrow.put("other", 1)
        narrow.put("new", 1)
        assert keys(wf) == {"awaited", "new"}
        worker.manager.close()

    def test_an_evicted_key_that_somebody_waits_for_is_not_there(
        self, url: str, limited: Limited, wf: WorkflowHandle
    ) -> None:
        worker = Worker(url)
        narrow = limited(max_entries=2)
        narrow.put("a", 1, priority="low")
        narrow.put("x", 1)
        worker.claim_and_park("r", "b")
        assert narrow.update({"y": 1}).fired == 0
        assert keys(wf) == {"x", "y"}
        worker.manager.close()
