"""Parked tasks cost nobody anything: no worker slot, no message in the broker, no time of other tasks."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.waiting import SECONDS, wait_until

if TYPE_CHECKING:
    from tests.integration.conftest import Deploy
    from tests.integration.deployments import Deployment

SLOTS = 2
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
