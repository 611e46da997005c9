"""Random operations on the in-process store, on another one and on a dict: the same values, versions and errors."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from ctxqueue import SharedContextManager
from ctxqueue.errors import CtxqueueError, EntryExists, InvalidInput, MixedWorkflows, VersionConflict
from ctxqueue.models import Agent, CommitResult, ContextEntry, ContextPriority, Put
from ctxqueue.rules import merging
from ctxqueue.rules.placement import priority_of, scope_of
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from ctxqueue.context import WorkflowHandle

AGENTS = ("ann_1", "bob_2")
KEYS = ("a", "b", "private_c", "error_state", "global_d")
STRATEGIES = ("smart_merge", "replace", "append")

leaves = st.integers(0, 3) | st.sampled_from(["x", None, True, 1.5])
lists = st.lists(leaves, max_size=3)
values = leaves | lists | st.dictionaries(st.sampled_from("xy"), leaves | lists, max_size=2)
versions = st.none() | st.integers(0, 4)
keys = st.sampled_from(KEYS)
agents = st.sampled_from(AGENTS)


@dataclass
class Entry:
    value: Any
    version: int
    priority: ContextPriority
    fresh: bool = True


@dataclass
class Model:
    """A workflow, in a dict."""

    entries: dict[str, Entry] = field(default_factory=dict)
    floor: int = 0
    revision: int = 0
    opened: bool = True

    def current(self, address: str) -> Entry | None:
        entry = self.entries.get(address)
        return entry if entry and entry.fresh else None

    def write(self, address: str, value: Any, priority: ContextPriority) -> int:
        version = (self.entries[address].version if address in self.entries else self.floor) + 1
        self.entries[address] = Entry(value, version, priority)
        return version

    def remove(self, address: str) -> None:
        self.floor = max(self.floor, self.entries.pop(address).version)


def outcome(call: Callable[[], Any]) -> Any:
    """Return what a call returned, in comparable form, or the type of its error."""
    try:
        return comparable(call())
    except CtxqueueError as error:
        current = getattr(error, "current", None)
        return type(error), current and comparable(current)


def is_gone(wf: WorkflowHandle, key: str) -> bool:
    return wf.get(key) is None


def comparable(result: Any) -> Any:
    if isinstance(result, ContextEntry):
        who = (result.agent_id, result.created_by, result.owner)
        kept = (result.priority, result.pinned, result.sensitive, result.metadata, result.dependencies)
        return (result.key, result.scope, repr(result.value), result.version, result.revision, who, kept)
    if isinstance(result, CommitResult):
        return (result.revision, dict(result.versions), result.replayed, result.attempts, result.fired)
    return result


class Stores(RuleBasedStateMachine):
    """The same calls on both stores; ``model`` says what they should have done."""

    def __init__(self, other_url: str) -> None:
        super().__init__()
        options = {"namespace": f"n{uuid.uuid4().hex}"}
        self.managers = [SharedContextManager(url, options) for url in ("memory://", other_url)]
        self.handles = [{agent: manager.workflow("w", agent_id=agent) for agent in AGENTS} for manager in self.managers]
        for handles in self.handles:
            handles["ann_1"].open()
        self.model = Model()
        self.shared = Model(opened=False)
        self.operations: dict[str, tuple[int, dict[str, int]]] = {}

    def teardown(self) -> None:
        for manager in self.managers:
            manager.close()

    def both(self, agent: str, call: Callable[[WorkflowHandle], Any]) -> Any:
        in_process, on_redis = (outcome(partial(call, handles[agent])) for handles in self.handles)
        assert in_process == on_redis
        return on_redis

    def place(self, agent: str, key: str) -> tuple[Model, str]:
        home = self.shared if key.startswith("global_") else self.model
        return home, f"{agent}/{key}" if key.startswith("private_") else key

    @rule(agent=agents, key=keys, value=values, expected=versions, create=st.booleans())
    def put(self, agent: str, key: str, value: Any, expected: int | None, create: bool) -> None:  # noqa: FBT001
        model, address = self.place(agent, key)
        current = model.current(address)
        if create:
            expected = 0
            found = self.both(agent, lambda wf: wf.create(key, value))
        else:
            found = self.both(agent, lambda wf: wf.put(key, value, expected_version=expected))
        if expected is not None and expected != (current.version if current else 0):
            assert found[0] is (EntryExists if create else VersionConflict)
            assert create or (found[1] and found[1][3]) == (current and current.version)
            return
        model.revision += 1
        version = model.write(address, value, priority_of(key))
        assert found[:5] == (key, scope_of(key), repr(value), version, model.revision)

    @rule(agent=agents, key=keys, expected=versions)
    def delete(self, agent: str, key: str, expected: int | None) -> None:
        model, address = self.place(agent, key)
        current = model.current(address)
        found = self.both(agent, lambda wf: wf.delete(key, expected_version=expected))
        if expected is not None and expected != (current.version if current else 0):
            assert found[0] is VersionConflict
            return
        assert found is (current is not None)
        if address in model.entries:
            model.remove(address)
            model.revision += 1

    @rule(
        agent=agents,
        updates=st.dictionaries(keys, values, min_size=1, max_size=3),
        strategy=st.sampled_from(STRATEGIES),
        operation=st.none() | st.sampled_from(["op1", "op2"]),
    )
    def update(self, agent: str, updates: dict[str, Any], strategy: str, operation: str | None) -> None:
        found = self.both(agent, lambda wf: wf.update(updates, merge_strategy=strategy, operation_id=operation))
        places = {key: self.place(agent, key) for key in updates}
        if strategy == "append" and not all(isinstance(value, list) for value in updates.values()):
            assert found[0] is InvalidInput
            return
        if len({id(model) for model, _ in places.values()}) > 1:
            assert found[0] is MixedWorkflows
            return
        model = next(iter(places.values()))[0]
        name = f"{operation} of {agent} in {id(model)}"
        if operation and name in self.operations:
            assert found[:3] == (*self.operations[name], True)
            return
        merged: dict[str, tuple[Any, ContextPriority]] = {}
        for key, (_, address) in places.items():
            current = model.current(address)
            if current is None:
                merged[key] = (updates[key], priority_of(key))
            elif strategy == "append" and not isinstance(current.value, list):
                assert found[0] is InvalidInput
                return
            else:
                merge = merging.strategy(strategy).merge
                merged[key] = (merge(current.value, updates[key], current.priority), current.priority)
        model.revision += 1
        written = {
            key: model.write(places[key][1], *merged[key]) for key in sorted(updates, key=lambda k: places[k][1])
        }
        assert (found[0], found[2]) == (model.revision, False)
        assert found[1] == written
        if operation:
            self.operations[name] = (model.revision, written)

    @rule(agent=agents, key=keys)
    def expire(self, agent: str, key: str) -> None:
        self.both(agent, lambda wf: wf.put(key, "soon", ttl=0.001))
        model, address = self.place(agent, key)
        model.revision += 1
        model.write(address, "soon", priority_of(key))
        for handles in self.handles:
            wait_until(partial(is_gone, handles[agent], key), "it has expired")
        model.entries[address].fresh = False

    @rule()
    def sweep(self) -> None:
        reports = [manager.cleanup_expired_contexts() for manager in self.managers]
        expired = 0
        for model in (self.model, self.shared):
            gone = [address for address, entry in model.entries.items() if not entry.fresh]
            for address in gone:
                model.remove(address)
            model.revision += bool(gone)
            expired += len(gone)
        assert [report.expired for report in reports] == [expired] * 2

    @rule(agent=agents, key=keys, value=values, ttl=st.none() | st.just(3_600), flag=st.booleans())
    def put_within_an_update(self, agent: str, key: str, value: Any, ttl: int | None, flag: bool) -> None:  # noqa: FBT001
        options = Put(value, priority="high", ttl=ttl, pinned=flag, metadata={"m": value})
        found = self.both(agent, lambda wf: wf.update({key: options}, merge_strategy="replace"))
        model, address = self.place(agent, key)
        model.revision += 1
        assert found[1] == {key: model.write(address, value, ContextPriority.HIGH)}

    @rule(agent=agents, key=keys)
    def get(self, agent: str, key: str) -> None:
        found = self.both(agent, lambda wf: wf.get(key))
        model, address = self.place(agent, key)
        current = model.current(address)
        assert (found and (found[2], found[3])) == (current and (repr(current.value), current.version))

    @invariant()
    def everyone_sees_the_same(self) -> None:
        for agent in AGENTS:
            expected = {
                key: repr(entry.value)
                for key in KEYS
                if (entry := self.place(agent, key)[0].current(self.place(agent, key)[1]))
            }
            for handles in self.handles:
                view = handles[agent].view()
                assert {key: repr(value) for key, value in view.items()} == expected
                assert (view.revision, view.global_revision) == (self.model.revision, self.shared.revision)
            self.both(agent, lambda wf: [comparable(entry) for entry in wf.list(limit=2)])


def run(url: str, *, examples: int, steps: int) -> None:
    class OnThisServer(Stores):
        def __init__(self) -> None:
            super().__init__(url)

    run_state_machine_as_test(
        OnThisServer, settings=settings(max_examples=examples, stateful_step_count=steps, deadline=None)
    )


@pytest.mark.usefixtures("tidy_redis")
def test_both_stores_do_what_a_dict_would(redis_url: str) -> None:
    run(redis_url, examples=40, steps=30)


def test_sqlite_does_what_a_dict_would(sqlite_url: str) -> None:
    run(sqlite_url, examples=12, steps=25)


def test_postgres_does_what_a_dict_would(postgres_url: str) -> None:
    run(postgres_url, examples=12, steps=25)


@pytest.mark.long
@pytest.mark.timeout(1_800)
@pytest.mark.usefixtures("tidy_redis")
def test_both_stores_do_what_a_dict_would_for_long(redis_url: str) -> None:
    run(redis_url, examples=400, steps=40)


def test_the_agents_of_this_test_have_no_filter() -> None:
    assert {Agent(agent).agent_type for agent in AGENTS} == {"ann", "bob"}
