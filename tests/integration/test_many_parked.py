"""Parked tasks cost nobody anything: no worker slot, no message in the broker, no time of other tasks."""

from __future__ import annotations

import statistics
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.waiting import wait_until

if TYPE_CHECKING:
    from tests.integration.conftest import Deploy
    from tests.integration.deployments import Deployment

SECONDS = 20.0
SLOTS = 2
ROUNDS = 60
EACH_WAY = 100
WAVES, WAVE = 20, 8
LONGEST_DELAY = 0.03
"""Seconds. Of a wave's tasks some have been parked when their key comes, some have not."""
NOTHING = {"queue": 0, "unacked": 0, "unacked_index": 0}


@pytest.fixture(scope="module")
def site(deploy: Deploy) -> Deployment:
    site = deploy("parking")
    site.worker(slots=SLOTS)
    return site


def latency(site: Deployment) -> float:
    """Return the median time from publishing a task that does nothing to its result, in seconds."""
    begin, times = site.task("begin"), []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        begin.delay().get(SECONDS)
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def test_200_parked_tasks_are_in_nobodys_way_and_each_completes_once(site: Deployment) -> None:
    workflow = site.workflow()
    before = latency(site)
    with workflow:
        alone = [site.task("named").delay("late", number) for number in range(EACH_WAY)]
        chained = [(site.task("begin").si() | site.task("named").si("late", number)) for number in range(EACH_WAY)]
        chains = [(chain | site.task("double").s()).delay() for chain in chained]
    wait_until(lambda: len(site.parked(workflow)) == 2 * EACH_WAY, "all are parked", SECONDS)
    wait_until(lambda: site.queued() == NOTHING, "the broker holds nothing", SECONDS)
    assert latency(site) < 2 * before + 0.005
    assert workflow.update({"late": "here"}).fired == 2 * EACH_WAY
    site.task("ctxqueue.dependency_callbacks").delay()
    assert [result.get(SECONDS) for result in alone] == [[number, "here"] for number in range(EACH_WAY)]
    assert [result.get(SECONDS) for result in chains] == [[number, "here"] * 2 for number in range(EACH_WAY)]
    ran = site.notes(f"named:{workflow.workflow_id}")
    assert sorted(ran) == sorted([[number] for number in range(EACH_WAY)] * 2)
    wait_until(lambda: site.queued() == NOTHING, "the broker holds nothing", SECONDS)
    assert site.parked(workflow) == []


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
