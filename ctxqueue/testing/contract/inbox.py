"""Updates that wait in an inbox: bounded, settled once each, in one commit or by themselves."""

# ruff: noqa: D102, PLR2004, S101 - tests: a name is a sentence, a bare number the expected value

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from ctxqueue import effects as fx
from ctxqueue import errors
from ctxqueue.flows import draining, inbox, stored
from ctxqueue.models import CommitResult, Put
from ctxqueue.pending import PendingUpdate
from ctxqueue.rules.merging import register_reducer
from ctxqueue.testing.contract.base import WORKFLOW, Contract, nothing_written, revision_of, until
from ctxqueue.testing.contract.runs import Worker

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ctxqueue.context import WorkflowHandle

DRAIN = fx.Outgoing(f"app\0{WORKFLOW}\0\0drain", b"drain")
ANN, BOB = "ann_1", "bob_1"


class Clerk(Worker):
    """A process that stores updates, and does the tasks that settle them."""

    def stored(
        self,
        updates: Mapping[str, Any],
        strategy: str = "smart_merge",
        *,
        operation: str,
        agent: str = ANN,
        queued: bool = False,
        reports: bool = False,
    ) -> PendingUpdate:
        """Store one; its own message is named after its operation."""
        terms = self.manager.terms
        ref = inbox.checked(terms, WORKFLOW, agent, updates, strategy, operation)
        payload = stored.packed(WORKFLOW, updates, strategy)
        outgoing = fx.Outgoing("", b"")
        if reports or not queued:
            outgoing = fx.Outgoing(f"app\0{ref.home}\0{operation}\0update", operation.encode())
        flow = inbox.enqueue(terms, ref, payload, outgoing=outgoing, drain=DRAIN if queued else None)
        return PendingUpdate(self.manager.driver, ref, known=not self.manager.driver.run(flow))

    def queued(self, updates: Mapping[str, Any], *arguments: Any, **options: Any) -> PendingUpdate:
        """Store one for the drain."""
        return self.stored(updates, *arguments, queued=True, **options)

    def carry_out(self, update: PendingUpdate, attempts: int = inbox.ATTEMPTS) -> CommitResult:
        """Do what its task does."""
        return self.manager.driver.run(inbox.carry_out(self.manager.terms, stored.UpdateRef.parse(update.id), attempts))

    def drain(self, batches: int = 100) -> draining.Drained:
        """Do what the drain does."""
        return self.manager.driver.run(draining.drain(self.manager.terms, WORKFLOW, batches))

    def die_draining(self) -> None:
        """Take hold of the inbox and settle nothing; returns when somebody else may."""
        effect = fx.Draw(WORKFLOW, os.urandom(8), 100, draining.CAREFUL_AFTER, self.manager.terms.lease_us)
        until(lambda: self.manager.store.perform(effect).answer == "batch", "the inbox can be taken hold of")


