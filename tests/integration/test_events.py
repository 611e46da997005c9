"""What monitors see of a parked task: that it waits, that it goes on, and never a value."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.conftest import Deploy
    from tests.integration.deployments import Deployment

SECONDS = 10.0
Event = dict[str, Any]


@pytest.fixture(scope="module")
def site(deploy: Deploy) -> Deployment:
    site = deploy("parking")
    site.worker("-E")
    return site


@pytest.fixture(scope="module")
def seen(site: Deployment) -> Iterator[list[Event]]:
    """Every event, as it comes."""
    seen: list[Event] = []
    with site.app.connection_for_read() as connection:
        receiver = site.app.events.Receiver(connection, handlers={"*": seen.append})
        listener = threading.Thread(target=receiver.capture)
        listener.start()
        with site.app.events.default_dispatcher() as dispatcher:
            wait_until(lambda: dispatcher.send("probe") or seen, "events arrive", SECONDS)
        yield seen
        receiver.should_stop = True
        listener.join(SECONDS)


def of(seen: list[Event], task_id: str) -> list[Event]:
    return [event for event in seen if event.get("uuid") == task_id]


def test_a_parked_task_is_seen_to_wait_and_to_start_again(site: Deployment, seen: list[Event]) -> None:
    workflow = site.workflow()
    with workflow:
        result = site.task("sum_up").delay()
    wait_until(lambda: site.parked(workflow), "the task is parked")
    workflow.update({"revenue": 1, "rates": 2})
    assert result.get(SECONDS) == [3]
    wait_until(lambda: "task-succeeded" in [event["type"] for event in of(seen, result.id)], "its end is seen")
    events = of(seen, result.id)
    first, second = (
        ["task-received", "task-started", "task-waiting"],
        ["task-received", "task-started", "task-retried", "task-started", "task-succeeded"],
    )
    assert [event["type"] for event in events] == first + second
    assert events[2]["needs"] == ["revenue", "rates"]
    assert events[5]["reason"] == "resumed"
    assert events[5]["waited"] > 0


def test_a_task_that_never_waited_is_seen_as_ever(site: Deployment, seen: list[Event]) -> None:
    workflow = site.workflow()
    workflow.update({"revenue": 1, "rates": 2})
    with workflow:
        result = site.task("sum_up").delay()
    assert result.get(SECONDS) == [3]
    wait_until(lambda: "task-succeeded" in [event["type"] for event in of(seen, result.id)], "its end is seen")
    assert [event["type"] for event in of(seen, result.id)] == ["task-received", "task-started", "task-succeeded"]


def test_no_event_of_an_update_shows_its_keys_or_values(site: Deployment, seen: list[Event]) -> None:
    workflow = site.workflow()
    result = site.queue.enqueue_update(workflow.workflow_id, "web_extractor_001", {"salary": "classified"})
    assert result.get(SECONDS)["revision"] == 1
    wait_until(lambda: "task-succeeded" in [event["type"] for event in of(seen, result.id)], "its end is seen")
    assert "classified" not in str(of(seen, result.id))
    assert [event["args"] for event in of(seen, result.id) if event["type"] == "task-received"] == [
        f"('{workflow.workflow_id}', 'web_extractor_001', <1 keys>)"
    ]
