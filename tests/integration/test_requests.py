"""What a message says of itself is the same after parking: callbacks, queue, priority, limits, headers, stamps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.waiting import SECONDS, wait_until

if TYPE_CHECKING:
    from tests.integration.conftest import Deploy
    from tests.integration.deployments import Deployment

EXAMPLES = 30

OF_ONE_DELIVERY = {"ctxqueue_leg", "eta", "properties"}
PROPERTIES = ("correlation_id", "reply_to", "priority")
"""Those of a message's properties that are its sender's; others are the broker's."""

CALLBACK = {"task": "after", "args": ["a"], "kwargs": {}, "options": {}, "subtask_type": None, "immutable": True}
TEXT = st.text("abcäö. 1", min_size=1, max_size=8)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "link": st.lists(st.just(CALLBACK), min_size=1, max_size=2),
        "link_error": st.lists(st.just(CALLBACK), min_size=1, max_size=2),
        "queue": st.sampled_from(["celery", "aside"]),
        "priority": st.integers(0, 9),
        "time_limit": st.integers(60, 90),
        "soft_time_limit": st.integers(30, 50),
        "headers": st.dictionaries(TEXT.map(lambda name: f"x-{name}"), TEXT | st.integers() | st.none(), max_size=2),
        "retries": st.integers(0, 3),
        "expires": st.integers(60, 90),
        "countdown": st.floats(0.001, 0.02),
        "shadow": TEXT,
        "reply_to": TEXT,
        "argsrepr": TEXT,
        "kwargsrepr": TEXT,
        "compression": st.just("zlib"),
        "stamped_headers": st.just(["stamp"]),
    },
).map(lambda options: {**options, "stamp": "stamped"} if "stamped_headers" in options else options)
ARGUMENTS = st.lists(st.integers() | TEXT | st.lists(TEXT, max_size=2), max_size=2)


@pytest.fixture(scope="module")
def site(deploy: Deploy) -> Deployment:
    site = deploy("requests")
    site.worker("-Q", "celery,aside")
    return site


def said(request: dict[str, Any]) -> dict[str, Any]:
    """Leave out what belongs to one delivery."""
    kept = {name: value for name, value in request.items() if name not in OF_ONE_DELIVERY}
    kept["headers"] = {name: value for name, value in kept["headers"].items() if name != "ctxqueue_leg"}
    kept["properties"] = {name: request["properties"].get(name) for name in PROPERTIES}
    return kept


@settings(max_examples=EXAMPLES)
@given(options=OPTIONS, args=ARGUMENTS, by_a_task=st.booleans())
def test_a_resumed_task_has_the_request_of_the_first_message(
    site: Deployment, options: dict[str, Any], args: list[Any], *, by_a_task: bool
) -> None:
    workflow = site.workflow()
    with workflow:
        result = site.task("watched").apply_async(args, {"named": args}, **options)
        wait_until(lambda: site.parked(workflow), "the task is parked")
        if by_a_task:
            site.task("release").apply_async(stamped_headers=["theirs"], theirs="their stamp", priority=5)
        else:
            workflow.put("key", 1)
        assert result.get(SECONDS) == "done"
    first, resumed = site.notes(f"request:{result.id}")
    assert said(resumed) == said(first)
    assert resumed["ctxqueue_leg"] == 1
    assert len(site.notes(f"ran:{result.id}")) == 1


def test_a_released_task_is_no_child_of_the_task_that_released_it(site: Deployment) -> None:
    workflow = site.workflow()
    with workflow:
        result = site.task("watched").delay()
        wait_until(lambda: site.parked(workflow), "the task is parked")
        children = site.task("release").delay().get(SECONDS)
    assert result.get(SECONDS) == "done"
    assert children == []


def test_a_result_that_nobody_wants_is_not_kept_for_a_parked_task_either(site: Deployment) -> None:
    workflow = site.workflow()
    with workflow:
        result = site.task("watched").apply_async(ignore_result=True)
    wait_until(lambda: site.parked(workflow), "the task is parked")
    workflow.put("key", 1)
    wait_until(lambda: site.notes(f"ran:{result.id}"), "the task ran")
    assert [request["ignore_result"] for request in site.notes(f"request:{result.id}")] == [True, True]
    assert site.redis.get(f"celery-task-meta-{result.id}") is None


def test_what_the_publisher_hid_stays_hidden_in_a_retry(site: Deployment) -> None:
    workflow = site.workflow()
    workflow.put("key", 1)
    with workflow:
        result = site.task("retried").apply_async(("secret",), argsrepr="(...)", kwargsrepr="{...}")
    assert result.get(SECONDS) == 1
    shown = [(request["argsrepr"], request["kwargsrepr"]) for request in site.notes(f"request:{result.id}")]
    assert shown == [("(...)", "{...}")] * 2
