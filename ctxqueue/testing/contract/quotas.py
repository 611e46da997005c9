"""Quotas: what one agent may hold of a workflow, exactly, whoever writes at the same time."""

# ruff: noqa: D102, PLR2004, S101 - tests: a name is a sentence, a bare number the expected value

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from ctxqueue import effects as fx
from ctxqueue.context import SharedContextManager
from ctxqueue.errors import QuotaExceeded
from ctxqueue.flows import writing
from ctxqueue.models import Agent, Put
from ctxqueue.testing.contract.base import WORKFLOW, nothing_written, until
from ctxqueue.testing.contract.clerks import ANN, BOB, Clerk, WithClerk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ctxqueue.context import WorkflowHandle
    from ctxqueue.effects import Flow


class Quotas(WithClerk):
    """Three entries and 100 bytes for each agent."""

    @pytest.fixture
    def rationed(self, url: str, operator: WorkflowHandle) -> Iterator[SharedContextManager]:
        assert operator.workflow_id == WORKFLOW
        with SharedContextManager(url, {"quota_entries": 3, "quota_bytes": 100}) as manager:
            yield manager

    @pytest.fixture
    def ann(self, rationed: SharedContextManager) -> WorkflowHandle:
        return rationed.workflow(WORKFLOW, agent_id=ANN)

    def test_no_path_leads_past_it(self, ann: WorkflowHandle, operator: WorkflowHandle) -> None:
        ann.update({"a": [1], "b": 1, "c": 1})
        writes: tuple[Callable[[], object], ...] = (
            lambda: ann.put("d", 1),
            lambda: ann.create("d", 1),
            lambda: ann.update({"d": 1}),
            lambda: ann.update({"d": 1}, merge_strategy="keep"),
            lambda: ann.put("d", 1, scope="private"),
            lambda: ann.set_agent_state(mood="good"),
            lambda: ann.put("a", "x" * 100),
            lambda: ann.update({"a": ["x" * 60, "y" * 60]}, merge_strategy="append"),
            lambda: ann.update({"a": 1, "b": "x" * 50, "c": "x" * 50}, merge_strategy="replace"),
        )
        with nothing_written(operator):
            for write in writes:
                with pytest.raises(
                    QuotaExceeded, match=r"ann_1 would hold more (entries|bytes) in workflow 'q3-close'"
                ):
                    write()
            with pytest.raises(QuotaExceeded), ann.transaction():  # noqa: PT012 - one transaction
                ann.put("a", 2)
                ann.put("d", 1)
        ann.update({"a": [2]}, merge_strategy="append")
        with ann.transaction():
            ann.delete("a")
            ann.put("d", 1)
        assert set(ann.view()) == {"b", "c", "d"}
        for number in range(5):
            operator.put(f"o{number}", "x" * 100)

    def test_what_goes_or_is_anothers_now_is_given_back(
        self, ann: WorkflowHandle, rationed: SharedContextManager, operator: WorkflowHandle
    ) -> None:
        bob = rationed.workflow(WORKFLOW, agent_id=BOB)
        ann.update({"a": 1, "b": 1, "c": Put(1, ttl=0.02)})
        until(lambda: ann.get("c") is None, "it has expired")
        ann.put("d", 1)
        bob.put("a", 2)
        ann.put("e", 1)
        with pytest.raises(QuotaExceeded):
            ann.put("a", 3)
        operator.delete("b")
        ann.put("a", 3)
        bob.update({"x": 1, "y": 1, "z": 1})
        with pytest.raises(QuotaExceeded):
            bob.put("e", 1)

    def test_a_call_made_before_is_answered_at_the_limit(self, ann: WorkflowHandle) -> None:
        def append() -> bool:
            return ann.update({"a": ["x" * 40]}, merge_strategy="append", operation_id="once").replayed

        assert not append()
        ann.update({"b": "y" * 40})
        assert append()
        with pytest.raises(QuotaExceeded):
            ann.update({"a": ["x" * 40]}, merge_strategy="append")
        assert ann["a"] == ["x" * 40]

    def test_of_sixteen_who_write_at_once_none_gets_past(self, ann: WorkflowHandle, url: str) -> None:
        refused: list[int] = []
        done: list[int] = []
        managers = [SharedContextManager(url, {"quota_entries": 3}) for _ in range(4)]

        def write(number: int) -> None:
            try:
                managers[number % 4].workflow(WORKFLOW, agent_id=ANN).put(f"k{number}", number)
                done.append(number)
            except QuotaExceeded:
                refused.append(number)

        writers = [threading.Thread(target=write, args=(number,)) for number in range(16)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        for manager in managers:
            manager.close()
        assert (len(done), len(refused)) == (3, 13)
        assert {**ann.view()} == {f"k{number}": number for number in done}

    def test_who_has_counted_before_another_wrote_counts_again(
        self, clerk: Clerk, ann: WorkflowHandle, rationed: SharedContextManager
    ) -> None:
        def overtaken(flow: Flow[object], act: Callable[[], object]) -> object:
            effect, acted = next(flow), False
            while True:
                if isinstance(effect, fx.Commit) and not acted:
                    act()
                    acted = True
                reply = None if isinstance(effect, fx.Wait) else clerk.manager.store.perform(effect)
                try:
                    effect = flow.send(reply)
                except StopIteration as end:
                    return end.value

        def put(key: str) -> Flow[object]:
            return writing.put(rationed.terms, WORKFLOW, Agent(ANN), key, Put(1))

        ann.put("a", 1)
        overtaken(put("b"), lambda: clerk.manager.workflow(WORKFLOW, agent_id=BOB).put("bobs", 1))
        with pytest.raises(QuotaExceeded):
            overtaken(put("c"), lambda: clerk.manager.workflow(WORKFLOW, agent_id=ANN).put("d", 1))
        assert set(ann.view()) == {"a", "b", "bobs", "d"}
        clerk.manager.terms = rationed.terms
        clerk.manager.workflow(WORKFLOW).delete("b")
        late = clerk.queued({"late": 1}, operation="late")
        clerk.drain_but_first(lambda: rationed.workflow(WORKFLOW, agent_id=ANN).put("e", 1))
        with pytest.raises(QuotaExceeded):
            late.get()
        assert set(ann.view()) == {"a", "bobs", "d", "e"}

    def test_a_stored_update_beyond_it_fails_alone(self, clerk: Clerk, wf: WorkflowHandle, url: str) -> None:
        with SharedContextManager(url, {"quota_entries": 3, "lease": 0.05}) as manager:
            clerk.manager.terms = manager.terms
            updates = [
                clerk.queued({f"k{number}": number}, operation=f"o{number}", agent=BOB if number == 4 else ANN)
                for number in range(5)
            ]
            assert clerk.drain() == (4, 1, 0, False)
            assert [update.state for update in updates] == ["APPLIED"] * 3 + ["FAILED", "APPLIED"]
            single = clerk.stored({"s": 1}, operation="s")
            with pytest.raises(QuotaExceeded, match="ann_1 would hold more entries"):
                updates[3].get()
            with pytest.raises(QuotaExceeded, match="ann_1 would hold more entries"):
                clerk.carry_out(single)
            assert set(wf.view()) == {"k0", "k1", "k2", "k4"}
