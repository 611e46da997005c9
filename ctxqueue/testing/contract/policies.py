"""Policies: what rules deny, no path does or shows; what is marked by anything is held back everywhere."""
# ruff: noqa: D102, S101 - tests: names are sentences, values expected

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ctxqueue.context import connect
from ctxqueue.errors import AccessDenied, CtxqueueError, IdentityMismatch
from ctxqueue.flows import draining, inbox, stored, triggers
from ctxqueue.identity import declared_agent
from ctxqueue.models import Agent, Put
from ctxqueue.rules.conditions import any_of
from ctxqueue.testing.contract.base import WORKFLOW, Contract, nothing_written, until
from ctxqueue.testing.contract.clerks import DRAIN
from ctxqueue.testing.contract.runs import Worker
from ctxqueue.testing.contract.triggers import Arming

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ctxqueue.context import SharedContextManager, WorkflowHandle

POLICY = {
    "rule": [
        {"name": "no drafts", "agent_role": "intern", "key": "draft_*", "deny": ["read"]},
        {"name": "results stand", "agent_role": "intern", "key": "result_*", "deny": ["write", "delete"]},
        {"name": "no state", "agent_type": "mute", "scope": "private", "deny": ["write"]},
    ],
    "sensitive": [{"name": "payroll", "key": "payroll_*"}],
    "act_as": [{"agent_type": "coordinator", "agent": ["worker_*"]}],
}
TOKEN = "ghp_" + "a1" * 18


