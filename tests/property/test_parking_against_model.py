"""Random writes, deletions and parkings on both stores: each run is released by the commit that makes its need true."""

from __future__ import annotations

import uuid
from functools import partial
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from ctxqueue.rules.conditions import Condition, all_of, any_of, key
from ctxqueue.rules.dependencies import holds, presence, resolve
from ctxqueue.rules.policies import SHIPPED
from ctxqueue.testing.contract.base import WORKFLOW
from ctxqueue.testing.contract.runs import AGENT, Worker
from tests.waiting import wait_until

if TYPE_CHECKING:
    from ctxqueue.context import WorkflowHandle

KEYS = "abcde"
INLINE = 50
"""Waiters that a commit looks at itself."""
MANY = 70

keys = st.sampled_from(KEYS)
conditions: st.SearchStrategy[Condition] = st.recursive(
    keys.map(lambda name: key(name).exists()),
    lambda parts: st.tuples(st.sampled_from([all_of, any_of]), st.lists(parts, min_size=1, max_size=3)).map(
        lambda pair: pair[0](*pair[1])
    ),
    max_leaves=6,
)


def is_gone(wf: WorkflowHandle, name: str) -> bool:
    return wf.get(name) is None


class Parked(RuleBasedStateMachine):
    """The same on both stores; the model is which keys are there, and which runs wait for what."""

    def __init__(self, redis_url: str) -> None:
        super().__init__()
        self.workers = [Worker(url, app=uuid.uuid4().hex) for url in (f"memory://{uuid.uuid4()}", redis_url)]
        # The workflow is this machine's own; what AGENT may see is what it would be anywhere.
        self.name = f"{WORKFLOW} {uuid.uuid4()}"
        self.handles = [worker.manager.workflow(self.name, agent_id=AGENT.agent_id) for worker in self.workers]
        for handle in self.handles:
            handle.open()
        self.there: set[str] = set()
        self.waiting: dict[str, Condition] = {}
        self.released: set[bytes] = set()
        self.count = 0

    def teardown(self) -> None:
        for worker in self.workers:
            worker.manager.close()

    def true(self, condition: Condition) -> bool:
        tree = resolve(SHIPPED, condition, AGENT)
        return holds(tree, presence({f"w\0\0{name}": False for name in self.there}))

    def park_one(self, condition: Condition) -> None:
        self.count += 1
        run = f"r{self.count}"
        for worker in self.workers:
            answer = worker.claim(run, needs=condition, workflow_id=self.name)
            armed, missing = worker.park(answer, condition)
            assert armed.answer == ("ready" if self.true(condition) else "parked")
            assert bool(missing) is not self.true(condition)
        if not self.true(condition):
            self.waiting[run] = condition

    def fired(self) -> int:
        ready = [run for run, condition in self.waiting.items() if self.true(condition)]
        for run in ready:
            del self.waiting[run]
            self.released.add(f"{run}/0.1".encode())
        return len(ready)

    @rule(condition=conditions)
    def park(self, condition: Condition) -> None:
        self.park_one(condition)

    @rule(condition=conditions)
    def park_many(self, condition: Condition) -> None:
        if not self.true(condition) and self.count < 4 * MANY:
            for _ in range(MANY):
                self.park_one(condition)

    @rule(names=st.lists(keys, min_size=1, max_size=3, unique=True))
    def write(self, names: list[str]) -> None:
        self.there.update(names)
        expected = self.fired()
        assert [handle.update(dict.fromkeys(names, 1)).fired for handle in self.handles] == [expected] * 2

    @rule(name=keys)
    def delete(self, name: str) -> None:
        assert [handle.delete(name) for handle in self.handles] == [name in self.there] * 2
        self.there.discard(name)

    # Where more runs wait than one script looks at, those left over must find the key still there.
    @precondition(lambda self: len(self.waiting) <= INLINE)
    @rule(name=keys)
    def write_for_a_moment(self, name: str) -> None:
        self.there.add(name)
        self.fired()
        for handle in self.handles:
            handle.put(name, 1, ttl=0.001)
            wait_until(partial(is_gone, handle, name), "it has expired")
        self.there.discard(name)

    @rule()
    def sweep(self) -> None:
        for worker in self.workers:
            worker.sweep()

    @invariant()
    def what_was_released_is_delivered_once(self) -> None:
        for worker in self.workers:
            delivered = worker.deliver()
            assert len(delivered) == len(set(delivered))
            assert set(delivered) == self.released
        self.released.clear()


def run(url: str, *, examples: int) -> None:
    class OnThisServer(Parked):
        def __init__(self) -> None:
            super().__init__(url)

    run_state_machine_as_test(
        OnThisServer, settings=settings(max_examples=examples, stateful_step_count=15, deadline=None)
    )


@pytest.mark.usefixtures("tidy_redis")
def test_every_run_is_released_by_the_commit_that_makes_its_need_true(redis_url: str) -> None:
    run(redis_url, examples=12)


def test_so_it_is_in_tables(sqlite_url: str) -> None:
    run(sqlite_url, examples=6)
