"""Erasing what waits: stored updates, dead letters, triggers and subscriptions; and a whole namespace."""

# ruff: noqa: D102, PLR2004, S101 - tests: a name is a sentence, a bare number the expected value

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from ctxqueue.errors import InvalidInput, UpdateAbandoned, WorkflowNotFound
from ctxqueue.models import EraseReport, Put
from ctxqueue.rules.conditions import all_of, key
from ctxqueue.testing.contract.base import WORKFLOW, nothing_written
from ctxqueue.testing.contract.clerks import ANN, BOB, Clerk, WithClerk
from ctxqueue.testing.contract.runs import AGENT
from ctxqueue.testing.contract.triggers import Arming

if TYPE_CHECKING:
    from ctxqueue.context import SharedContextManager, WorkflowHandle


class Erasing(WithClerk):
    """What would still write, or be sent, once an agent or a user is erased."""

    def test_an_agents_stored_updates_and_dead_letters_are_erased(
        self, clerk: Clerk, wf: WorkflowHandle, manager: SharedContextManager
    ) -> None:
        ours = [clerk.queued({f"q{n}": "of ann"}, operation=f"q{n}", agent=ANN if n % 2 else BOB) for n in range(6)]
        single = clerk.stored({"s": "of ann"}, operation="s")
        reported = clerk.queued({"r": "of ann"}, operation="r", reports=True)
        dead = clerk.stored({"d": "of ann"}, operation="d")
        for _ in range(6):
            with pytest.raises((UpdateAbandoned, KeyError)):
                clerk.carry_out(dead, 0)
        assert [letter.agent_id for letter in manager.dead_letters(WORKFLOW)] == [ANN]
        report = manager.erase(agent_id=ANN)
        assert (report.updates, report.entries) == (6, 0)
        assert manager.dead_letters(WORKFLOW).items == ()
        for update in (*ours[1::2], single, reported):
            with pytest.raises(UpdateAbandoned, match="erased before it was done"):
                update.get()
        with pytest.raises(UpdateAbandoned, match="erased"):
            clerk.carry_out(single)
        assert clerk.drain().applied == 3
        assert set(wf.view()) == {"q0", "q2", "q4"}
        assert manager.summary(WORKFLOW).stored_updates == 0
        assert manager.erase(agent_id=ANN).updates == 0

    def test_stored_updates_about_a_user_are_erased(
        self, clerk: Clerk, wf: WorkflowHandle, manager: SharedContextManager
    ) -> None:
        about = clerk.queued({"a": Put(1, metadata={"user_id": "u1"}), "b": 1}, operation="1")
        other = clerk.queued({"c": Put(1, metadata={"user_id": "u2"})}, operation="2")
        assert manager.erase(user_id="u1") == EraseReport(workflows=1, entries=0, values=0, updates=1)
        clerk.drain()
        assert (about.state, other.state, set(wf.view())) == ("FAILED", "APPLIED", {"c"})

    def test_an_agents_triggers_and_subscriptions_are_erased_with_what_they_would_send(
        self, url: str, wf: WorkflowHandle, manager: SharedContextManager
    ) -> None:
        arming = Arming(url)
        with closing(arming.manager):
            others = arming.manager.workflow(WORKFLOW, agent_id="other_1").when(all_of("k")).then(b"of another")
            manager.workflow("afar").open()
            arming.wf.when(all_of("k")).then(b"armed")
            arming.wf.when(key("n") > 1).then(b"each", every=True)
            arming.wf.when(all_of("done")).then(b"cancelled").cancel()
            arming.wf.subscribe("k*", b"told")
            report = manager.erase(agent_id=AGENT.agent_id)
            assert (report.triggers, arming.states(), arming.wf.subscriptions()) == (4, [], [])
            assert manager.summary(WORKFLOW).triggers == 1
            wf.put("k", 1)
            wf.put("n", 2)
            assert arming.released() == [f"{others.id} launch".encode()]
            assert manager.erase(agent_id=AGENT.agent_id).triggers == 0

    def test_a_namespace_is_erased_by_its_own_name(
        self, clerk: Clerk, wf: WorkflowHandle, operator: WorkflowHandle, manager: SharedContextManager
    ) -> None:
        wf.put("k", 1)
        wf.put("everybodys", 1, scope="global")
        clerk.queued({"q": 1}, operation="q")
        manager.workflow("second").open()
        for subject in ({"namespace": "other"}, {"namespace": "default", "agent_id": "a"}, {"namespace": ""}):
            with nothing_written(operator), pytest.raises(InvalidInput):
                manager.erase(**subject)
        report = manager.erase(namespace="default")
        assert (report.workflows, report.entries, report.updates) == (2, 2, 1)
        with pytest.raises(WorkflowNotFound):
            wf.view()
        wf.open()
        assert dict(wf.view()) == {}
        wf.put("everybodys", 2, scope="global")
        assert wf["everybodys"] == 2
        assert manager.erase(namespace="default").entries == 1
        assert manager.erase(namespace="default") == EraseReport(workflows=0, entries=0, values=0)
