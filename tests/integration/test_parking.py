"""A task that needs keys waits for them, and goes on as if it had never waited."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest
from celery import chain, chord, group

from tests.waiting import SECONDS, wait_until

if TYPE_CHECKING:
    from celery.result import AsyncResult

    from ctxqueue.context import WorkflowHandle
    from tests.integration.conftest import Deploy
    from tests.integration.deployments import Deployment


@pytest.fixture(scope="module")
def site(deploy: Deploy) -> Deployment:
    site = deploy("parking")
    site.worker()
    return site


@pytest.fixture
def workflow(site: Deployment) -> WorkflowHandle:
    return site.workflow()


def until_waiting(site: Deployment, workflow: WorkflowHandle, *results: AsyncResult[Any]) -> None:
    """Wait until just these are parked. Their state says so a moment earlier."""
    for result in results:
        wait_until(lambda result=result: result.state == "WAITING", f"{result.id} waits")  # type: ignore[misc]
    wait_until(lambda: len(site.parked(workflow)) == len(results), f"{len(results)} are parked")


def supply(workflow: WorkflowHandle) -> None:
    workflow.put("revenue", 40)
    workflow.put("rates", 2)


def test_a_task_waits_for_all_its_keys_and_says_which(site: Deployment, workflow: WorkflowHandle) -> None:
    with workflow:
        result = site.task("sum_up").delay("2026Q3")
    until_waiting(site, workflow, result)
    assert result.info == {"needs": ["revenue", "rates"]}
    supply(workflow)
    assert result.get(SECONDS) == ["2026Q3", 42]
    assert result.state == "SUCCESS"
    assert site.notes(f"ran:{result.id}") == [["2026Q3"]]


def test_bound_canvases_of_two_workflows_go_in_one_group(site: Deployment, workflow: WorkflowHandle) -> None:
    other = site.workflow()
    hasty, gather = site.task("hasty"), site.task("gather")
    plain = chain(hasty.si(), hasty.si())
    parts = [
        workflow.bind(plain),
        other.bind(group(hasty.si(), hasty.si())),
        other.bind(chord([hasty.s()], gather.s())),
    ]
    results = [part.delay() for part in parts]
    both = chord([workflow.bind(hasty.s()), other.bind(hasty.s())], gather.s()).delay()
    workflow.put("passing", "here")
    other.put("passing", "there")
    assert [result.get(SECONDS) for result in results] == ["here", ["there", "there"], ["there"]]
    assert both.get(SECONDS) == ["here", "there"]
    assert "headers" not in plain.tasks[0].options, "what was bound is a copy"


def test_one_of_two_keys_is_not_enough(site: Deployment, workflow: WorkflowHandle) -> None:
    workflow.put("rates", 2)
    with workflow:
        result = site.task("sum_up").delay()
    until_waiting(site, workflow, result)
    assert result.info == {"needs": ["revenue"]}
    workflow.put("rates", 3)
    workflow.put("other", 1)
    with workflow:
        assert site.task("begin").delay().get(SECONDS) == "begun"
    assert result.state == "WAITING"
    workflow.put("revenue", 40)
    assert result.get(SECONDS) == [43]


def test_a_task_whose_keys_are_there_is_never_parked(site: Deployment, workflow: WorkflowHandle) -> None:
    supply(workflow)
    with workflow:
        result = site.task("sum_up").delay()
    assert result.get(SECONDS) == [42]
    (record,) = site.records(workflow)
    assert (record["g"], record.get("p")) == (b"0", None)


def test_one_update_of_all_keys_resumes_the_task(site: Deployment, workflow: WorkflowHandle) -> None:
    with workflow:
        result = site.task("sum_up").delay()
    until_waiting(site, workflow, result)
    assert workflow.update({"revenue": 1, "rates": 1}).fired == 1
    assert result.get(SECONDS) == [2]


def test_a_task_of_another_workflow_waits_on(site: Deployment, workflow: WorkflowHandle) -> None:
    other = site.workflow()
    with workflow:
        result = site.task("sum_up").delay()
    until_waiting(site, workflow, result)
    supply(other)
    with other:
        assert site.task("sum_up").delay().get(SECONDS) == [42]
    assert result.state == "WAITING"
    supply(workflow)
    assert result.get(SECONDS) == [42]


@pytest.mark.parametrize("place", ["first", "middle", "last", "all"])
def test_a_chain_goes_on_through_a_parked_task(site: Deployment, workflow: WorkflowHandle, place: str) -> None:
    begin, sum_up, double = (site.task(name) for name in ("begin", "sum_up", "double"))
    steps, expected = {
        "first": ([sum_up.s("x"), double.s(), double.s()], ["x", 42] * 4),
        "middle": ([begin.s(), sum_up.s(), double.s()], ["begun", 42] * 2),
        "last": ([begin.s(), sum_up.s()], ["begun", 42]),
        "all": ([sum_up.s("x"), sum_up.s(), sum_up.s()], [[["x", 42], 42], 42]),
    }[place]
    with workflow:
        result = chain(*steps).delay()
    parked = [result, result.parent, result.parent and result.parent.parent]
    first = next(each for each in reversed(parked) if each is not None and each.id)
    waiting = {"first": first, "middle": result.parent, "last": result, "all": first}[place]
    until_waiting(site, workflow, waiting)
    supply(workflow)
    assert result.get(SECONDS) == expected


def test_members_of_a_group_wait_each_for_itself(site: Deployment, workflow: WorkflowHandle) -> None:
    with workflow:
        result = group(
            site.task("named").s("left", 1), site.task("begin").s(), site.task("named").s("right", 2)
        ).delay()
    left, plain, right = result.results
    until_waiting(site, workflow, left, right)
    assert plain.get(SECONDS) == "begun"
    workflow.put("right", "r")
    assert right.get(SECONDS) == [2, "r"]
    assert left.state == "WAITING"
    workflow.put("left", "l")
    assert result.get(SECONDS) == [[1, "l"], "begun", [2, "r"]]


def test_a_chord_counts_its_parked_members(site: Deployment, workflow: WorkflowHandle) -> None:
    header = [site.task("sum_up").s(1), site.task("begin").s(), site.task("named").s("late", 2)]
    with workflow:
        result = chord(header, site.task("gather").s()).delay()
    until_waiting(site, workflow, result.parent.results[0], result.parent.results[2])
    supply(workflow)
    assert result.parent.results[0].get(SECONDS) == [1, 42]
    assert not result.ready()
    workflow.put("late", "l")
    assert result.get(SECONDS) == ["begun", [1, 42], [2, "l"]]


def test_the_body_of_a_chord_may_be_parked(site: Deployment, workflow: WorkflowHandle) -> None:
    begin, body = site.task("begin"), str(uuid.uuid4())
    with workflow:
        summing = chord([begin.s(), begin.s()], site.task("sum_up").s().set(task_id=body))
        result = chain(summing, site.task("double").s()).delay()
    until_waiting(site, workflow, site.app.AsyncResult(body))
    supply(workflow)
    assert result.get(SECONDS) == [["begun", "begun"], 42] * 2


@pytest.mark.parametrize("keys", [("base", "left"), ("more", "right", "base"), ("left", "base")])
def test_a_nested_condition_holds_by_either_branch(
    site: Deployment, workflow: WorkflowHandle, keys: tuple[str, ...]
) -> None:
    with workflow:
        result = site.task("either").delay()
    until_waiting(site, workflow, result)
    assert result.info == {"needs": ["base", "left", "right", "more"]}
    *others, last = keys
    for name in others:
        assert workflow.update({name: 1}).fired == 0
    assert workflow.update({last: 1}).fired == 1
    assert result.get(SECONDS) == sorted(keys)


def test_the_needs_of_a_callable_are_made_of_the_arguments(site: Deployment, workflow: WorkflowHandle) -> None:
    with workflow:
        result = site.task("named").delay("chosen", 7)
    until_waiting(site, workflow, result)
    assert result.info == {"needs": ["chosen"]}
    workflow.put("other", 1)
    workflow.put("chosen", "here")
    assert result.get(SECONDS) == [7, "here"]


def test_an_agent_is_resumed_by_its_own_private_key_and_by_no_one_elses(
    site: Deployment, workflow: WorkflowHandle
) -> None:
    with workflow:
        result = site.task("named").delay("secretly")
    until_waiting(site, workflow, result)
    stranger = site.queue.workflow(workflow.workflow_id, agent_id="stranger")
    stranger.put("secretly", "theirs", scope="private")
    assert stranger.update({"secretly_too": 1}).fired == 0
    assert result.state == "WAITING"
    own = site.queue.workflow(workflow.workflow_id, agent_id="analyst")
    own.put("secretly", "ours", scope="private")
    assert result.get(SECONDS) == ["ours"]


def test_a_private_key_that_is_there_first_counts_for_its_owner_only(
    site: Deployment, workflow: WorkflowHandle
) -> None:
    site.queue.workflow(workflow.workflow_id, agent_id="stranger").put("theirs", 1, scope="private")
    site.queue.workflow(workflow.workflow_id, agent_id="analyst").put("ours", 2, scope="private")
    with workflow:
        parked, ran = site.task("named").delay("theirs"), site.task("named").delay("ours")
    assert ran.get(SECONDS) == [2]
    until_waiting(site, workflow, parked)


def test_callbacks_run_once_the_parked_task_has(site: Deployment, workflow: WorkflowHandle) -> None:
    name = f"linked:{workflow.workflow_id}"
    with workflow:
        result = site.task("sum_up").apply_async(("x",), link=site.task("linked").s(name))
    until_waiting(site, workflow, result)
    assert site.notes(name) == []
    supply(workflow)
    assert wait_until(lambda: site.notes(name), "the callback ran") == [["x", 42]]


def test_a_retry_after_parking_parks_again_with_its_count(site: Deployment, workflow: WorkflowHandle) -> None:
    with workflow:
        result = site.task("stubborn").delay()
    for value in range(3):
        wait_until(lambda: site.parked(workflow), "the task is parked")
        workflow.put("passing", value)
        wait_until(lambda: result.ready() or workflow.get("passing") is None, "the body ran")
    assert result.get(SECONDS) == [2, 2]


def test_a_retry_of_a_task_that_never_waited_may_park(site: Deployment, workflow: WorkflowHandle) -> None:
    workflow.put("passing", 0)
    with workflow:
        result = site.task("stubborn").delay()
    for value in (1, 2):
        wait_until(lambda: site.parked(workflow), "the task is parked")
        workflow.put("passing", value)
        wait_until(lambda: result.ready() or workflow.get("passing") is None, "the body ran")
    assert result.get(SECONDS) == [2, 2]


def test_a_commit_that_releases_a_task_opens_no_connection(site: Deployment) -> None:
    opened = []
    for number in range(3):
        workflow = site.workflow()
        with workflow:
            result = site.task("named").delay("late", number)
        until_waiting(site, workflow, result)
        before = site.redis.info("stats")["total_connections_received"]
        workflow.put("late", "here")
        opened.append(site.redis.info("stats")["total_connections_received"] - before)
        assert result.get(SECONDS) == [number, "here"]
    assert min(opened) == 0  # the first ones of a process are opened as they are needed