class Policies(Contract):
    """What a policy of the team's own changes."""

    @pytest.fixture
    def ruled(self, url: str, operator: WorkflowHandle) -> Iterator[SharedContextManager]:
        assert operator.workflow_id == WORKFLOW
        with connect(url, policy=POLICY) as manager:
            yield manager

    @pytest.fixture
    def intern(self, ruled: SharedContextManager) -> WorkflowHandle:
        return ruled.workflow(WORKFLOW, agent_id="helper_1", agent_role="intern")

    def test_what_may_not_be_written_is_written_by_no_path(
        self, intern: WorkflowHandle, wf: WorkflowHandle, operator: WorkflowHandle, ruled: SharedContextManager
    ) -> None:
        wf.put("result_1", 1)
        intern.put("note", 1)
        with nothing_written(operator):
            for write in (
                lambda: intern.put("result_1", 2),
                lambda: intern.create("result_2", 2),
                lambda: intern.update({"note": 2, "result_1": 2}),
                lambda: intern.update({"result_1": Put(2, scope="private")}),
                lambda: intern.delete("result_1"),
                lambda: intern.delete("result_1", purge=True),
                lambda: ruled.workflow(WORKFLOW, agent_id="mute").set_agent_state(mood="good"),
            ):
                with pytest.raises(AccessDenied, match=r"results stand|no state"):
                    write()
            with pytest.raises(AccessDenied), intern.transaction():  # noqa: PT012 - one transaction
                intern.put("note", 3)
                intern.delete("result_1")

    def test_what_may_not_be_read_is_shown_by_no_path(self, intern: WorkflowHandle, wf: WorkflowHandle) -> None:
        wf.put("draft_1", 1, scope="global")
        wf.put("draft_1", 2)
        wf.put("open", 1, depends_on=["draft_1"])
        assert intern.get("draft_1") is None
        assert intern.get("draft_1", scope="global") is None
        assert [entry.key for entry in intern.list()] == list(intern.view()) == ["open"]
        assert {change.key for change in intern.changes()} == {"open"}
        assert intern.history("draft_1") == []
        assert "draft_1" not in intern.at(intern.view().revision)
        assert "draft" not in intern.graph()
        seen = (
            intern.get("open"),
            intern.list(),
            intern.history("open"),
            intern.view().as_dict(),
            intern.at(2).as_dict(),
        )
        assert "draft" not in repr(seen)  # nor as what something depends on
        with pytest.raises(AccessDenied, match="may not wait for 'draft_1'"):
            intern.wait_for("draft_1", timeout=0.01)

    def test_marked_by_a_rule_it_is_sensitive_though_it_was_written_before(
        self, intern: WorkflowHandle, wf: WorkflowHandle, ruled: SharedContextManager
    ) -> None:
        wf.put("payroll_7", 1)
        assert wf["payroll_7"] == 1
        assert intern.get("payroll_7") is None
        seen = ruled.workflow(WORKFLOW).get("payroll_7")
        assert seen is not None
        assert (seen.sensitive, seen.why_sensitive, seen.packed) == (True, "rule: payroll", b"")
        intern.put("payroll_7", 2, sensitive=False)
        assert wf.get("payroll_7") is None

    def test_why_an_entry_is_sensitive_is_kept_with_it(self, wf: WorkflowHandle, operator: WorkflowHandle) -> None:
        wf.put("plain", 1)
        wf.update({"plain": 2, "a_password": "x", "note": {"text": f"use {TOKEN}"}})
        wf.put("given", 1, sensitive=True)
        wf.put("log", ["hello"])
        wf.update({"log": ["more"]}, merge_strategy="append")
        assert wf["log"] == ["hello", "more"]
        wf.update({"log": [TOKEN]}, merge_strategy="append")
        assert {entry.key: entry.why_sensitive for entry in operator.list()} == {
            "plain": "",
            "a_password": "name",
            "note": "detector: GitHub token",
            "given": "given",
            "log": "detector: GitHub token",
        }
        assert [entry.key for entry in wf.list()] == ["plain"]
        wf.update({"note": {"more": 1}})
        entry = operator.get("note", reveal=True)
        assert entry is not None
        assert (entry.why_sensitive, entry.value["more"]) == ("detector: GitHub token", 1)

    def test_nobody_learns_by_waiting_that_something_hidden_is_there(
        self, url: str, wf: WorkflowHandle, operator: WorkflowHandle
    ) -> None:
        worker = Worker(url)
        wf.put("a", 1, sensitive=True)
        assert worker.claim("r", needs="a").missing == ("a",)
        worker.claim_and_park("s", "b")
        assert wf.put("b", 1, sensitive=True).version == 1
        assert wf.update({"b": 2}).fired == 0
        assert worker.deliver() == []
        operator.delete("b")
        assert wf.update({"b": 3}).fired == 1
        operator.put("a", 2, sensitive=False)
        assert worker.claim("t", needs="a").missing == ()
        worker.manager.close()

    def test_a_refused_merge_tells_nothing_of_what_may_not_be_read(
        self, wf: WorkflowHandle, operator: WorkflowHandle
    ) -> None:
        operator.put("hidden", ["x" * 900_000], sensitive=True)
        tries: list[tuple[Any, str]] = [(["y" * 900_000], "append"), (1, "increment")]
        told = []
        for value, strategy in tries:
            with pytest.raises(CtxqueueError) as caught:
                wf.update({"hidden": value}, merge_strategy=strategy)
            told.append((type(caught.value), str(caught.value)))
            with pytest.raises(CtxqueueError) as staged, wf.transaction():
                wf.update({"hidden": value}, merge_strategy=strategy)
            told.append((type(staged.value), str(staged.value)))
        assert set(told) == {(AccessDenied, told[0][1])}

    def test_in_a_task_another_agent_is_acted_as_by_a_grant_alone(self, ruled: SharedContextManager) -> None:
        declared = Agent("coordinator", agent_role="lead")
        token = declared_agent.set(declared)
        try:
            assert ruled.workflow(WORKFLOW, agent_id="coordinator").agent == declared
            assert ruled.workflow(WORKFLOW, agent_id="worker_7").agent == Agent("worker_7")
            for who in ({"agent_id": "analyst"}, {"agent_id": "coordinator", "agent_role": "admin"}, {}):
                with pytest.raises(IdentityMismatch, match="'coordinator' may not act as"):
                    ruled.workflow(WORKFLOW, **who)
        finally:
            declared_agent.reset(token)

    def test_a_trigger_that_was_armed_before_the_policy_changed_tells_nothing_that_may_not_be_told_now(
        self, url: str, wf: WorkflowHandle, ruled: SharedContextManager
    ) -> None:
        arming = Arming(url)
        intern = arming.manager.workflow(WORKFLOW, agent_id="helper_1", agent_role="intern")
        hidden, told = (intern.when(name).then(b"canvas") for name in ("draft_1", any_of("draft_1", "note")))
        wf.put("draft_1", 1)
        assert set(arming.deliver()) == {f"{trigger.id} launch".encode() for trigger in (hidden, told)}
        run, terms = arming.manager.driver.run, ruled.terms
        for trigger in (hidden, told):
            assert run(triggers.launched(arming.manager.terms, WORKFLOW, trigger.id, late=False)) is not None
            with pytest.raises(AccessDenied, match="may not"):
                run(triggers.launched(terms, WORKFLOW, trigger.id, late=False))
        wf.put("note", 1)
        arming.manager.close()

    def test_a_stored_update_is_held_to_the_role_of_whoever_made_it(
        self, wf: WorkflowHandle, ruled: SharedContextManager
    ) -> None:
        intern = Agent("helper_1", agent_role="intern")
        ref = stored.UpdateRef(WORKFLOW, "helper_1", "once")
        payload = stored.packed(WORKFLOW, intern, {"result_1": 1}, "replace")
        run, terms = ruled.driver.run, ruled.terms
        with pytest.raises(AccessDenied):
            inbox.checked(terms, WORKFLOW, intern, {"result_1": 1}, "replace", "once")
        run(inbox.enqueue(terms, ref, payload, drain=DRAIN))
        until(lambda: run(draining.drain(terms, WORKFLOW, 10)).failed, "it has failed")
        assert wf.get("result_1") is None
