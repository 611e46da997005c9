"""Parked tasks cost nobody anything: no worker slot, no message in the broker, no time of other tasks."""

from __future__ import annotations

import statistics
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from ctxqueue.stores.redis.keys import workflow_keys
from tests.waiting import SECONDS, seen_within, wait_until

if TYPE_CHECKING:
    from tests.integration.conftest import Deploy
    from tests.integration.deployments import Deployment

SLOTS = 2
EACH_WAY = 100
WAVES, WAVE = 20, 8
LONGEST_DELAY = 0.03
"""Seconds. Of a wave's tasks some have been parked when their key comes, some have not."""
SOME, MANY = 100, 50_000
LOOK = 0.5
"""Seconds between two looks at what many tasks have come to."""
PROBES = 30
NOTHING = {"queue": 0, "unacked": 0, "unacked_index": 0}


@pytest.fixture(scope="module")
def site(deploy: Deploy) -> Deployment:
    site = deploy("parking")
    site.worker(slots=SLOTS)
    return site


def held_by_the_worker(site: Deployment) -> list[Any]:
    """Return the messages that the worker has in hand: under way, waiting their turn, waiting for a time."""
    inspector = site.app.control.inspect(timeout=SECONDS, limit=1)
    return [
        message
        for answer in (inspector.active(), inspector.reserved(), inspector.scheduled())
        for messages in answer.values()
        for message in messages
    ]


def test_200_parked_tasks_are_in_nobodys_way_and_each_completes_once(site: Deployment) -> None:
    workflow = site.workflow()
    with workflow:
        alone = [site.task("named").delay("late", number) for number in range(EACH_WAY)]
        chained = [(site.task("begin").si() | site.task("named").si("late", number)) for number in range(EACH_WAY)]
        chains = [(chain | site.task("double").s()).delay() for chain in chained]
    wait_until(lambda: len(site.parked(workflow)) == 2 * EACH_WAY, "all are parked")
    wait_until(lambda: site.queued() == NOTHING, "the broker holds nothing")
    assert held_by_the_worker(site) == []
    for _ in range(SLOTS):
        site.task("held").delay("a slot")
    site.until_held("a slot", SLOTS)  # at once: each slot is free for others
    site.let_go("a slot", SLOTS)
    assert [site.task("begin").delay().get(SECONDS) for _ in range(SLOTS)] == ["begun"] * SLOTS
    assert len(site.parked(workflow)) == 2 * EACH_WAY
    assert workflow.update({"late": "here"}).fired == 2 * EACH_WAY
    site.task("ctxqueue.dependency_callbacks").delay()
    assert [result.get(SECONDS) for result in alone] == [[number, "here"] for number in range(EACH_WAY)]
    assert [result.get(SECONDS) for result in chains] == [[number, "here"] * 2 for number in range(EACH_WAY)]
    ran = site.notes(f"named:{workflow.workflow_id}")
    assert sorted(ran) == sorted([[number] for number in range(EACH_WAY)] * 2)
    wait_until(lambda: site.queued() == NOTHING, "the broker holds nothing")
    assert site.parked(workflow) == []


@pytest.mark.parametrize("many", [SOME, pytest.param(MANY, marks=[pytest.mark.long, pytest.mark.timeout(7_200)])])
def test_so_many_parked_tasks_cost_others_nothing_and_each_runs_once_when_their_key_comes(
    site: Deployment, many: int
) -> None:
    workflow = site.workflow("crowd")
    parked = workflow_keys(site.queue.manager.terms.namespace, workflow.workflow_id).t
    longest = SECONDS + many / 20
    alone, empty = latency(site), site.redis.info("memory")["used_memory"]
    with workflow:
        for number in range(many):
            site.task("named").apply_async(("late", number), ignore_result=True)
    # Two fields each: its condition and its message.
    assert seen_within(lambda: site.redis.hlen(parked) == 2 * many, longest, LOOK), site.redis.hlen(parked)
    wait_until(lambda: site.queued() == NOTHING, "the broker holds nothing")
    each = (site.redis.info("memory")["used_memory"] - empty) / many
    beside = latency(site)
    sys.stdout.write(f"{many:,} parked: {each:,.0f} bytes each; others {1e3 * alone:.1f} -> {1e3 * beside:.1f} ms\n")
    assert held_by_the_worker(site) == []
    assert each < 4_000
    assert beside < 2 * alone + 0.05, "others do not wait for those that are parked"
    beat = site.beat(ctxqueue_sweep_interval=1.0)
    try:
        began = time.monotonic()
        workflow.put("late", "here")
        name = f"notes:named:{workflow.workflow_id}"
        assert seen_within(lambda: site.redis.llen(name) >= many, longest, LOOK), site.redis.llen(name)
        sys.stdout.write(f"released and run in {time.monotonic() - began:.0f} s\n")
        assert seen_within(lambda: site.queued() == NOTHING, longest, LOOK), site.queued()
    finally:
        site.stop(beat)
    assert sorted(site.notes(name.removeprefix("notes:"))) == [[number] for number in range(many)]
    assert site.parked(workflow) == []


def latency(site: Deployment) -> float:
    """Return the median of what a task that needs nothing takes, there and back, in seconds."""
    taken = []
    for _ in range(PROBES):
        began = time.monotonic()
        assert site.task("begin").delay().get(SECONDS) == "begun"
        taken.append(time.monotonic() - began)
    return statistics.median(taken)


def test_a_key_that_comes_while_its_task_is_being_parked_is_not_missed(site: Deployment) -> None:
    workflow = site.workflow()
    for wave in range(WAVES):
        numbers = range(wave * WAVE, (wave + 1) * WAVE)
        with workflow:
            results = [site.task("named").delay(f"key{number}", number) for number in numbers]
        keys = [
            threading.Timer(LONGEST_DELAY * place / WAVE, workflow.put, (f"key{number}", "here"))
            for place, number in enumerate(numbers)
        ]
        for key in keys:
            key.start()
        assert [result.get(SECONDS) for result in results] == [[number, "here"] for number in numbers]
        for key in keys:
            key.join()
    ran = site.notes(f"named:{workflow.workflow_id}")
    assert sorted(ran) == [[number] for number in range(WAVES * WAVE)]
