"""Updates that wait in an inbox for its drain: many in one commit, each as if it had come alone."""

# ruff: noqa: D102, PLR2004, S101 - tests: a name is a sentence, a bare number the expected value

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from ctxqueue import effects as fx
from ctxqueue import errors
from ctxqueue.flows import draining
from ctxqueue.models import Put
from ctxqueue.testing.contract.base import WORKFLOW, revision_of, until
from ctxqueue.testing.contract.clerks import ANN, BOB, Clerk, WithClerk, written_by_a_newer_worker

if TYPE_CHECKING:
    from ctxqueue.context import WorkflowHandle


class Draining(WithClerk):
    """Updates that a drain does."""

    # Together ----------------------------------------------------------------------------------------------------

    def test_many_updates_are_one_revision_with_a_version_each(self, clerk: Clerk, wf: WorkflowHandle) -> None:
        wf.update({"list": [0]})
        updates = [
            clerk.queued(
                {"list": [number], f"k{number % 3}": number}, operation=f"o{number}", agent=ANN if number % 2 else BOB
            )
            for number in range(1, 10)
        ]
        assert clerk.drain() == (9, 0, 0, False)
        assert revision_of(wf) == 2
        for number, update in enumerate(updates, start=1):
            result = update.get()
            assert result.revision == 2
            assert dict(result.versions) == {"list": 1 + number, f"k{number % 3}": 1 + (number - 1) // 3}
        assert wf["list"] == [9]
        entry = wf.get("list")
        assert entry is not None
        assert (entry.version, entry.agent_id) == (10, ANN)
        logged = [(c.version, c.agent_id) for c in wf.changes(1) if c.key == "list"]
        assert logged == [(1 + number, ANN if number % 2 else BOB) for number in range(1, 10)]

    @pytest.mark.parametrize(
        ("strategy", "values"),
        [
            ("append", [[number] for number in range(20)]),
            ("increment", list(range(20))),
            ("smart_merge", [{f"k{number}": number} for number in range(20)]),
            ("keep", [7, 8, 9]),
            ("maximum", [3, 9, 4]),
        ],
    )
    def test_a_drain_merges_as_direct_updates_do(
        self, clerk: Clerk, wf: WorkflowHandle, strategy: str, values: list[Any]
    ) -> None:
        for number, value in enumerate(values):
            wf.update({"direct": value}, merge_strategy=strategy)
            clerk.queued({"drained": value}, strategy, operation=f"o{number}")
        clerk.drain()
        direct, drained = wf.get("direct"), wf.get("drained")
        assert direct is not None
        assert drained is not None
        assert (direct.value, direct.version) == (drained.value, drained.version)

    def test_one_that_fails_leaves_the_others_alone(self, clerk: Clerk, operator: WorkflowHandle) -> None:
        operator.update({"text": "x", "list": [0]})
        updates = [
            clerk.queued({"list": [1]}, "append", operation="o1"),
            clerk.queued({"fine": [1], "text": [2]}, "append", operation="o2"),
            clerk.queued({"list": Put([3], expected_version=2)}, "append", operation="o3"),
            clerk.queued({"list": Put([4], expected_version=2)}, "append", operation="o4"),
        ]
        assert clerk.drain() == (2, 2, 0, False)
        assert [update.state for update in updates] == ["APPLIED", "FAILED", "APPLIED", "FAILED"]
        with pytest.raises(errors.InvalidInput, match="append needs a list"):
            updates[1].get()
        with pytest.raises(errors.VersionConflict, match="expected at version 2"):
            updates[3].get()
        assert operator["list"] == [0, 1, 3]
        assert operator.get("fine") is None

    def test_options_are_laid_over_one_another(self, clerk: Clerk, operator: WorkflowHandle) -> None:
        clerk.queued({"a": Put(1, ttl=3_600, priority="high")}, "replace", operation="o1")
        clerk.queued({"a": 2}, "replace", operation="o2")
        clerk.queued({"b": Put(1, ttl=3_600)}, "replace", operation="o3")
        clerk.queued({"b": Put(2, sensitive=True, metadata={"m": 1})}, "replace", operation="o4")
        clerk.drain()
        a, b = operator.get("a"), operator.get("b")
        assert a is not None
        assert b is not None
        assert a.expires_at is not None
        assert b.expires_at is not None
        assert (a.value, a.priority.value, b.sensitive, b.metadata) == (2, "high", True, {"m": 1})

    def test_a_version_that_only_the_store_knows_waits_for_the_next_commit(
        self, clerk: Clerk, wf: WorkflowHandle
    ) -> None:
        wf.put("a", 1)
        wf.delete("a")
        clerk.queued({"a": 2}, operation="o1")
        right = clerk.queued({"a": Put(3, expected_version=2)}, operation="o2")
        clerk.drain()
        assert dict(right.get().versions) == {"a": 3}
        assert revision_of(wf) == 4

    def test_more_than_one_commit_takes(self, clerk: Clerk, wf: WorkflowHandle) -> None:
        for number in range(6):
            clerk.queued({f"k{number}x{each}": "x" * 4_000 for each in range(90)}, operation=f"o{number}")
        assert clerk.drain() == (6, 0, 0, False)
        assert len(list(wf.list(limit=1_000))) == 540

    def test_dependencies_are_checked_for_circles(self, clerk: Clerk, wf: WorkflowHandle) -> None:
        clerk.queued({"a": Put(1, depends_on=["b"])}, operation="o1")
        circular = clerk.queued({"b": Put(1, depends_on=["a"])}, operation="o2")
        clerk.queued({"c": 1}, operation="o3")
        assert clerk.drain() == (2, 1, 0, False)
        with pytest.raises(errors.CircularDependencyError):
            circular.get()
        assert wf.get("c") is not None

    def test_one_that_has_no_room_fails_alone(self, clerk: Clerk, operator: WorkflowHandle) -> None:
        bounds = msgspec.structs.replace(clerk.manager.terms.bounds, max_entries=2)
        clerk.manager.terms.bounds = bounds
        updates = [clerk.queued({f"k{number}": Put(1, priority="high")}, operation=f"o{number}") for number in range(4)]
        clerk.drain()
        assert [update.state for update in updates] == ["APPLIED", "APPLIED", "FAILED", "FAILED"]
        with pytest.raises(errors.CapacityError):
            updates[3].get()
        assert len(list(operator.list())) == 2

    def test_a_direct_call_of_the_same_operation_is_the_first(self, clerk: Clerk, wf: WorkflowHandle) -> None:
        before = clerk.queued({"a": [1]}, "append", operation="o1")
        same = clerk.queued({"a": [2]}, "append", operation="o2", agent=wf.agent.agent_id)
        wf.update({"a": [3]}, merge_strategy="append", operation_id="o2")
        clerk.drain()
        assert wf["a"] == [3, 1]
        assert dict(before.get().versions) == {"a": 2}
        assert dict(same.get().versions) == {"a": 1}

    def test_a_direct_write_between_reading_and_committing_is_not_lost(self, clerk: Clerk, wf: WorkflowHandle) -> None:
        for number in range(4):
            clerk.queued({"a": [number]}, "append", operation=f"o{number}")
        clerk.drain_but_first(lambda: wf.update({"a": ["direct"]}, merge_strategy="append"))
        assert wf["a"] == ["direct", 0, 1, 2, 3]

    def test_what_is_stored_while_others_commit_is_settled(self, clerk: Clerk, wf: WorkflowHandle) -> None:
        ended = threading.Event()

        def write() -> None:
            while not ended.is_set():
                wf.put("direct", 1)

        writer = threading.Thread(target=write)
        writer.start()
        try:
            updates = [clerk.queued({"a": [number]}, "append", operation=f"o{number}") for number in range(50)]
        finally:
            ended.set()
            writer.join()
        until(lambda: clerk.drain().applied or wf.get("a") is not None, "the drain has come")
        assert [update.state for update in updates] == ["APPLIED"] * 50
        assert wf["a"] == list(range(50))

    def test_a_circle_fails_the_update_that_would_close_it(self, clerk: Clerk, operator: WorkflowHandle) -> None:
        operator.put("n", 1)
        operator.put("b", 1, depends_on=["a"])
        no_list = clerk.queued({"n": [1]}, "append", operation="o1")
        circular = clerk.queued({"a": Put(1, depends_on=["b"])}, operation="o2", agent=BOB)
        assert clerk.drain(batches=5) == (0, 2, 0, False)
        for update, error in ((no_list, errors.InvalidInput), (circular, errors.CircularDependencyError)):
            with pytest.raises(error):
                update.get()

    def test_what_a_newer_worker_wrote_is_left_to_one(
        self, clerk: Clerk, operator: WorkflowHandle, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        written_by_a_newer_worker(operator, "a", monkeypatch)
        alone, queued = clerk.stored({"a": {"new": 1}}, operation="o1"), clerk.queued({"a": {"new": 1}}, operation="o2")
        with pytest.raises(errors.RecordTooNew):
            clerk.carry_out(alone)
        with pytest.raises(errors.RecordTooNew):
            clerk.drain()
        assert (alone.state, queued.state) == ("PENDING", "PENDING")

    # Who sets it going -------------------------------------------------------------------------------------------

    def test_one_drain_is_announced_for_all(self, clerk: Clerk) -> None:
        clerk.manager.terms.lease_us = 30_000_000
        for number in range(3):
            clerk.queued({"a": number}, operation=f"o{number}")
        assert clerk.published == [b"drain"]
        clerk.drain()
        clerk.queued({"a": 4}, operation="o4")
        assert clerk.published == [b"drain"] * 2

    def test_an_announcement_that_is_lost_is_sent_again(self, clerk: Clerk) -> None:
        clerk.broken = True
        update = clerk.queued({"a": 1}, operation="o")
        clerk.broken = False

        def sent() -> bool:
            clerk.sweep()
            return b"drain" in clerk.deliver()

        until(sent, "the drain is sent by the sweep")
        clerk.drain()
        assert update.state == "APPLIED"
        until(lambda: clerk.manager.cleanup_expired_contexts().scanned == 0, "nothing is due")

    def test_a_drain_leaves_the_inbox_to_the_one_that_holds_it(self, clerk: Clerk) -> None:
        clerk.queued({"a": 1}, operation="o")
        slow = draining.drain(clerk.manager.terms, WORKFLOW, 10)
        assert isinstance(next(slow), fx.Wait)
        effect = slow.send(None)
        clerk.manager.terms.lease_us = 30_000_000
        effect = slow.send(clerk.manager.store.perform(msgspec.structs.replace(effect, lease_us=30_000_000)))
        assert clerk.drain() == (0, 0, 0, False)
        assert isinstance(effect, fx.Load)
        slow.close()

    def test_a_drain_that_lost_its_hold_settles_nothing(self, clerk: Clerk, wf: WorkflowHandle) -> None:
        clerk.queued({"a": [1]}, "append", operation="o")
        stopped = draining.drain(clerk.manager.terms, WORKFLOW, 10)
        reply: Any = None
        while not isinstance(effect := stopped.send(reply), fx.Commit):
            reply = None if isinstance(effect, fx.Wait) else clerk.manager.store.perform(effect)
        until(lambda: clerk.drain().applied, "another drain has taken over")
        with pytest.raises(StopIteration) as ended:
            stopped.send(clerk.manager.store.perform(effect))
        assert ended.value.value == (0, 0, 0, False)
        assert wf["a"] == [1]

    def test_after_two_dead_drains_updates_are_tried_one_by_one(self, clerk: Clerk, wf: WorkflowHandle) -> None:
        for number in range(3):
            clerk.queued({"a": number}, operation=f"o{number}")
        for _ in range(2):
            clerk.die_draining()
        until(lambda: clerk.drain().applied, "the leases have ended")
        assert revision_of(wf) == 3

    # Dead letters ------------------------------------------------------------------------------------------------

    def test_what_kills_its_drain_is_a_dead_letter_and_the_rest_goes_on(
        self, clerk: Clerk, operator: WorkflowHandle
    ) -> None:
        poison = clerk.queued({"a": 1}, operation="o1", reports=True)
        fine = clerk.queued({"b": 1}, operation="o2")
        for _ in range(5):
            clerk.die_draining()
        until(lambda: clerk.drain().abandoned, "the leases have ended")
        assert (poison.state, fine.state) == ("FAILED", "APPLIED")
        with pytest.raises(errors.UpdateAbandoned, match="begun 5 times without an outcome"):
            poison.get()
        assert b"o1" in clerk.deliver()
        letter = clerk.manager.dead_letters(WORKFLOW).items[0]
        assert (letter.id, letter.agent_id, letter.attempts) == (poison.id, ANN, 5)
        assert operator.get("a") is None
