"""The audit log: who did what to what is sensitive, each once, bounded, and never a value."""
# ruff: noqa: D102, S101 - tests: names are sentences, values expected

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
import pytest

from ctxqueue import effects as fx
from ctxqueue.context import SharedContextManager, connect
from ctxqueue.errors import AccessDenied, EntryNotFound, IdentityMismatch, InvalidInput, VersionConflict
from ctxqueue.flows import audit_log
from ctxqueue.identity import Attempt, current_attempt, declared_agent
from ctxqueue.models import Agent, ContextEntry, Put
from ctxqueue.testing.contract.base import WORKFLOW, Contract, nothing_written, until
from ctxqueue.testing.contract.clerks import ANN, BOB, WithClerk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ctxqueue.audited import AuditRecord
    from ctxqueue.context import WorkflowHandle
    from ctxqueue.testing.contract.clerks import Clerk

CANARY = "canary-0815"
SOME = 5
POLICY = {
    "rule": [
        {"name": "readers", "agent_type": "reader", "allow": ["read"], "sensitive": True},
        {"name": "no results", "agent_type": "intern", "key": "result_*", "deny": ["read", "write", "delete"]},
    ],
    "sensitive": [{"name": "payroll", "key": "payroll_*"}],
}


def told(record: AuditRecord) -> tuple[str, str, list[tuple[str, int]]]:
    """Return what a record says in short."""
    return record.action, record.agent_id, [(entry.key, entry.version) for entry in record.entries]


