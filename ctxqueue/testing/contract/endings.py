"""The end of a workflow: closed, removed, or left alone for too long; and the erasing of what somebody wrote."""
# ruff: noqa: D102, PLR2004, S101 - tests: a name is a sentence, a bare number the expected value

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ctxqueue.errors import InvalidInput, WorkflowClosed, WorkflowNotFound
from ctxqueue.models import EraseReport
from ctxqueue.testing.contract.base import WORKFLOW, Contract, nothing_written, until
from ctxqueue.testing.contract.bounds import Limiting
from ctxqueue.testing.contract.calls import attempt_at
from ctxqueue.testing.contract.runs import Worker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ctxqueue.context import SharedContextManager, WorkflowHandle
    from ctxqueue.testing.contract.bounds import Configured

SHORT = 0.05
"""Seconds of a time that is waited for."""


class Endings(Limiting, Contract):
    """close, remove, idle life, erase."""

    @pytest.fixture
    def worker(self, url: str, wf: WorkflowHandle) -> Iterator[Worker]:
        assert wf.workflow_id == WORKFLOW
        worker = Worker(url)
        yield worker
        worker.manager.close()

    # --- close -------------------------------------------------------------------------------------------------

    def test_a_closed_workflow_takes_no_writes_and_can_be_read(self, wf: WorkflowHandle) -> None:
        wf.put("k", 1)
        wf.put("k", 2)
        wf.close()
        with nothing_written(wf):
            for write in (
                lambda: wf.put("k", 3),
                lambda: wf.create("new", 3),
                lambda: wf.update({"k": 3}),
                lambda: wf.delete("k"),
                lambda: wf.set_agent_state(a=1),
            ):
                with pytest.raises(WorkflowClosed, match="closed"):
                    write()
        assert wf["k"] == 2
        assert [entry.value for entry in wf.history("k")] == [2, 1]
        wf.close()

    def test_a_closed_workflow_is_not_opened_again(self, wf: WorkflowHandle, manager: SharedContextManager) -> None:
        wf.close()
        with pytest.raises(WorkflowClosed):
            wf.open()
        with pytest.raises(WorkflowClosed):
            manager.create_workflow_context(WORKFLOW)

    def test_a_call_that_was_made_before_is_answered(self, wf: WorkflowHandle) -> None:
        first = wf.update({"k": [1]}, operation_id="o")
        wf.close()
        again = wf.update({"k": [1]}, operation_id="o")
        assert (again.revision, again.replayed) == (first.revision, True)

    def test_parked_runs_come_back_and_learn_of_it(self, wf: WorkflowHandle, worker: Worker) -> None:
        for run in range(250):
            worker.claim_and_park(f"r{run}", "k")
        wf.close()
        worker.sweep()
        assert sorted(worker.deliver()) == sorted(f"r{run}/0.1".encode() for run in range(250))
        back = worker.claim("r7", leg=1, needs="k")
        assert (back.word, back.missing) == ("closed", ("k",))
        assert worker.finish(back, "failed") is True

    def test_nothing_is_parked_in_a_closed_workflow(self, wf: WorkflowHandle, worker: Worker) -> None:
        answer = worker.claim("r", needs="k")
        wf.close()
        with pytest.raises(WorkflowClosed):
            worker.park(answer, "k")
        assert worker.claim("late", needs="k").word == "closed"

    def test_a_run_whose_keys_had_come_can_still_read_them(self, wf: WorkflowHandle, worker: Worker) -> None:
        worker.claim_and_park("r", "k")
        wf.put("k", 1)
        wf.close()
        assert worker.claim("r", leg=1, needs="k").word == "run"
        assert worker.claim("other").word == "run"

    def test_a_closed_workflow_goes_once_the_horizon_has_passed(self, configured: Configured) -> None:
        manager = configured(horizon=SHORT)
        wf = manager.workflow("short-lived", agent_id="analyst_001")
        wf.open()
        wf.put("k", 1)
        wf.close()
        until(lambda: swept_away(manager, wf), "it is removed")

    def test_an_unknown_workflow(self, manager: SharedContextManager) -> None:
        with pytest.raises(WorkflowNotFound):
            manager.workflow("nowhere").close()
        manager.workflow("nowhere").remove()

    # --- remove ------------------------------------------------------------------------------------------------

    def test_a_removed_workflow_leaves_nothing(self, wf: WorkflowHandle) -> None:
        wf.update({f"k{number}": number for number in range(200)})
        wf.update({f"k{number}": -number for number in range(200)})
        wf.put("private_k", 1, depends_on=["k1"])
        wf.put("soon", 1, ttl=60)
        wf.remove()
        for call in (lambda: wf.get("k1"), wf.view, wf.list, lambda: wf.put("k", 1)):
            with pytest.raises(WorkflowNotFound):
                call()
        wf.remove()

    def test_one_made_anew_is_another(self, wf: WorkflowHandle) -> None:
        wf.update({"k": [1]}, operation_id="o")
        wf.put("k", [1])
        before = wf.etag
        assert dict(wf.view()) == {"k": [1]}
        wf.remove()
        wf.open({"made": "anew"})
        assert dict(wf.view()) == {}
        assert wf.history("k") == []
        result = wf.update({"k": [2]}, operation_id="o")
        assert (result.revision, result.replayed) == (1, False)
        wf.put("k", [2])
        assert wf.etag != before
        assert dict(wf.view()) == {"k": [2]}

    def test_parked_runs_of_a_removed_workflow_come_back(self, wf: WorkflowHandle, worker: Worker) -> None:
        worker.claim_and_park("r", "k")
        wf.remove()
        assert worker.deliver() == [b"r/0.1"]
        assert worker.claim("r", leg=1, needs="k").word == "closed"

    # --- idle life ---------------------------------------------------------------------------------------------

    def test_a_workflow_that_nobody_writes_to_goes(self, configured: Configured) -> None:
        manager = configured(idle_life=SHORT)
        wf = manager.workflow("short-lived", agent_id="analyst_001")
        wf.open()
        wf.put("k", 1)
        wf.put("k", 2)
        until(lambda: swept_away(manager, wf), "it is removed")
        assert wf.open().revision == 0

    def test_commits_keep_it_alive(self, configured: Configured) -> None:
        patient, hasty = configured(idle_life=60), configured(idle_life=0.001)
        wf = hasty.workflow("short-lived", agent_id="analyst_001")
        wf.open()
        for number in range(5):
            wf.put("k", number)
            patient.cleanup_expired_contexts()
        assert wf["k"] == 4

    def test_a_parked_run_keeps_it_alive(self, url: str, configured: Configured) -> None:
        manager = configured(idle_life=0.001)
        manager.workflow("waiting").open()
        worker = Worker(url)
        worker.park(worker.claim("r", needs="k", workflow_id="waiting"), "k")
        for _ in range(5):
            manager.cleanup_expired_contexts()
        manager.workflow("waiting").put("k", 1)
        assert worker.deliver() == [b"r/0.1"]
        worker.manager.close()

    def test_the_global_context_has_no_idle_life(self, configured: Configured) -> None:
        manager = configured(idle_life=0.001)
        wf = manager.workflow("w", agent_id="analyst_001")
        wf.open()
        wf.put("global_k", 1)
        until(lambda: swept_away(manager, wf), "the workflow is removed")
        wf.open()
        assert wf["global_k"] == 1

    # --- erase -------------------------------------------------------------------------------------------------

    def test_what_an_agent_wrote_is_erased_everywhere(self, manager: SharedContextManager) -> None:
        for name in ("w1", "w2"):
            manager.workflow(name).open()
            ann, bob = (manager.workflow(name, agent_id=agent) for agent in ("ann_1", "bob_1"))
            ann.put("anns", 1)
            ann.put("bobs now", "of ann")
            bob.put("bobs now", "of bob")
            bob.put("anns now", "of bob")
            ann.put("anns now", "of ann")
            bob.put("bobs", 1)
            ann.put("notes", 1, scope="private")
            ann.set_agent_state(step=7)
        manager.workflow("w1", agent_id="ann_1").put("global_anns", 1)
        report = manager.erase(agent_id="ann_1")
        assert report == EraseReport(workflows=2, entries=9, values=2)
        for name in ("w1", "w2"):
            bob = manager.workflow(name, agent_id="bob_1")
            assert dict(bob.view()) == {"bobs now": "of bob", "bobs": 1}
            assert [entry.value for entry in bob.history("bobs now")] == ["of bob"]
            assert bob.history("anns now") == []
            assert manager.workflow(name, agent_id="ann_1").view().agent_state == {}
        assert manager.erase(agent_id="ann_1") == EraseReport(workflows=2, entries=0, values=0)

    def test_a_task_erases_as_often_as_its_body_runs(self, wf: WorkflowHandle, manager: SharedContextManager) -> None:
        for epoch in (1, 2):
            wf.put("k", epoch)
            with attempt_at("run", epoch=epoch):
                assert manager.erase(agent_id=wf.agent.agent_id).entries == 1
            assert wf.get("k") is None

    def test_what_stands_in_a_closed_workflow_is_erased_too(self, manager: SharedContextManager) -> None:
        for name in ("w1", "w2"):
            manager.workflow(name).open()
            ann = manager.workflow(name, agent_id="ann_1")
            ann.put("k", 1)
            ann.put("k", 2)
            manager.workflow(name, agent_id="bob_1").put("other", 1)
        manager.workflow("w1").close()
        assert manager.erase(agent_id="ann_1") == EraseReport(workflows=2, entries=2, values=0)
        for name in ("w1", "w2"):
            assert dict(manager.workflow(name).view()) == {"other": 1}
            assert manager.workflow(name).history("k") == []
        with pytest.raises(WorkflowClosed):
            manager.workflow("w1", agent_id="ann_1").put("k", 3)

    def test_what_was_written_about_a_user_is_erased(self, wf: WorkflowHandle, manager: SharedContextManager) -> None:
        wf.put("a", 1, metadata={"user_id": "u1"})
        wf.put("b", 1, metadata={"user_id": "u2"})
        wf.put("b", 2)
        assert manager.erase(user_id="u1").entries == 1
        assert manager.erase(user_id="u2") == EraseReport(workflows=1, entries=0, values=1)
        assert dict(wf.view()) == {"b": 2}

    @pytest.mark.parametrize("subject", [{}, {"agent_id": "a", "user_id": "u"}, {"agent_id": ""}, {"user_id": 7}])
    def test_a_wrong_subject(self, manager: SharedContextManager, operator: WorkflowHandle, subject: Any) -> None:
        with nothing_written(operator), pytest.raises(InvalidInput):
            manager.erase(**subject)


def swept_away(manager: SharedContextManager, wf: WorkflowHandle) -> bool:
    """Sweep once; return whether the workflow is gone."""
    manager.cleanup_expired_contexts()
    try:
        wf.get("k")
    except WorkflowNotFound:
        return True
    return False