class Inbox(Contract):
    """Both kinds: those that a task of its own does, and those that a drain does."""

    @pytest.fixture
    def clerk(self, url: str, operator: WorkflowHandle) -> Iterator[Clerk]:
        """Return a process beside the manager."""
        assert operator.workflow_id == WORKFLOW
        clerk = Clerk(url, lease=0.05)
        yield clerk
        clerk.manager.close()

    # One by one --------------------------------------------------------------------------------------------------

    def test_a_stored_update_is_pending_until_its_task_has_done_it(self, clerk: Clerk, wf: WorkflowHandle) -> None:
        wf.update({"a": {"x": 1}})
        update = clerk.stored({"a": {"y": 2}, "b": 1}, operation="o")
        states = [update.state]
        result = clerk.carry_out(update)
        assert [*states, update.state] == ["PENDING", "APPLIED"]
        assert (result.revision, dict(result.versions), result.replayed) == (2, {"a": 2, "b": 1}, False)
        assert update.get() == CommitResult(2, {"a": 2, "b": 1}, replayed=False, attempts=1, fired=0)
        assert wf["a"] == {"x": 1, "y": 2}

    def test_done_again_it_says_what_it_said(self, clerk: Clerk, wf: WorkflowHandle) -> None:
        update = clerk.stored({"a": [1]}, "append", operation="o")
        first = clerk.carry_out(update)
        again = clerk.carry_out(update)
        assert (again.revision, again.versions, again.replayed) == (first.revision, first.versions, True)
        assert wf["a"] == [1]

    def test_a_failure_is_an_outcome_and_raised_again(self, clerk: Clerk, operator: WorkflowHandle) -> None:
        operator.put("a", 1)
        update = clerk.stored({"a": Put(2, expected_version=7), "b": 1}, operation="o")
        with nothing_written(operator):
            for _ in range(2):
                with pytest.raises(errors.VersionConflict, match="was expected at version 7"):
                    clerk.carry_out(update)
        assert update.state == "FAILED"
        with pytest.raises(errors.VersionConflict, match="was expected at version 7"):
            update.get()

    def test_its_message_is_sent_again_until_it_is_done(self, clerk: Clerk) -> None:
        update = clerk.stored({"a": 1}, operation="o")
        assert clerk.deliver() == []
        seen: list[bytes] = []

        def sent(times: int) -> bool:
            clerk.sweep()
            seen.extend(clerk.deliver())
            return len(seen) >= times

        until(lambda: sent(2), "sent twice")
        assert set(seen) == {b"o"}
        clerk.carry_out(update)
        until(lambda: clerk.manager.cleanup_expired_contexts().scanned == 0, "nothing is due")
        clerk.deliver()
        assert clerk.deliver() == []

    def test_what_is_stored_once_is_stored_once(self, clerk: Clerk, wf: WorkflowHandle) -> None:
        for queued in (False, True):
            name = f"k{queued}"
            first = clerk.stored({name: [1]}, "append", operation=name, queued=queued)
            second = clerk.stored({name: [2]}, "append", operation=name, queued=queued)
            assert first.id == second.id
            clerk.drain() if queued else clerk.carry_out(first)
            third = clerk.stored({name: [3]}, "append", operation=name, queued=queued)
            assert (third.state, third.get().replayed, first.get().replayed) == ("APPLIED", True, False)
            clerk.drain()
            assert wf[name] == [1]

    def test_an_inbox_is_bounded(self, clerk: Clerk, operator: WorkflowHandle) -> None:
        clerk.manager.terms.settings = msgspec.structs.replace(clerk.manager.terms.settings, inbox_limit=3)
        clerk.stored({"a": 1}, operation="o1")
        clerk.queued({"a": 2}, operation="o2")
        clerk.queued({"a": 3}, operation="o3")
        for queued in (False, True):
            with pytest.raises(errors.InboxFull, match="3 updates wait") as caught:
                clerk.stored({"a": 4}, operation="o4", queued=queued)
            assert caught.value.retry_after > 0
        clerk.drain()
        clerk.queued({"a": 4}, operation="o4")
        clerk.drain()
        assert operator["a"] == 4

    def test_a_workflow_that_is_not_there_or_closed_takes_none(self, clerk: Clerk, operator: WorkflowHandle) -> None:
        waiting = [clerk.stored({"a": 1}, operation="o1"), clerk.queued({"a": 1}, operation="o2")]
        operator.close()
        with pytest.raises(errors.WorkflowClosed):
            clerk.queued({"a": 1}, operation="o3")
        with pytest.raises(errors.WorkflowClosed):
            clerk.carry_out(waiting[0])
        clerk.drain()
        for update in waiting:
            assert update.state == "FAILED"
            with pytest.raises(errors.WorkflowClosed):
                update.get()
        operator.remove()
        for update in waiting:
            with pytest.raises(errors.WorkflowNotFound):
                update.get()
        for queued in (False, True):
            with pytest.raises(errors.WorkflowNotFound):
                clerk.stored({"a": 1}, operation="o4", queued=queued)

    def test_a_removed_workflow_takes_its_inbox_with_it(self, clerk: Clerk, operator: WorkflowHandle) -> None:
        waiting = [clerk.stored({"a": 1}, operation="o1"), clerk.queued({"a": 1}, operation="o2")]
        clerk.published.clear()
        operator.remove()
        operator.open()
        for update in waiting:
            with pytest.raises(errors.StaleOperation):
                assert update.state
        assert clerk.drain().applied == 0
        until(lambda: clerk.manager.cleanup_expired_contexts().scanned == 0, "nothing is due")
        assert clerk.deliver() == []
        assert operator.list().items == ()

    def test_updates_of_the_global_context_wait_there(self, clerk: Clerk, wf: WorkflowHandle) -> None:
        update = clerk.stored({"global_rates": {"USD": 1}}, operation="o")
        clerk.carry_out(update)
        assert wf["global_rates"] == {"USD": 1}

    def test_an_update_without_an_outcome_says_so(self, clerk: Clerk) -> None:
        update = clerk.queued({"a": 1}, operation="o")
        with pytest.raises(errors.UpdatePending) as caught:
            update.get(timeout=0.02)
        assert isinstance(caught.value, TimeoutError)
        with pytest.raises(errors.InvalidInput):
            PendingUpdate(clerk.manager.driver, "no id")

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
        flow = draining.drain(clerk.manager.terms, WORKFLOW, 10)
        effect, wrote = next(flow), False
        try:
            while True:
                if isinstance(effect, fx.Commit) and not wrote:
                    wf.update({"a": ["direct"]}, merge_strategy="append")
                    wrote = True
                effect = flow.send(None if isinstance(effect, fx.Wait) else clerk.manager.store.perform(effect))
        except StopIteration:
            pass
        assert wf["a"] == ["direct", 0, 1, 2, 3]

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

    def test_a_dead_letter_is_replayed(self, clerk: Clerk, operator: WorkflowHandle) -> None:
        alone = clerk.stored({"a": 1}, operation="o1")
        with pytest.raises(errors.UpdateAbandoned):
            clerk.carry_out(alone, attempts=0)
        queued = clerk.queued({"b": 1}, operation="o2")
        for _ in range(5):
            clerk.die_draining()
        until(lambda: clerk.drain().abandoned, "the leases have ended")
        assert {letter.id for letter in clerk.manager.dead_letters(WORKFLOW)} == {alone.id, queued.id}
        for update in (alone, queued):
            assert clerk.manager.replay_dead_letter(update.id)
            assert not clerk.manager.replay_dead_letter(update.id)
            assert update.state == "PENDING"
        seen: list[bytes] = []

        def sent() -> bool:
            clerk.sweep()
            seen.extend(clerk.deliver())
            return {b"o1", b"drain"} <= set(seen)

        until(sent, "both are sent")
        clerk.carry_out(alone)
        clerk.drain()
        assert (alone.state, queued.state) == ("APPLIED", "APPLIED")
        assert (operator["a"], operator["b"]) == (1, 1)
        assert len(clerk.manager.dead_letters(WORKFLOW)) == 0

    def test_a_dead_letter_is_dropped(self, clerk: Clerk, operator: WorkflowHandle) -> None:
        update = clerk.stored({"a": 1}, operation="o")
        with pytest.raises(errors.UpdateAbandoned):
            clerk.carry_out(update, attempts=0)
        assert clerk.manager.drop_dead_letter(update.id)
        assert not clerk.manager.drop_dead_letter(update.id)
        assert len(clerk.manager.dead_letters(WORKFLOW)) == 0
        assert update.state == "FAILED"
        assert operator.get("a") is None

    def test_a_reducer_that_breaks_makes_a_dead_letter_of_its_update_alone(self, clerk: Clerk) -> None:
        broken = [True]

        def reduced(existing: Any, new: Any, _priority: Any) -> Any:
            if broken[0]:
                raise ZeroDivisionError("broken")
            return existing + new

        register_reducer("breaks_in_tests", reduced)
        clerk.manager.workflow(WORKFLOW).put("a", 1)
        before = clerk.queued({"a": 5}, "replace", operation="o1")
        breaks = clerk.queued({"a": 2}, "breaks_in_tests", operation="o2")
        after = clerk.queued({"b": 3}, operation="o3")
        clerk.drain()
        assert [update.state for update in (before, breaks, after)] == ["APPLIED", "FAILED", "APPLIED"]
        assert "ZeroDivisionError" in clerk.manager.dead_letters(WORKFLOW).items[0].reason
        broken[0] = False
        assert clerk.manager.replay_dead_letter(breaks.id)
        clerk.drain()
        assert clerk.manager.workflow(WORKFLOW)["a"] == 7

    def test_dead_letters_come_in_pages(self, clerk: Clerk) -> None:
        updates = [clerk.stored({"a": 1}, operation=f"o{number}") for number in range(5)]
        for update in updates:
            with pytest.raises(errors.UpdateAbandoned):
                clerk.carry_out(update, attempts=0)
        seen, cursor = [], None
        while True:
            page = clerk.manager.dead_letters(WORKFLOW, limit=2, cursor=cursor)
            assert len(page) <= 2
            seen += [letter.id for letter in page]
            cursor = page.next_cursor
            if cursor is None:
                break
        assert seen == [update.id for update in updates]
        for wrong in (0, 1_001, True, "x"):
            with pytest.raises(errors.InvalidInput):
                clerk.manager.dead_letters(WORKFLOW, limit=wrong)  # type: ignore[arg-type]
        with pytest.raises(errors.WorkflowNotFound):
            clerk.manager.dead_letters("unknown")
