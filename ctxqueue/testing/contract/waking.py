"""Callers that wait: woken when what they wait for comes, and told what has not come."""
# ruff: noqa: D102, PLR2004, S101 - tests: a name is a sentence, a bare number the expected value

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from ctxqueue.errors import AccessDenied, DependencyTimeout, InvalidDuration, WorkflowClosed, WorkflowNotFound
from ctxqueue.rules.conditions import all_of, any_of, at_least, key
from ctxqueue.testing.contract.base import WORKFLOW, Contract, until

if TYPE_CHECKING:
    from ctxqueue.context import SharedContextManager, WorkflowHandle

SHORT = 0.05
"""Seconds of a time that is waited for."""
LONG = 60.0


class Waking(Contract):
    """wait_for outside a task."""

    @pytest.mark.parametrize(
        ("condition", "writes"),
        [
            ("a", ["a"]),
            (all_of("a", any_of("b", "c")), ["c", "a"]),
            (all_of("a", key("b") > 1), ["a", "b"]),
            (at_least(2, "r_*"), ["r_1", "r_2"]),
        ],
        ids=str,
    )
    def test_one_is_woken_when_it_comes(self, wf: WorkflowHandle, condition: Any, writes: list[str]) -> None:
        done = threading.Event()

        def write() -> None:
            for written in writes:
                done.wait(SHORT)
                wf.update({written: 2})

        with ThreadPoolExecutor(1) as threads:
            writing = threads.submit(write)
            view = wf.wait_for(condition, timeout=LONG)
            writing.result()
        assert set(writes) <= set(view)

    def test_what_is_there_is_not_waited_for(self, wf: WorkflowHandle) -> None:
        wf.update({"a": 1, "b": 2})
        assert wf.wait_for(all_of("a", "b"), timeout=SHORT)["b"] == 2
        assert wf.wait_for(all_of("a", key("b") == 2), timeout=SHORT)["a"] == 1

    @pytest.mark.parametrize("condition", [all_of("a", "b"), all_of("a", key("b") > 1)], ids=str)
    def test_what_does_not_come_in_time_is_named(
        self, wf: WorkflowHandle, manager: SharedContextManager, condition: Any
    ) -> None:
        wf.put("a", 1)
        with pytest.raises(DependencyTimeout, match="waited in vain for b"):
            wf.wait_for(condition, timeout=SHORT)
        assert wf.update({"b": 2}).fired == 0
        until(lambda: manager.cleanup_expired_contexts().scanned == 0, "nothing is due")

    def test_a_workflow_that_is_closed_ends_it(self, wf: WorkflowHandle, manager: SharedContextManager) -> None:
        with ThreadPoolExecutor(1) as threads:
            waits = threads.submit(wf.wait_for, "a", timeout=LONG)

            def over() -> bool:
                manager.workflow(WORKFLOW).close()
                manager.cleanup_expired_contexts()
                return waits.done()

            until(over, "it has ended")
            with pytest.raises(WorkflowClosed):
                waits.result()

    def test_mistakes_in_a_wait(self, wf: WorkflowHandle, manager: SharedContextManager) -> None:
        with pytest.raises(AccessDenied):
            wf.wait_for("api_key")
        with pytest.raises(InvalidDuration):
            wf.wait_for("a", timeout=0)
        with pytest.raises(WorkflowNotFound):
            manager.workflow("unknown").wait_for("a", timeout=LONG)