class Auditing(WithClerk, Contract):
    """What is recorded, and what is not."""

    @pytest.fixture
    def strict(self, url: str, operator: WorkflowHandle) -> Iterator[SharedContextManager]:
        assert operator.workflow_id == WORKFLOW
        with connect(url, policy=POLICY) as manager:
            yield manager

    @pytest.fixture
    def cleared(self, strict: SharedContextManager) -> WorkflowHandle:
        return strict.workflow(WORKFLOW, agent_id="reader_1", agent_role="clerk")

    def audited(self, manager: SharedContextManager) -> list[AuditRecord]:
        """Return all records but those of policies."""
        return [record for record in manager.audit(limit=1_000) if record.action != "policy"]

    def test_who_wrote_read_and_deleted_is_recorded_and_of_plain_entries_nothing(
        self, cleared: WorkflowHandle, strict: SharedContextManager, wf: WorkflowHandle
    ) -> None:
        wf.put("plain", CANARY)
        wf.update({"api_key": CANARY, "plain": 2})
        wf.update({"log": [1]}, merge_strategy="append")
        wf.put("api_key", CANARY, scope="global")
        assert cleared["api_key"].reveal() == CANARY
        cleared.view()
        cleared.list()
        cleared.history("api_key")
        cleared.at(1)
        with pytest.raises(VersionConflict) as conflict:
            cleared.put("api_key", 1, expected_version=7)
        assert isinstance(conflict.value.current, ContextEntry)
        wf.delete("api_key")
        wf.delete("plain")
        records = self.audited(strict)
        assert [told(record) for record in records] == [
            ("wrote", "analyst_001", [("api_key", 1)]),
            ("wrote", "analyst_001", [("api_key", 1)]),
            ("read", "reader_1", [("api_key", 1)]),
            ("revealed", "reader_1", [("api_key", 1)]),
            ("read", "reader_1", [("api_key", 1)]),
            ("read", "reader_1", [("api_key", 1)]),
            ("read", "reader_1", [("api_key", 1)]),
            ("read", "reader_1", [("api_key", 1)]),
            ("read", "reader_1", [("api_key", 1)]),
            ("read", "reader_1", [("api_key", 1)]),
            ("deleted", "analyst_001", [("api_key", 1)]),
        ]
        assert [record.detail for record in records[2:10]] == [
            *("get", "reveal", "view", "view", "list", "list", "history", "conflict"),
        ]

    def test_a_value_is_taken_by_the_operator_on_the_record_and_what_is_concealed_is_not_read(
        self, operator: WorkflowHandle, wf: WorkflowHandle, manager: SharedContextManager
    ) -> None:
        wf.put("api_key", CANARY)
        operator.get("api_key")
        operator.view()
        operator.list()
        entry = operator.get("api_key", reveal=True)
        assert entry is not None
        assert entry.value == CANARY
        assert operator.view(reveal=True)["api_key"] == CANARY
        first, *rest = self.audited(manager)
        assert told(first)[0] == "wrote"
        assert [(*told(record)[:2], record.detail) for record in rest] == [
            ("revealed", "SYSTEM", "get"),
            ("revealed", "SYSTEM", "view"),
        ]

    def test_a_view_with_many_secrets_is_recorded_in_one_piece(
        self, cleared: WorkflowHandle, wf: WorkflowHandle, strict: SharedContextManager
    ) -> None:
        tokens = {f"token_{n}": n for n in range(20)}
        wf.update(tokens)
        before = len(self.audited(strict))
        assert cleared.view().keys() == tokens.keys()
        (record,) = self.audited(strict)[before:]
        assert {entry.key for entry in record.entries} == tokens.keys()
        assert (record.workflow_id, record.agent_type, record.agent_role) == (WORKFLOW, "reader", "clerk")

    def test_what_is_denied_is_recorded_though_it_changes_nothing(
        self, strict: SharedContextManager, wf: WorkflowHandle, operator: WorkflowHandle
    ) -> None:
        intern = strict.workflow(WORKFLOW, agent_id="intern_1")
        wf.put("result_1", 1)
        wf.put("api_key", CANARY)
        before = len(self.audited(strict))
        with nothing_written(operator):
            assert intern.get("api_key") is intern.get("result_1") is intern.get("token") is None
            assert intern.history("api_key") == []
            with pytest.raises(EntryNotFound):
                intern["api_key"]
            for denied in (
                lambda: intern.put("result_1", 2),
                lambda: intern.update({"note": 1, "result_1": Put(2)}),
                lambda: intern.delete("result_1"),
                lambda: intern.wait_for("result_1", timeout=0.01),
                lambda: intern.subscribe("api_key", print),
                lambda: intern.get("plan", scope="agent_group", group="board"),
                lambda: intern.put("plan", 1, scope="agent_group", group="board"),
                lambda: intern.update({"api_key": 5}, merge_strategy="increment"),
            ):
                with pytest.raises(AccessDenied):
                    denied()
            assert intern.get("nothing") is None
            intern.view()
        records = self.audited(strict)[before:]
        assert {told(record)[:2] for record in records} == {("denied", "intern_1")}
        assert [(record.entries[0].key, record.entries[0].version, record.detail) for record in records] == [
            ("api_key", 1, "get: it may not read it"),
            ("result_1", 1, "get: it may not read it"),
            ("token", 0, "get: by its name"),
            ("api_key", 1, "history: it may not read it"),
            ("api_key", 1, "get: it may not read it"),
            ("result_1", 0, "write: no results"),
            ("result_1", 0, "write: no results"),
            ("result_1", 0, "delete: no results"),
            ("result_1", 0, "wait: it may not read it"),
            ("api_key", 0, "subscribe: it may not read it"),
            ("plan", 0, "read: it is not in the group"),
            ("plan", 0, "write: it is not in the group"),
            ("api_key", 0, "merge: it may not read what stands there"),
        ]

    def test_a_commit_that_comes_again_is_recorded_once_with_its_run(
        self, wf: WorkflowHandle, manager: SharedContextManager
    ) -> None:
        for epoch in (1, 2):
            token = current_attempt.set(Attempt("run-1", 0, WORKFLOW, epoch))
            try:
                wf.put("api_key", CANARY)
                wf.update({"api_key": CANARY})
            finally:
                current_attempt.reset(token)
        assert [(record.action, record.run_id, record.revision) for record in self.audited(manager)] == [
            ("wrote", "run-1", 1),
            ("wrote", "run-1", 2),
        ]

    def test_a_record_whose_reply_was_lost_is_added_once(self, manager: SharedContextManager) -> None:
        records = tuple(fx.Audited(os.urandom(8), "read", "a", WORKFLOW, places=(("w\0\0k", n),)) for n in (1, 2))
        effect = fx.Audit(WORKFLOW, records, manager.terms.bounds.audit)
        for _ in range(2):
            manager.store.perform(effect)
        assert [told(record)[2] for record in self.audited(manager)] == [[("k", 1)], [("k", 2)]]

    def test_what_a_drain_writes_is_recorded_under_those_who_made_it(
        self, clerk: Clerk, manager: SharedContextManager
    ) -> None:
        clerk.queued({"api_key": {"a": CANARY}}, operation="1", agent=ANN)
        clerk.queued({"api_key": {"b": CANARY}, "plain": 1}, operation="2", agent=BOB)
        clerk.drain()
        assert [told(record) for record in self.audited(manager)] == [
            ("wrote", ANN, [("api_key", 1)]),
            ("wrote", BOB, [("api_key", 2)]),
        ]

    def test_what_a_policy_marks_is_recorded_though_it_was_written_before(
        self, wf: WorkflowHandle, strict: SharedContextManager
    ) -> None:
        wf.put("payroll_1", 1)
        wf.put("payroll_2", 1)
        before = len(self.audited(strict))
        clerk = strict.workflow(WORKFLOW, agent_id="clerk_1")
        clerk.put("payroll_1", 2)
        clerk.delete("payroll_2")
        assert [told(record) for record in self.audited(strict)[before:]] == [
            ("wrote", "clerk_1", [("payroll_1", 2)]),
            ("deleted", "clerk_1", [("payroll_2", 1)]),
        ]

    def test_no_value_is_in_the_log(
        self, cleared: WorkflowHandle, wf: WorkflowHandle, strict: SharedContextManager
    ) -> None:
        wf.put("api_key", {"text": CANARY}, metadata={"why": CANARY})
        wf.update({"api_key": {"more": CANARY}})
        cleared.view()["api_key"].reveal()
        with pytest.raises(VersionConflict):
            cleared.put("api_key", CANARY, expected_version=9)
        store = getattr(strict.store, "inner", strict.store)
        places = tuple((shard, 0, "") for shard in store.shards)
        found = [item for items in store.perform(fx.LoadAudit(places, 100)) for item in items]
        assert [item.audited.action for item in found][-4:] == ["wrote", "read", "revealed", "read"]
        assert CANARY not in repr(found)

    def test_pages_bring_each_record_once_in_order_of_time(self, manager: SharedContextManager) -> None:
        for n in range(12):
            handle = manager.workflow(f"w-{n % 5}", agent_id="analyst_001")
            handle.open()
            handle.put(f"token_{n}", n)
        whole = list(manager.audit(limit=1_000))
        found: list[AuditRecord] = []
        cursor = None
        while True:
            page = manager.audit(limit=SOME, cursor=cursor)
            assert len(page) <= SOME
            found += page
            if (cursor := page.next_cursor) is None:
                break
        assert found == whole
        assert [record.at for record in whole] == sorted(record.at for record in whole)
        assert sorted(entry.key for record in whole for entry in record.entries) == sorted(
            f"token_{n}" for n in range(12)
        )
        middle = whole[6].at
        assert list(manager.audit(since=middle)) == [record for record in whole if record.at >= middle]
        assert list(manager.audit(until=middle)) == [record for record in whole if record.at < middle]
        for mistake in ({"cursor": "x"}, {"limit": 0}, {"since": datetime(2026, 1, 1)}, {"until": "now"}):  # noqa: DTZ001
            with pytest.raises(InvalidInput):
                manager.audit(**mistake)

    def test_the_log_is_for_the_operator_alone(self, manager: SharedContextManager) -> None:
        token = declared_agent.set(Agent("analyst_001"))
        try:
            with pytest.raises(IdentityMismatch):
                manager.audit()
            with pytest.raises(IdentityMismatch):
                manager.workflow(WORKFLOW, agent_id="boss")
        finally:
            declared_agent.reset(token)
        records = self.audited(manager)
        assert [told(record)[:2] for record in records] == [("denied", "analyst_001")] * 2
        assert [record.detail.partition(" may not act as ")[2].split(maxsplit=1)[0] for record in records] == [
            *("the", "'boss',"),
        ]

    def test_the_oldest_records_go_by_count_and_by_age(self, manager: SharedContextManager) -> None:
        bounds, shard = fx.AuditBounds(20, 3_600 * 1_000_000), manager.store.shard_of(WORKFLOW)

        def add(first: int, bounds: fx.AuditBounds) -> None:
            records = (fx.Audited(os.urandom(8), "read", "a", WORKFLOW, revision=n) for n in range(first, first + 10))
            manager.store.perform(fx.Audit(WORKFLOW, tuple(records), bounds))

        for first in range(0, 50, 10):
            add(first, bounds)
        manager.store.perform(fx.TrimAudit((shard,), bounds))
        assert [record.revision for record in self.audited(manager)] == list(range(30, 50))
        assert manager.audit_gone() in (30, None)  # a database has no numbers
        short = msgspec.structs.replace(bounds, age_us=20_000)

        def trimmed() -> bool:
            manager.store.perform(fx.TrimAudit((shard,), short))
            return self.audited(manager) == []

        until(trimmed, "all of them are older than 20 ms and gone")

    def test_a_sweep_trims_some_of_the_logs(self, url: str, operator: WorkflowHandle) -> None:
        assert operator.workflow_id == WORKFLOW
        manager = SharedContextManager(url, {"audit_age": 0.02})
        manager.workflow(WORKFLOW, agent_id="analyst_001").put("api_key", 1)

        def swept() -> bool:
            manager.driver.run(audit_log.trim_some(manager.terms))
            return list(manager.audit()) == []

        until(swept, "the record is older than 20 ms and gone")
        manager.close()

    def test_another_policy_is_recorded_once_and_not_at_each_start(self, url: str) -> None:
        other = {**POLICY, "default": ["read"]}
        for policy in (None, None, POLICY, POLICY, other, None):
            with connect(url, policy=policy) as manager:
                records = [record for record in manager.audit(limit=1_000) if record.action == "policy"]
        assert [record.detail.split(maxsplit=2)[2] for record in records] == [
            *("a policy given in Python", "a policy given in Python", "the shipped policy"),
        ]
        befores, afters, _ = zip(*(record.detail.split(maxsplit=2) for record in records), strict=True)
        assert befores[1:] == afters[:-1]
        assert befores[0] == afters[-1]
        assert all(record.at <= datetime.now(UTC) for record in records)

    def test_a_log_that_is_turned_off_records_nothing(self, url: str, operator: WorkflowHandle) -> None:
        assert operator.workflow_id == WORKFLOW
        manager = SharedContextManager(url, {"audit_limit": 0})
        manager.workflow(WORKFLOW, agent_id="analyst_001").put("api_key", 1)
        assert manager.workflow(WORKFLOW, agent_id="financial_calculator_1")["api_key"].reveal() == 1
        assert list(manager.audit()) == []
        manager.close()
