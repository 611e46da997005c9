"""Write guards: what they refuse stands nowhere, whichever way it came, and what they make of it is what stands."""

# ruff: noqa: D102, D103, PLR2004, S101 - tests: a name is a sentence, a bare number the expected value

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from ctxqueue.errors import AccessDenied, GuardFailed, WriteRefused
from ctxqueue.models import Put
from ctxqueue.rules.guards import Instead, Proposed
from ctxqueue.rules.merging import register_reducer
from ctxqueue.testing.contract.base import WORKFLOW, nothing_written
from ctxqueue.testing.contract.clerks import Clerk, WithClerk

if TYPE_CHECKING:
    from collections.abc import Callable

    from ctxqueue.context import SharedContextManager, WorkflowHandle
    from ctxqueue.rules.guards import Guards


def at_most_three(proposed: Proposed) -> None:
    if isinstance(proposed.value, list) and len(proposed.value) > 3:
        raise WriteRefused("it has more than three")


def kept(_proposed: Proposed) -> None:
    raise WriteRefused("it is kept")


def in_capitals(proposed: Proposed) -> Instead:
    return Instead(proposed.value.upper())


def broken(proposed: Proposed) -> None:
    raise KeyError(proposed.value)


register_reducer("both", lambda existing, new, _priority: [*existing, *new])


