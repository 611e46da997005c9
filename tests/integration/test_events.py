"""What monitors see of a parked task: that it waits, that it goes on, and never a value."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from celery.events.state import State

import ctxqueue
from tests.integration.listening import every_event
from tests.waiting import SECONDS, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.conftest import Deploy
    from tests.integration.deployments import Deployment

Event = dict[str, Any]


@pytest.fixture(scope="module")
def site(deploy: Deploy) -> Deployment:
    guard = {"name": "small", "key": "guarded", "max_bytes": 10}
    site = deploy("parking", ctxqueue_policy={"guard": [guard]})
    site.worker("-E")
    return site


@pytest.fixture(scope="module")
def seen(site: Deployment) -> Iterator[list[Event]]:
    """Every event, as it comes."""
    with every_event(site.app) as seen:
        yield seen


def of(seen: list[Event], task_id: str) -> list[Event]:
    return [event for event in seen if event.get("uuid") == task_id]


def shown(seen: list[Event], task_id: str) -> str | None:
    """The state of a task in Celery's own picture of the events, which is what Flower shows."""
    state = State()
    for event in of(seen, task_id):
        state.event(dict(event))
    task = state.tasks.get(task_id)
    return task.state if task else None


def test_a_parked_task_is_seen_to_wait_and_to_start_again(site: Deployment, seen: list[Event]) -> None:
    workflow = site.workflow()
    with workflow:
        result = site.task("sum_up").delay()
    wait_until(lambda: site.parked(workflow), "the task is parked")
    wait_until(lambda: shown(seen, result.id) == "WAITING", "a monitor shows that it waits")
    workflow.update({"revenue": 1, "rates": 2})
    assert result.get(SECONDS) == [3]
    wait_until(lambda: shown(seen, result.id) == "SUCCESS", "a monitor shows its end")
    events = of(seen, result.id)
    # The worker and its pool process send over connections of their own: only what one of them sends is in order.
    assert Counter(event["type"] for event in events) == {
        "task-received": 2,
        "task-started": 3,
        "task-waiting": 1,
        "task-retried": 1,
        "task-succeeded": 1,
    }
    waiting, retried = (one for one in events if one["type"] in ("task-waiting", "task-retried"))
    assert waiting["needs"] == ["revenue", "rates"]
    assert retried["reason"] == "resumed"
    assert retried["waited"] > 0
    assert shown([event for event in events if event["type"] != "task-succeeded"], result.id) == "STARTED"


def test_a_task_that_never_waited_is_seen_as_ever(site: Deployment, seen: list[Event]) -> None:
    workflow = site.workflow()
    workflow.update({"revenue": 1, "rates": 2})
    with workflow:
        result = site.task("sum_up").delay()
    assert result.get(SECONDS) == [3]
    wait_until(lambda: "task-succeeded" in [event["type"] for event in of(seen, result.id)], "its end is seen")
    kinds = Counter(event["type"] for event in of(seen, result.id))
    assert kinds == {"task-received": 1, "task-started": 1, "task-succeeded": 1}


def test_no_event_of_an_update_shows_its_keys_or_values(site: Deployment, seen: list[Event]) -> None:
    workflow = site.workflow()
    result = site.queue.enqueue_update(workflow.workflow_id, "web_extractor_001", {"salary": "classified"})
    assert result.get(SECONDS)["revision"] == 1
    wait_until(lambda: "task-succeeded" in [event["type"] for event in of(seen, result.id)], "its end is seen")
    assert "classified" not in str(of(seen, result.id))
    (args,) = [event["args"] for event in of(seen, result.id) if event["type"] == "task-received"]
    assert args.startswith(f"('{workflow.workflow_id}', 'web_extractor_001', ")


def test_a_write_that_a_guard_refuses_is_seen_and_its_value_is_not(site: Deployment, seen: list[Event]) -> None:
    workflow = site.workflow()
    result = site.queue.enqueue_update(workflow.workflow_id, "writer_1", {"guarded": "much too long"})
    with pytest.raises(ctxqueue.WriteRefused):
        result.get(SECONDS)
    (event,) = wait_until(
        lambda: [each for each in seen if each["type"] == "ctxqueue-write-refused"], "the refusal is seen"
    )
    told = {"workflow_id": workflow.workflow_id, "key": "guarded", "agent_id": "writer_1", "guard": "small"}
    assert event | told == event
    assert "too long" not in str(event)
    assert "guard 'small' refused a write of 'guarded'" in site.log()
