"""A sweep goes by what is due, not by what is there."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
import redis

from ctxqueue import Put, connect
from ctxqueue.testing import EmbeddedServer
from tests.benchmarks.contents import MOST_A_COMMIT, key
from tests.benchmarks.interleaved import Prepared, measure, pinned_apart
from tests.benchmarks.report import Line, Report, Section, durability
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from ctxqueue.context import SharedContextManager

WORKFLOWS = 1_000
DUE = 10
ROUNDS = 60


def fill(manager: SharedContextManager, workflows: int, entries: int) -> None:
    for number in range(workflows):
        wf = manager.workflow(f"w{number}", agent_id="analyst_001")
        wf.open()
        for first in range(0, entries, MOST_A_COMMIT):
            wf.update({key(each): each for each in range(first, min(first + MOST_A_COMMIT, entries))})


def making_due(manager: SharedContextManager) -> Callable[[], object]:
    """Let one entry expire in each of ten workflows."""
    handles = [manager.workflow(f"w{number}", agent_id="analyst_001") for number in range(DUE)]
    numbers = itertools.count()

    def make_due() -> None:
        name = f"due{next(numbers)}"
        for wf in handles:
            wf.update({name: Put(1, ttl=0.001)})
        wait_until(lambda: all(wf.get(name) is None for wf in handles), "they have expired")

    return make_due


def sweeping(manager: SharedContextManager) -> Callable[[], object]:
    def sweep() -> None:
        report = manager.cleanup_expired_contexts()
        assert report.expired == DUE

    return sweep


@pytest.mark.parametrize("entries", [20, pytest.param(1_000, marks=pytest.mark.long)])
def test_a_sweep_costs_what_is_due(report: Report, entries: int) -> None:
    alone, among = f"{DUE} workflows", f"the same {DUE} among {WORKFLOWS:,}"
    with (
        EmbeddedServer() as few,
        EmbeddedServer() as many,
        connect(few.url()) as in_few,
        connect(many.url()) as in_many,
        redis.Redis.from_url(many.url()) as client,
    ):
        fill(in_few, DUE, entries)
        fill(in_many, WORKFLOWS, entries)
        with pinned_apart(few.pid, many.pid) as pinned:
            timings = measure(
                {
                    alone: Prepared(making_due(in_few), sweeping(in_few)),
                    among: Prepared(making_due(in_many), sweeping(in_many)),
                },
                rounds=ROUNDS,
                warm_up=5,
            )
        found = {
            "servers": f"two; {durability(client)}",
            "entries": f"{entries:,} a workflow, {WORKFLOWS * entries:,} in all; one due in each of {DUE} workflows",
            "pinning": pinned,
            "rounds": f"{ROUNDS}, interleaved",
        }
    report.add(
        Section(
            f"A sweep among {WORKFLOWS * entries:,} entries",
            found,
            timings,
            (
                Line(
                    f"a sweep of {WORKFLOWS * entries:,} entries, something due in {DUE} workflows / those alone",
                    timings[among].median / timings[alone].median,
                    1.5,
                ),
            ),
            alone,
        )
    )
