"""Triggers that fire each time and subscriptions, with workers that carry out what they send."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from ctxqueue import changed_by
from tests.integration.apps.triggers import CANVASES, of_the_extractor
from tests.waiting import wait_until

if TYPE_CHECKING:
    from ctxqueue.context import WorkflowHandle
    from tests.integration.conftest import Deploy
    from tests.integration.deployments import Deployment


@pytest.fixture(scope="module")
def site(deploy: Deploy) -> Deployment:
    site = deploy("triggers", ctxqueue_sweep_interval=0.25, ctxqueue_lease=1.0)
    site.worker(slots=3)
    site.beat()
    return site


@pytest.fixture
def workflow(site: Deployment) -> WorkflowHandle:
    return site.workflow()


def is_at_rest(site: Deployment) -> bool:
    return site.queued() == {"queue": 0, "unacked": 0, "unacked_index": 0}


def _are_done(workflow: WorkflowHandle, times: int) -> bool:
    entry = workflow.get("done")
    return entry is not None and len(entry.value) >= times


@pytest.mark.parametrize("canvas", CANVASES)
def test_any_canvas_is_sent_each_time_and_its_end_is_noted(
    site: Deployment, workflow: WorkflowHandle, canvas: str
) -> None:
    workflow.when("a").then(CANVASES[canvas](site.app.tasks), every=True)  # type: ignore[no-untyped-call]  # celery's own
    once = {"task": 1, "chain": 2, "group": 2, "chord": 3}[canvas]
    for times in (1, 2):
        workflow.put("a", times)
        # Who looks after the end of the first run may be the one that fires the second: a moment after the write.
        wait_until(partial(_are_done, workflow, once * times), "its tasks are done")
        wait_until(lambda: [each.state for each in workflow.triggers()] == ["ARMED"], "what was sent has ended")
    wait_until(lambda: is_at_rest(site), "nothing is left to be done")
    assert len(workflow["done"]) == once * 2


@pytest.mark.parametrize("fails", [False, True])
def test_what_changes_while_it_runs_brings_exactly_one_more_run(
    site: Deployment, workflow: WorkflowHandle, *, fails: bool
) -> None:
    name = workflow.workflow_id
    workflow.put("rates", 0)
    workflow.when("rates").then(site.task("recalculate").s(fails=fails), every=True)
    site.until_held(name)
    for rate in range(1, 8):
        workflow.put("rates", rate)
    assert [each.state for each in site.queue.workflow(name).triggers()] == ["RUNNING_DIRTY"]
    site.let_go(name, 5)
    wait_until(lambda: [each.state for each in workflow.triggers()] == ["ARMED"], "the second run has ended")
    wait_until(lambda: is_at_rest(site), "nothing is left to be done")
    assert len(site.notes(f"begun:{name}")) == len(site.notes(f"recalculated:{name}")) == 2
    assert site.notes(f"recalculated:{name}")[-1] == 7


def test_the_last_of_many_changes_is_never_missed(site: Deployment, workflow: WorkflowHandle) -> None:
    name = workflow.workflow_id
    workflow.put("rates", 0)
    site.let_go(name, 200)
    workflow.when("rates").then(site.task("recalculate").s(), every=True)

    def write(_writer: int) -> None:
        for _ in range(40):
            workflow.update({"rates": 1}, merge_strategy="increment")

    with ThreadPoolExecutor(2) as threads:
        for done in [threads.submit(write, writer) for writer in range(2)]:
            done.result()
    wait_until(lambda: [each.state for each in workflow.triggers()] == ["ARMED"], "the last run has ended")
    wait_until(lambda: is_at_rest(site), "nothing is left to be done")
    seen = site.notes(f"recalculated:{name}")
    assert seen[-1] == 80
    assert seen == sorted(seen)
    assert len(seen) == len(site.notes(f"begun:{name}")) <= 81


def test_an_end_that_is_told_more_than_once_counts_once(site: Deployment, workflow: WorkflowHandle) -> None:
    name = workflow.workflow_id
    workflow.put("rates", 0)
    trigger = workflow.when("rates").then(site.task("recalculate").s(), every=True)
    site.until_held(name)
    workflow.put("rates", 1)
    cause = site.notes(f"begun:{name}")[0]
    assert (cause["trigger"], cause["keys"], cause["agent"]) == (trigger.id, ["rates"], "SYSTEM")
    ended = site.task("ctxqueue.trigger_run_ended")
    for _ in range(3):
        ended.delay(name, trigger.id, 1, [0], 1)
    site.until_held(name, 2)
    site.let_go(name, 4)
    wait_until(lambda: is_at_rest(site), "nothing is left to be done")
    assert len(site.notes(f"begun:{name}")) == 2


def test_a_run_that_is_called_off_has_ended(site: Deployment, workflow: WorkflowHandle) -> None:
    name = workflow.workflow_id
    trigger = workflow.when("a").then(site.task("waits_for").s("never"), every=True)
    workflow.put("a", 1)
    wait_until(lambda: site.parked(workflow)[1:], "its task waits")
    assert [each.state for each in workflow.triggers()] == ["RUNNING"]
    (parked,) = site.queue.parked(name).items
    assert site.queue.cancel(parked.task_id) is True
    wait_until(lambda: [each.state for each in workflow.triggers()] == ["ARMED"], "its end is told")
    assert trigger.cancel() is True


def test_a_rate_that_changes_by_more_recalculates_once(site: Deployment, workflow: WorkflowHandle) -> None:
    name = workflow.workflow_id
    handle = site.queue.workflow(name, agent_id="financial_calculator_1")
    extractor = site.queue.workflow(name, agent_id="extractor_1")
    extractor.put("rates", {"USD": "1.0800", "CHF": "0.9400"})
    subscription = handle.subscribe("rates", site.task("recalculate").s(), debounce=0.1, when=changed_by(0.01))
    site.let_go(name, 9)
    extractor.update({"rates": {"USD": "1.0854"}})
    wait_until(lambda: not _pending(site, name), "it has been quiet")
    assert site.notes(f"begun:{name}") == []
    for number in range(100):
        extractor.update({"rates": {"USD": f"{1.0962 + number / 1e6:.6f}"}})
    wait_until(lambda: site.notes(f"recalculated:{name}"), "it was recalculated")
    wait_until(lambda: is_at_rest(site), "nothing is left to be done")
    (cause,) = site.notes(f"begun:{name}")
    assert cause == {
        "subscription": subscription.id,
        "workflow": name,
        "revision": 102,
        "agent": "extractor_1",
        "keys": ["rates"],
    }
    assert [each.revision for each in handle.notifications()] == [102]


def _pending(site: Deployment, name: str) -> bool:
    """Whether anything is still to be looked at."""
    due: Any = site.redis.zrange(next(site.redis.scan_iter("*:due")), 0, -1)
    return any(member.startswith(f"judge\0\0{name}\0".encode()) for member in due)


def test_a_function_chooses_in_the_worker(site: Deployment, workflow: WorkflowHandle) -> None:
    name = workflow.workflow_id
    handle = site.queue.workflow(name, agent_id="reporter_1")
    handle.subscribe("*", site.task("work").s("told"), when=of_the_extractor)
    workflow.put("a", 1)
    extractor = site.queue.workflow(name, agent_id="extractor_1")
    extractor.put("a", 2)
    extractor.put("done", [])
    wait_until(lambda: len(site.notes(f"work:{name}")) == 1, "it was told of what the extractor wrote")
    wait_until(lambda: is_at_rest(site), "nothing is left to be done")
    assert len(site.notes(f"work:{name}")) == 1
