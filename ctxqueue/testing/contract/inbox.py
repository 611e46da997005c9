"""Updates that wait in an inbox, each for a task of its own: bounded, settled once; and dead letters of both kinds."""

# ruff: noqa: D102, PLR2004, S101 - tests: a name is a sentence, a bare number the expected value

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from ctxqueue import errors
from ctxqueue.models import CommitResult, Put
from ctxqueue.pending import PendingUpdate
from ctxqueue.rules.merging import register_reducer
from ctxqueue.testing.contract.base import WORKFLOW, nothing_written, until
from ctxqueue.testing.contract.clerks import Clerk, WithClerk

if TYPE_CHECKING:
    from collections.abc import Callable

    from ctxqueue.context import WorkflowHandle


class Inbox(WithClerk):
    """Updates that a task of its own does."""

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

    # Both ways -----------------------------------------------------------------------------------------------------

    def test_a_queued_update_that_a_task_of_its_own_has_done_leaves_the_queue(
        self, clerk: Clerk, wf: WorkflowHandle
    ) -> None:
        first, second, third = (clerk.queued({"a": [number]}, "append", operation=f"o{number}") for number in range(3))
        for update in (second, first):
            clerk.carry_out(update)
        assert wf["a"] == [1, 0]
        clerk.published.clear()

        def sent() -> bool:
            clerk.sweep()
            return b"drain" in clerk.deliver()

        until(sent, "the drain is sent for the third")
        assert clerk.drain() == (1, 0, 0, False)
        assert (wf["a"], third.state) == ([1, 0, 2], "APPLIED")
        clerk.queued({"a": [3]}, "append", operation="o3")
        assert clerk.drain() == (1, 0, 0, False)
        assert wf["a"] == [1, 0, 2, 3]

    def test_the_last_queued_update_that_a_task_of_its_own_has_done_leaves_nothing_due(self, clerk: Clerk) -> None:
        clerk.carry_out(clerk.queued({"a": 1}, operation="o"))
        until(lambda: clerk.manager.cleanup_expired_contexts().scanned == 0, "nothing is due")
        assert clerk.drain() == (0, 0, 0, False)

    def test_what_tasks_of_their_own_do_while_the_drain_has_it_is_done_once(
        self, clerk: Clerk, wf: WorkflowHandle
    ) -> None:
        updates = [clerk.queued({"a": [number]}, "append", operation=f"o{number}") for number in range(3)]

        def meanwhile() -> None:
            for ordinal in (0, 2):
                clerk.carry_out(updates[ordinal])
            updates.append(clerk.queued({"a": [3]}, "append", operation="o3"))

        assert not clerk.drain_but_first(meanwhile).more
        assert [update.state for update in updates] == ["APPLIED"] * 4
        assert wf["a"] == [0, 2, 1, 3]

    def test_one_that_has_failed_alone_and_is_queued_anew_is_done_once(self, clerk: Clerk, wf: WorkflowHandle) -> None:
        wf.put("a", 1)
        update = clerk.queued({"a": [1]}, "append", operation="o")
        with pytest.raises(errors.InvalidInput):
            clerk.carry_out(update)
        wf.put("a", [0])
        assert clerk.queued({"a": [1]}, "append", operation="o").id == update.id
        assert clerk.drain() == (1, 0, 0, False)
        assert (wf["a"], update.state) == ([0, 1], "APPLIED")

    def test_what_fails_alone_while_the_drain_has_it_has_failed(self, clerk: Clerk, wf: WorkflowHandle) -> None:
        wf.put("a", [0])
        update = clerk.queued({"a": [1]}, "append", operation="o")

        def meanwhile() -> None:
            wf.put("a", 1)
            with pytest.raises(errors.InvalidInput):
                clerk.carry_out(update)
            wf.put("a", [0])

        assert clerk.drain_but_first(meanwhile) == (0, 0, 0, False)
        assert (wf["a"], update.state) == ([0], "FAILED")

    @pytest.mark.parametrize("way", [Clerk.stored, Clerk.queued])
    def test_what_fails_while_a_task_of_its_own_has_it_has_failed(
        self, clerk: Clerk, wf: WorkflowHandle, way: Callable[..., PendingUpdate]
    ) -> None:
        update = way(clerk, {"a": [1]}, "append", operation="o")

        def meanwhile() -> None:
            wf.put("a", 1)
            with pytest.raises(errors.InvalidInput):
                clerk.carry_out(update)
            wf.delete("a")

        with pytest.raises(errors.InvalidInput, match="append needs a list"):
            clerk.carry_out_but_first(meanwhile, update)
        assert (wf.get("a"), update.state) == (None, "FAILED")

    def test_what_is_done_while_another_delivery_fails_is_done(self, clerk: Clerk, wf: WorkflowHandle) -> None:
        wf.put("a", 1)
        update = clerk.stored({"a": [1]}, "append", operation="o")

        def meanwhile() -> None:
            wf.put("a", [0])
            clerk.carry_out(update)

        assert clerk.carry_out_but_first(meanwhile, update).replayed
        assert (wf["a"], update.state) == ([0, 1], "APPLIED")

    def test_a_queued_update_whose_own_tasks_have_died_is_left_to_the_drain(
        self, clerk: Clerk, wf: WorkflowHandle
    ) -> None:
        update = clerk.queued({"a": 1}, operation="o")
        with pytest.raises(errors.UpdateAbandoned):
            clerk.carry_out(update, attempts=0)
        assert (update.state, len(clerk.manager.dead_letters(WORKFLOW))) == ("PENDING", 0)
        assert clerk.drain() == (1, 0, 0, False)
        assert (wf["a"], update.state) == (1, "APPLIED")

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

    # Dead letters ------------------------------------------------------------------------------------------------

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

    def test_a_dead_letter_stays_dead_once_its_outcome_is_forgotten(self, url: str, operator: WorkflowHandle) -> None:
        forgetful = Clerk(url, horizon=0.05)
        update = forgetful.stored({"a": 1}, operation="o")
        with pytest.raises(errors.UpdateAbandoned, match="begun 0 times"):
            forgetful.carry_out(update, attempts=0)

        def refused_anew() -> bool:
            with pytest.raises(errors.UpdateAbandoned) as caught:
                forgetful.carry_out(update)
            return "begun 0 times" not in str(caught.value)

        until(refused_anew, "what became of it is forgotten")
        assert (update.state, operator.get("a")) == ("FAILED", None)
        assert forgetful.manager.replay_dead_letter(update.id)
        forgetful.carry_out(update)
        assert operator["a"] == 1
        forgetful.manager.close()

    def test_an_attempt_at_what_has_become_a_dead_letter_ends_as_that(
        self, clerk: Clerk, operator: WorkflowHandle
    ) -> None:
        update = clerk.stored({"a": 1}, operation="o")

        def meanwhile() -> None:
            with pytest.raises(errors.UpdateAbandoned):
                clerk.carry_out(update, attempts=0)

        with pytest.raises(errors.UpdateAbandoned):
            clerk.carry_out_but_first(meanwhile, update)
        assert (update.state, operator.get("a")) == ("FAILED", None)
        assert clerk.manager.replay_dead_letter(update.id)
        clerk.carry_out(update)
        assert (update.state, operator["a"], len(clerk.manager.dead_letters(WORKFLOW))) == ("APPLIED", 1, 0)

    def test_a_dead_letter_is_dropped(self, clerk: Clerk, operator: WorkflowHandle) -> None:
        update = clerk.stored({"a": 1}, operation="o")
        with pytest.raises(errors.UpdateAbandoned):
            clerk.carry_out(update, attempts=0)
        assert clerk.manager.drop_dead_letter(update.id)
        assert not clerk.manager.drop_dead_letter(update.id)
        assert len(clerk.manager.dead_letters(WORKFLOW)) == 0
        assert update.state == "FAILED"
        assert operator.get("a") is None

    def test_messages_that_come_late_are_no_attempts_at_what_is_replayed_or_dropped(self, clerk: Clerk) -> None:
        updates = [clerk.stored({"a": 1}, operation=f"o{number}") for number in range(2)]
        for update in updates:
            for attempts in (0, 5, 5, 5, 5, 5):
                with pytest.raises(errors.UpdateAbandoned):
                    clerk.carry_out(update, attempts)
        replayed, dropped = updates
        assert clerk.manager.replay_dead_letter(replayed.id)
        assert clerk.manager.drop_dead_letter(dropped.id)
        clerk.carry_out(replayed, attempts=1)
        assert (replayed.state, dropped.state) == ("APPLIED", "FAILED")

    def test_a_reducer_that_breaks_makes_a_dead_letter_of_its_update_alone(self, clerk: Clerk) -> None:
        broken = [True]

        def reduced(existing: Any, new: Any, _priority: Any) -> Any:
            if broken[0]:
                raise ZeroDivisionError(f"what stood there: {existing}")
            return existing + new

        register_reducer("breaks_in_tests", reduced)
        clerk.manager.workflow(WORKFLOW).put("a", 1)
        before = clerk.queued({"a": 5}, "replace", operation="o1")
        breaks = clerk.queued({"a": 2}, "breaks_in_tests", operation="o2")
        after = clerk.queued({"b": 3}, operation="o3")
        clerk.drain()
        assert [update.state for update in (before, breaks, after)] == ["APPLIED", "FAILED", "APPLIED"]
        assert clerk.manager.dead_letters(WORKFLOW).items[0].reason == "its merge raised ZeroDivisionError"
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