class Guarding(WithClerk):
    """What a team lets stand."""

    @pytest.fixture
    def guards(self, manager: SharedContextManager) -> Guards:
        return manager.guards

    def test_what_is_refused_stands_nowhere_by_any_path(
        self, guards: Guards, wf: WorkflowHandle, operator: WorkflowHandle, manager: SharedContextManager
    ) -> None:
        guards.register("short", key="l*", check=at_most_three)
        guards.register("stay", key="kept", check=kept, deletes=True)
        guards.register("small", key="*", max_bytes=1_000)
        wf.update({"list": [1, 2]})
        wf.put("lines", [1, 2, 3], metadata={"of": "mine"})
        four = [1, 2, 3, 4]
        writes: tuple[Callable[[], object], ...] = (
            lambda: wf.put("list", four),
            lambda: wf.create("l2", four),
            lambda: wf.update({"fine": 1, "list": four}),
            *(partial(wf.update, {"list": [3, 4]}, merge_strategy=by) for by in ("append", "union", "both")),
            lambda: wf.update({"lnew": four}, merge_strategy="keep"),
            lambda: wf.update({"lines": Put([4], ttl=60)}, merge_strategy="append"),
            lambda: wf.update({"list": Put(four, scope="private")}),
            lambda: manager.update_context(WORKFLOW, "other_1", {"list": four}),
            lambda: operator.put("list", four),
            lambda: operator.put("text", "x" * 1_000),
            lambda: wf.set_agent_state(text="x" * 1_000),
            lambda: wf.delete("kept"),
            lambda: wf.delete("kept", purge=True),
        )
        with nothing_written(operator):
            for write in writes:
                with pytest.raises(WriteRefused, match=r"guard '(short|stay|small)' refuses a write of "):
                    write()
            with pytest.raises(WriteRefused), wf.transaction():  # noqa: PT012 - one transaction
                wf.put("fine", 1)
                wf.update({"list": [3]}, merge_strategy="append")
                wf.update({"list": [4]}, merge_strategy="append")
            for staged in (lambda: wf.put("list", four), lambda: wf.delete("kept")):
                with pytest.raises(WriteRefused), wf.transaction():
                    staged()
        wf.update({"list": [3]}, merge_strategy="append")
        assert wf["list"] == [1, 2, 3]
        wf.delete("list")

    def test_an_update_in_the_store_is_held_to_them_where_it_is_carried_out(
        self, clerk: Clerk, wf: WorkflowHandle
    ) -> None:
        clerk.manager.guards.register("short", key="list", check=at_most_three)
        wf.update({"list": [1, 2]})
        queued = [clerk.queued({"list": [n], f"k{n}": [n]}, "append", operation=f"q{n}") for n in (3, 4)]
        single = clerk.stored({"list": [5]}, "append", operation="s")
        assert clerk.drain() == (1, 1, 0, False)
        assert queued[0].get().versions == {"list": 2, "k3": 1}
        for update in (queued[1], single):
            with pytest.raises(WriteRefused, match="guard 'short' refuses a write of 'list'"):
                clerk.carry_out(update) if update is single else update.get()
        assert single.state == "FAILED"
        assert (wf["list"], wf.get("k4")) == ([1, 2, 3], None)

    def test_a_bound_that_a_guard_holds_is_not_passed_by_many_at_once(
        self, guards: Guards, wf: WorkflowHandle, manager: SharedContextManager
    ) -> None:
        guards.register("short", key="list", check=at_most_three)
        refused: list[str] = []

        def append(name: str) -> None:
            handle = manager.workflow(WORKFLOW, agent_id=name)
            try:
                handle.update({"list": [name]}, merge_strategy="append")
            except WriteRefused:
                refused.append(name)

        writers = [threading.Thread(target=append, args=(f"writer_{n}",)) for n in range(8)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        assert (len(wf["list"]), len(refused)) == (3, 5)
        assert not set(wf["list"]) & set(refused)

    def test_what_stands_is_what_a_guard_made_of_it(
        self, guards: Guards, wf: WorkflowHandle, manager: SharedContextManager
    ) -> None:
        guards.register("loud", key="word*", check=in_capitals)
        guards.register("long", key="words", check=lambda proposed: Instead([proposed.value]))
        assert wf.put("word", "a").value == "A"
        assert wf.put("word", "b", operation_id="once").version == 2
        assert wf.update({"words": "c"}).versions == {"words": 1}
        with wf.transaction():
            wf.put("word3", "d")
        assert wf.put("word", "b", operation_id="once").version == 2
        wf.update({"word": "e"}, merge_strategy="keep")
        assert {**wf.view()} == {"word": "B", "words": ["C"], "word3": "D"}
        wf.update({"word": "e"})
        fresh = manager.workflow(WORKFLOW, agent_id="other_1")
        assert fresh["word"] == "E"
        guards.register("loud", key="word*", check=lambda _: Instead("AKIA" + "A" * 16))
        assert wf.put("word", "plain").why_sensitive == "detector: AWS access key"

    def test_a_guard_that_fails_is_told_by_its_name_and_what_waited_is_there_still(
        self, clerk: Clerk, guards: Guards, wf: WorkflowHandle, operator: WorkflowHandle
    ) -> None:
        guards.register("broken", key="x", check=broken)
        guards.register("odd", key="y", check=lambda _: True)  # type: ignore[arg-type,return-value]
        with nothing_written(operator):
            for key in ("x", "y"):
                with pytest.raises(GuardFailed, match=f"raised (KeyError|TypeError) over a write of '{key}'"):
                    wf.update({"fine": 1, key: 1})
        clerk.manager.guards.register("broken", key="x", check=broken)
        bad, fine = clerk.queued({"x": 1}, operation="1"), clerk.queued({"z": 1}, operation="2")
        assert clerk.drain() == (1, 0, 1, False)
        assert (bad.state, fine.state) == ("FAILED", "APPLIED")
        (letter,) = clerk.manager.dead_letters(WORKFLOW)
        clerk.manager.guards.register("broken", key="x", max_bytes=100)
        clerk.manager.replay_dead_letter(letter.id)
        alone = clerk.stored({"x": 2}, operation="3")
        assert clerk.carry_out(alone).versions == {"x": 1}

    def test_who_may_not_read_what_stands_there_learns_nothing_of_it(
        self, guards: Guards, wf: WorkflowHandle, operator: WorkflowHandle
    ) -> None:
        operator.put("list", ["hidden", 1, 2], sensitive=True)
        guards.register("short", key="list", check=at_most_three)
        told = []
        for given, by in (([3], "append"), (1, "increment")):
            with pytest.raises(AccessDenied, match="why is not said") as caught:
                wf.update({"list": given}, merge_strategy=by)
            told.append(str(caught.value))
        assert told[0] == told[1]
        guards.register("short", key="list", check=broken)
        with pytest.raises(GuardFailed) as failed:
            wf.put("list", "new secret", sensitive=True)
        assert failed.value.__suppress_context__
        assert "secret" not in str(failed.value)

    def test_a_call_made_before_is_answered_though_it_would_be_refused_now(
        self, guards: Guards, wf: WorkflowHandle
    ) -> None:
        def append() -> Any:
            return wf.update({"list": [1, 2]}, merge_strategy="append", operation_id="once")

        assert append().versions == {"list": 1}
        wf.update({"list": [3]}, merge_strategy="append")
        guards.register("short", key="list", check=at_most_three)
        assert (append().replayed, wf["list"]) == (True, [1, 2, 3])
